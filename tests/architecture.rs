//! Holds the layers: which module uses which, what the core does without, who prints, how long a file may be.
//!
//! `src/lib.rs` declares the modules in the order of their layers, below the comments `// Core.` and `// Shell.`; a module uses only
//! those above it. The rules are checked on the sources themselves, and the checks on made-up sources which break them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "architecture/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::fs;

use scan::{Kind, Token};

/// Lines that a file may have. Beyond 400 it wants to be two.
const LINES_MAX: usize = 450;

/// What no core module may name, and why not.
const CORE_WORDS: &[(&str, &str)] = &[
    ("SystemTime", "time is an argument"),
    ("Instant", "time is an argument"),
    ("async", "the core is not async"),
    ("await", "the core is not async"),
    ("static", "the core has no globals"),
    ("thread_local", "the core has no globals"),
    ("TcpStream", "the core has no I/O"),
    ("TcpListener", "the core has no I/O"),
    ("UdpSocket", "the core has no I/O"),
    ("ToSocketAddrs", "the core has no I/O"),
];

/// The same for paths.
const CORE_PATHS: &[(&[&str], &str)] = &[
    (&["std", "fs"], "the core has no I/O"),
    (&["std", "io"], "the core has no I/O"),
    (&["std", "os"], "the core has no I/O"),
    (&["std", "env"], "the core has no environment"),
    (&["std", "process"], "the core has no I/O"),
    (&["std", "thread", "sleep"], "time is an argument"),
    (&["tokio"], "the core is not async"),
    (&["indicatif"], "only `cli` prints"),
    (&["tempfile"], "the core has no I/O"),
];

/// What names a float: none in the core, where decisions are made, but on the lines below.
const FLOAT_WORDS: [&str; 3] = ["f32", "f64", "seconds_f64"];

/// Lines of the core that have floats, by file and what stands in them, and why they may. Tests may have any.
const FLOATS_ALLOWED: &[(&str, &str, &str)] = &[
    ("time.rs", "pub fn seconds_f64(self) -> f64 {", "for output only, as its name and its doc say"),
    ("time.rs", "let nanos = self.0 as f64;", "the same function"),
    ("time.rs", "nanos / 1e9", "the same function"),
    ("limits/overrides.rs", "after.seconds_f64() / 86_400.0", "a note for people: nothing is decided by it"),
];

/// What only some modules may name: these, and why. With `!` it is a macro.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("print!", &[], "only `cli` prints, through `Terminal`"),
    ("println!", &[], "only `cli` prints, through `Terminal`"),
    ("eprint!", &[], "only `cli` prints, through `Terminal`"),
    ("eprintln!", &[], "only `cli` prints, through `Terminal`"),
    ("dbg!", &[], "only `cli` prints, through `Terminal`"),
    ("stdout", &["cli"], "only `cli` prints"),
    ("stderr", &["cli"], "only `cli` prints"),
    ("anyhow", &["cli", "main"], "a module that can fail has an error of its own"),
    ("clap", &["cli"], "only `cli` knows the command line"),
];

/// The one file that sends an order, since what it sends it for is a permit. (The model has a question of the same name.)
const SENDS: &str = "issuer/send.rs";
const ASK_THE_MODEL: [&str; 3] = ["rules", "sim", "enforce"];

/// Names of files that say nothing about what is in them.
const EMPTY_NAMES: [&str; 7] = ["mod", "util", "utils", "helper", "helpers", "common", "misc"];

/// A file below `src`.
struct File {
    path: String,
    text: String,
}

/// The modules that `lib.rs` declares, in order, and how many of them are core.
#[derive(PartialEq, Eq, Debug)]
struct Layers {
    modules: Vec<String>,
    core: usize,
}

impl File {
    /// The module of `lib.rs` that it is part of: `limits` for `limits/policy.rs`.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How far below the crate's root: 1 for `limits.rs`.
    fn depth(&self) -> usize {
        self.path.split('/').count()
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("src/{}:{line}: {what}", self.path)
    }
}

impl Layers {
    fn read(lib: &str) -> Result<Self, String> {
        let (mut modules, mut core, mut begun) = (Vec::new(), None, false);
        for line in lib.lines().map(str::trim) {
            let module = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
            match (line, module.and_then(|rest| rest.strip_suffix(';'))) {
                ("// Core.", _) => begun = true,
                ("// Shell.", _) => core = Some(modules.len()),
                (_, Some(module)) if begun => modules.push(module.to_owned()),
                (_, Some(module)) => return Err(format!("src/lib.rs: `{module}` stands above `// Core.`")),
                _ => {}
            }
        }
        let core = core.ok_or("src/lib.rs: there is no line `// Shell.`")?;
        Ok(Self { modules, core })
    }

    fn index(&self, module: &str) -> Option<usize> {
        self.modules.iter().position(|known| known == module)
    }

    fn is_core(&self, file: &File) -> bool {
        self.index(file.module()).is_some_and(|index| index < self.core)
    }
}

/// All that is wrong with the crate of `files`.
fn violations(files: &[File]) -> Vec<String> {
    let lib = files.iter().find(|file| file.path == "lib.rs").map_or("", |file| &file.text);
    let layers = match Layers::read(lib) {
        Ok(layers) => layers,
        Err(error) => return vec![error],
    };
    let mut found = Vec::new();
    let mut allowed_seen = BTreeSet::new();
    for file in files {
        shape(file, &layers, &mut found);
        let tokens = scan::tokens(&file.text);
        uses(file, &tokens, &layers, &mut found);
        reserved(file, &tokens, &mut found);
        sending(file, &tokens, &mut found);
        if layers.is_core(file) {
            purity(file, &tokens, &mut found);
            floats(file, &tokens, &mut allowed_seen, &mut found);
        }
    }
    let unused = FLOATS_ALLOWED
        .iter()
        .enumerate()
        .filter(|(index, (path, ..))| !allowed_seen.contains(index) && files.iter().any(|file| file.path == *path));
    found.extend(unused.map(|(_, (path, line, _))| format!("src/{path}: `{line}` is allowed a float and has none")));
    found
}

/// How long it is, what it is called, and whether it belongs to a module.
fn shape(file: &File, layers: &Layers, found: &mut Vec<String>) {
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        found.push(file.at(lines, &format!("more than {LINES_MAX} lines")));
    }
    let name = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        found.push(file.at(1, &format!("`{name}` does not say what is in it")));
    }
    if !["lib", "main"].contains(&file.module()) && layers.index(file.module()).is_none() {
        found.push(file.at(1, "no module of lib.rs"));
    }
}

/// Whether it uses only modules above its own.
fn uses(file: &File, tokens: &[Token], layers: &Layers, found: &mut Vec<String>) {
    let Some(own) = layers.index(file.module()) else { return };
    for path in scan::paths(tokens) {
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let from_root = match path.segments[0].as_str() {
            "crate" => &path.segments[1..],
            "super" if supers == file.depth() + path.depth => &path.segments[supers..],
            _ => continue,
        };
        let Some(used) = from_root.first() else { continue };
        let wrong = match layers.index(used) {
            Some(index) if index <= own => continue,
            Some(_) => format!("`{}` uses `{used}`, which stands below it", file.module()),
            None => format!("`{used}` of the crate's root is no module"),
        };
        found.push(file.at(path.line, &wrong));
    }
}

/// Whether it leaves alone what is reserved for others.
fn reserved(file: &File, tokens: &[Token], found: &mut Vec<String>) {
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word) {
        let is_macro = tokens.get(index + 1).is_some_and(|next| next.is("!"));
        let names =
            |word: &str| word.strip_suffix('!').map_or(token.text == word, |name| is_macro && token.text == name);
        // `command.stderr(…)` is about another process.
        let of_another = index > 0 && tokens[index - 1].is(".");
        let rule = RESERVED.iter().find(|(word, ..)| names(word));
        if let Some((word, modules, why)) = rule
            && !modules.contains(&file.module())
            && !of_another
        {
            found.push(file.at(token.line, &format!("`{word}`: {why}")));
        }
    }
    for path in scan::paths(tokens) {
        let has = |pair: [&str; 2]| path.segments.windows(2).any(|window| window == pair);
        if has(["process", "exit"]) {
            found.push(file.at(path.line, "`process::exit`: `main` returns an ExitCode"));
        }
        let reads_time = ["SystemTime", "Instant", "Utc", "Local"].iter().any(|clock| has([clock, "now"]));
        if reads_time && file.module() != "clock" {
            found.push(file.at(path.line, "only `clock` reads the time"));
        }
    }
}

/// Whether it leaves sending orders to the file that takes a permit for each. Its tests may do without.
fn sending(file: &File, tokens: &[Token], found: &mut Vec<String>) {
    if file.path == SENDS || file.path.ends_with("/tests.rs") || ASK_THE_MODEL.contains(&file.module()) {
        return;
    }
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.is("new_order") && !token.test) {
        let before = |places: usize| index.checked_sub(places).map(|place| &tokens[place]);
        let of_a_value = before(1).is_some_and(|before| before.is("."));
        let of_its_type = before(1).is_some_and(|of| of.is("::")) && before(2).is_some_and(|of| of.is("Account"));
        if of_a_value || of_its_type {
            found.push(file.at(token.line, &format!("only `{SENDS}` sends an order: it takes a permit")));
        }
    }
}

/// Whether a core module does without the world.
fn purity(file: &File, tokens: &[Token], found: &mut Vec<String>) {
    for token in tokens.iter().filter(|token| token.kind == Kind::Word) {
        if let Some((word, why)) = CORE_WORDS.iter().find(|(word, _)| token.text == *word) {
            found.push(file.at(token.line, &format!("`{word}` in the core: {why}")));
        }
    }
    for path in scan::paths(tokens) {
        let banned = CORE_PATHS
            .iter()
            .find(|(banned, _)| path.segments.iter().map(String::as_str).take(banned.len()).eq(banned.iter().copied()));
        if let Some((banned, why)) = banned {
            found.push(file.at(path.line, &format!("`{}` in the core: {why}", banned.join("::"))));
        }
    }
}

/// Whether a core module has no floats but those allowed.
fn floats(file: &File, tokens: &[Token], allowed_seen: &mut BTreeSet<usize>, found: &mut Vec<String>) {
    let lines: Vec<_> = file.text.lines().collect();
    let is_float = |token: &&Token| {
        token.kind == Kind::Float || token.kind == Kind::Word && FLOAT_WORDS.contains(&token.text.as_str())
    };
    for token in tokens.iter().filter(|token| !token.test).filter(is_float) {
        let line = lines[token.line - 1];
        let allowed = FLOATS_ALLOWED.iter().position(|(path, part, _)| file.path == *path && line.contains(part));
        match allowed {
            Some(index) => drop(allowed_seen.insert(index)),
            None => found.push(file.at(token.line, &format!("`{}`: no float in a decision", token.text))),
        }
    }
}

/// The files below `directory`, by path.
fn files_below(directory: &std::path::Path, prefix: &str) -> Vec<File> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path(), &format!("{path}/")));
        } else if path.ends_with(".rs") {
            files.push(File { path, text: fs::read_to_string(entry.path()).unwrap() });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[test]
fn the_layers_hold() {
    let files = files_below(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "");
    assert!(files.iter().any(|file| file.path == "gcra.rs") && files.iter().any(|file| file.path == "cli/exit.rs"));
    let found = violations(&files);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

mod made_up {
    use super::*;

    const LIB: &str = "// Core.\npub mod low;\npub mod high;\n// Shell.\npub mod clock;\npub mod cli;\n";

    fn check(path: &str, text: &str, expected: &[&str]) {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let found = violations(&[file("lib.rs", LIB), file(path, text)]);
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn modules_use_only_what_stands_above() {
        check("high.rs", "use crate::low::A;", &[]);
        check("high/part.rs", "use crate::high::A; use super::B; use super::super::low::C;", &[]);
        check("low.rs", "use crate::high::A;", &["src/low.rs:1: `low` uses `high`"]);
        check("low.rs", "\nuse crate::{low::A, high::{B, C}};", &["src/low.rs:2: `low` uses `high`", "uses `high`"]);
        check("low.rs", "use ::std::fmt; fn f() -> crate::high::A {}", &["uses `high`"]);
        check("low.rs", "use super::high::A;", &["uses `high`"]);
        check("low/part.rs", "use super::super::{high as h};", &["uses `high`"]);
        check("low.rs", "mod inner { use super::high; use super::super::cli::X; }", &["uses `cli`"]);
        check("high.rs", "use crate::*;", &["is no module"]);
        check("other.rs", "", &["no module of lib.rs"]);
    }

    #[test]
    fn comments_and_strings_say_what_they_like() {
        check("low.rs", "//! crate::high\n/* /* std::fs */ f64 */ const A: &str = r#\"\" crate::high 1.5\"#;", &[]);
        check("low.rs", "const A: char = '\"'; const B: char = '\\''; const C: &str = \"\\\"println\";", &[]);
        check("low.rs", "fn f<'static_like>(x: &'static str) {}", &[]);
    }

    #[test]
    fn the_core_does_without_the_world() {
        check("low.rs", "use std::{fmt, fs};", &["`std::fs` in the core"]);
        check("low.rs", "fn f() { std::io::stdin(); }", &["`std::io` in the core"]);
        check(
            "low.rs",
            "use std::{net::{IpAddr, TcpStream}, env::{self, var}};",
            &["`TcpStream`", "`std::env`", "`std::env`"],
        );
        check("low.rs", "async fn f() { g().await }", &["`async`", "`await`"]);
        check("low.rs", "static A: u8 = 1;", &["`static`"]);
        check("low.rs", "use std::time::Instant;", &["`Instant`"]);
        check("clock.rs", "use std::{fs, time::SystemTime}; fn f() { SystemTime::now(); }", &[]);
    }

    #[test]
    fn decisions_have_no_floats() {
        check("low.rs", "fn f(x: f64) {}", &["`f64`: no float"]);
        check("low.rs", "const A: u8 = 1.5 as u8; const B: u8 = 1e3 as u8;", &["`1.5`", "`1e3`"]);
        check("low.rs", "fn f(p: P) { p.0.1; 0..5; 1.max(2); 0xfe; 1_usize; span.seconds_f64(); }", &["`seconds_f64`"]);
        check("low.rs", "#[cfg(test)]\nmod tests { fn f() { 1.5; } }\nconst A: f32 = 1;", &["src/low.rs:3: `f32`"]);
        check("cli.rs", "const A: f64 = 1.5;", &[]);
    }

    #[test]
    fn an_allowance_that_nothing_needs_is_told() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let found = violations(&[file("lib.rs", "// Core.\npub mod time;\n// Shell.\n"), file("time.rs", "")]);
        assert_eq!(found.len(), 3, "{found:#?}");
    }

    #[test]
    fn only_cli_prints_and_only_the_clock_reads_the_time() {
        check("high.rs", "fn f() { println!(); }", &["only `cli` prints"]);
        check("cli/limits.rs", "fn f() { eprintln!(); }", &["through `Terminal`"]);
        check("clock.rs", "fn f() { std::io::stdout(); }", &["only `cli` prints"]);
        check("clock.rs", "fn f() { command.stderr(log); }", &[]);
        check("cli/terminal.rs", "fn f() { error.print(); std::io::stdout(); anyhow::anyhow!(); }", &[]);
        check("clock.rs", "use anyhow::Context;", &["an error of its own"]);
        check(
            "cli.rs",
            "fn f() { std::time::Instant::now(); std::process::exit(1); }",
            &["only `clock`", "`process::exit`"],
        );
        check("high.rs", "fn f() { chrono::Utc::now(); }", &["only `clock`"]);
    }

    #[test]
    fn only_one_file_sends_orders() {
        let lib = "// Core.\n// Shell.\npub mod issuer;\npub mod enforce;\npub mod cli;\n";
        let count = |path: &str, text: &str| {
            let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
            let found = violations(&[file("lib.rs", lib), file(path, text)]);
            assert!(found.iter().all(|found| found.contains("`issuer/send.rs` sends an order")), "{found:#?}");
            found.len()
        };
        let sends = "async fn f() { account.new_order(&order).await }";
        assert_eq!(count("issuer/send.rs", sends), 0);
        assert_eq!(count("issuer/order.rs", sends), 1);
        assert_eq!(count("cli/issue.rs", "fn f() { session\n.account()\n.new_order(&order) }"), 1);
        assert_eq!(count("issuer/order.rs", "fn f() { instant_acme::Account::new_order(&account, &order) }"), 1);
        assert_eq!(count("issuer/order.rs", "fn f() { send::new_order(&wire, &session, permit) }"), 0);
        assert_eq!(count("issuer/wire/tests.rs", sends), 0);
        assert_eq!(count("enforce/enforcer.rs", "fn f() { self.new_order(at) }"), 0);
    }

    #[test]
    fn files_are_short_and_say_what_they_are() {
        check("low.rs", &"\n".repeat(LINES_MAX), &[]);
        check("low.rs", &"\n".repeat(LINES_MAX + 1), &["more than 450 lines"]);
        check("low/mod.rs", "", &["does not say"]);
        check("low/util.rs", "", &["does not say"]);
    }

    #[test]
    fn lib_has_its_markers() {
        assert!(Layers::read("pub mod a;\n// Core.\n// Shell.\n").is_err());
        assert!(Layers::read("// Core.\npub mod a;\n").is_err());
        let layers = Layers::read("//! mod x;\n// Core.\npub mod a;\nmod b;\n// Shell.\npub mod c;\n");
        assert_eq!(layers, Ok(Layers { modules: ["a", "b", "c"].map(str::to_owned).to_vec(), core: 2 }));
    }
}
