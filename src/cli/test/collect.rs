//! Which scenarios are meant: files, folders, patterns.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::cli::failure::Hint as _;

/// The files of all arguments: in their order, within a folder or a pattern sorted, each once. A folder's scenarios lie directly in it:
/// what they name, such as overrides, has a place in folders below.
///
/// # Errors
/// Where a folder can't be read, or there is no scenario at all.
pub(super) fn files(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for argument in arguments {
        for file in of(argument)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn of(argument: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = argument.display();
    if argument.is_dir() {
        let fail = || format!("can't read the folder {name}");
        let mut files = Vec::new();
        for entry in fs::read_dir(argument).with_context(fail)? {
            let path = entry.with_context(fail)?.path();
            if path.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        return some(files, &format!("there is no scenario, a *.toml file, in the folder {name}"));
    }
    let pattern = argument.to_str().filter(|text| !argument.exists() && text.contains(['*', '?', '[']));
    let Some(pattern) = pattern else {
        // One that is missing is told in its place, so that the others still run.
        return Ok(vec![argument.to_owned()]);
    };
    let found = glob::glob(pattern).with_context(|| format!("`{pattern}` is no pattern"))?;
    let mut files = found.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    some(files, &format!("no file matches {pattern}"))
}

fn some(files: Vec<PathBuf>, otherwise: &str) -> anyhow::Result<Vec<PathBuf>> {
    if files.is_empty() {
        return Err(anyhow!("{otherwise}: nothing was tested")).hint("certpace test --init writes an example");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_sorted_and_no_file_comes_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        for name in ["b.toml", "a.toml", "a.csv", "below/c.toml"] {
            fs::write(at(name), "").unwrap();
        }
        let all = |arguments: &[&str]| files(&arguments.iter().map(|name| at(name)).collect::<Vec<_>>());
        assert_eq!(all(&["b.toml", ""]).unwrap(), [at("b.toml"), at("a.toml")]);
        assert_eq!(all(&[""]).unwrap(), [at("a.toml"), at("b.toml")]);
        assert_eq!(all(&["?.toml", "b.toml"]).unwrap(), [at("a.toml"), at("b.toml")]);
        assert_eq!(all(&["missing.toml"]).unwrap(), [at("missing.toml")]);
        assert!(all(&["below/*.csv"]).unwrap_err().to_string().contains("nothing was tested"));
    }
}
