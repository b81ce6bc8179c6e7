//! A scanner for Rust that knows just enough: comments, strings, words, numbers, paths, inline modules and what only tests see.

/// A piece of source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// How many inline modules it lies in.
    pub(crate) depth: usize,
    /// Whether it stands under `#[cfg(test)]`.
    pub(crate) test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Word,
    Integer,
    Float,
    /// A string, a character or a lifetime: nothing in it is looked at.
    Literal,
    Punctuation,
}

/// A path such as `crate::time::Span`; groups are told apart into one path each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) depth: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Punctuation) && self.text == text
    }
}

/// All tokens of `source` but comments.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens: Vec<Token> = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let after_dot = tokens.last().is_some_and(|token| token.is("."));
        let (kind, end) = token_at(&chars, at, after_dot);
        if let Some(kind) = kind {
            let text = chars[at..end].iter().collect();
            tokens.push(Token { kind, text, line, depth: 0, test: false });
        }
        line += chars[at..end].iter().filter(|char| **char == '\n').count();
        at = end;
    }
    place(&mut tokens);
    tokens
}

/// The kind of the token at `at`, `None` for blanks and comments, and where it ends.
fn token_at(chars: &[char], at: usize, after_dot: bool) -> (Option<Kind>, usize) {
    let peek = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let end_of = |from: usize, inside: &dyn Fn(char) -> bool| {
        chars[from..].iter().position(|char| !inside(*char)).map_or(chars.len(), |length| from + length)
    };
    let word = |char: char| char.is_alphanumeric() || char == '_';
    match chars[at] {
        char if char.is_whitespace() => (None, at + 1),
        '/' if peek(1) == '/' => (None, end_of(at, &|char| char != '\n')),
        '/' if peek(1) == '*' => (None, end_of_comment(chars, at)),
        '"' => (Some(Kind::Literal), end_of_string(chars, at)),
        '\'' if peek(1) == '\\' => (Some(Kind::Literal), (end_of(at + 3, &|char| char != '\'') + 1).min(chars.len())),
        '\'' if peek(2) == '\'' => (Some(Kind::Literal), at + 3),
        '\'' => (Some(Kind::Literal), end_of(at + 1, &word)),
        char if char.is_ascii_digit() => number(chars, at, after_dot),
        char if word(char) => {
            let end = end_of(at, &word);
            let prefix: String = chars[at..end].iter().collect();
            let hashes = end_of(end, &|char| char == '#') - end;
            let quoted = chars.get(end + hashes) == Some(&'"');
            match prefix.as_str() {
                "r" | "br" | "cr" if quoted => {
                    (Some(Kind::Literal), end_of_raw_string(chars, end + hashes + 1, hashes))
                }
                "b" | "c" if quoted && hashes == 0 => (Some(Kind::Literal), end_of_string(chars, end)),
                _ => (Some(Kind::Word), end),
            }
        }
        ':' if peek(1) == ':' => (Some(Kind::Punctuation), at + 2),
        _ => (Some(Kind::Punctuation), at + 1),
    }
}

fn number(chars: &[char], at: usize, after_dot: bool) -> (Option<Kind>, usize) {
    let digits = |from: usize| {
        let inside = |char: &char| char.is_alphanumeric() || *char == '_';
        chars[from..].iter().position(|char| !inside(char)).map_or(chars.len(), |length| from + length)
    };
    let end = digits(at);
    // `pair.0.1` is no number with a fraction.
    let fraction =
        !after_dot && chars.get(end) == Some(&'.') && chars.get(end + 1).is_some_and(|next| next.is_ascii_digit());
    if fraction {
        return (Some(Kind::Float), digits(end + 1));
    }
    let text: String = chars[at..end].iter().collect();
    let based = ["0x", "0o", "0b"].iter().any(|base| text.starts_with(base));
    let float = !based
        && (text.contains(['e', 'E']) && !text.contains("size") || text.ends_with("f32") || text.ends_with("f64"));
    (Some(if float { Kind::Float } else { Kind::Integer }), end)
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at.min(chars.len())
}

fn end_of_string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        let closed = chars[at] == '"' && chars[at + 1..].iter().take_while(|char| **char == '#').count() >= hashes;
        at += 1;
        if closed {
            return at + hashes;
        }
    }
    at
}

/// Notes for each token in how many inline modules it lies and whether only tests see it.
fn place(tokens: &mut [Token]) {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut blocks: Vec<(bool, bool)> = Vec::new();
    let mut pending = false;
    for at in 0..tokens.len() {
        let matches = |pattern: &[&str]| {
            tokens
                .get(at..at + pattern.len())
                .is_some_and(|run| run.iter().zip(pattern).all(|(token, text)| token.is(text)))
        };
        pending |= matches(&CFG_TEST);
        let module = at >= 2 && tokens[at - 2].is("mod");
        let (opens, closes, ends) = (matches(&["{"]), matches(&["}"]), matches(&[";"]));
        if closes {
            blocks.pop();
        }
        tokens[at].depth = blocks.iter().filter(|(module, _test)| *module).count();
        tokens[at].test = pending || blocks.iter().any(|(_module, test)| *test);
        if opens {
            blocks.push((module, pending));
        }
        pending &= !(opens || ends);
    }
}

/// All paths of at least two segments.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    for at in 0..tokens.len() {
        let starts = tokens[at].kind == Kind::Word && tokens.get(at + 1).is_some_and(|next| next.is("::"));
        // The rest of a longer path is none of its own; a leading `::` is no part of one.
        let inside =
            at >= 2 && tokens[at - 1].is("::") && (tokens[at - 2].kind == Kind::Word || tokens[at - 2].is(">"));
        if starts && !inside {
            let mut segments = Vec::new();
            tree(tokens, at, &mut segments, &mut paths);
        }
    }
    paths
}

/// Reads the path at `at`, and all of its group if it ends in one; gives where it ends.
fn tree(tokens: &[Token], mut at: usize, segments: &mut Vec<String>, paths: &mut Vec<Path>) -> usize {
    let before = segments.len();
    let Token { line, depth, .. } = tokens[at.min(tokens.len() - 1)];
    while let Some(token) = tokens.get(at) {
        if token.is("{") {
            at += 1;
            while tokens.get(at).is_some_and(|token| !token.is("}")) {
                at = tree(tokens, at, segments, paths).max(at + 1);
                at += usize::from(tokens.get(at).is_some_and(|token| token.is(",")));
            }
            segments.truncate(before);
            return at + 1;
        }
        if token.kind != Kind::Word && !token.is("*") {
            break;
        }
        segments.push(token.text.clone());
        at += 1;
        if !tokens.get(at).is_some_and(|next| next.is("::")) {
            break;
        }
        at += 1;
    }
    paths.push(Path { segments: segments.clone(), line, depth });
    segments.truncate(before);
    if tokens.get(at).is_some_and(|token| token.is("as")) { at + 2 } else { at }
}
