//! Answers to http-01 as files that a web server serves.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Action, ChallengeError, Proof};

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) async fn run(&self, action: Action, proof: &Proof) -> Result<(), ChallengeError> {
        let name = || proof.ordered();
        if !is_base64url(&proof.token) {
            return Err(ChallengeError::Token { name: name(), token: proof.token.clone() });
        }
        let (folder, path, text) = (self.0.clone(), self.0.join(&proof.token), proof.key_authorization.clone());
        let file = path.clone();
        let done = tokio::task::spawn_blocking(move || match action {
            Action::Set => write(&folder, &file, &text),
            Action::Clear => remove(&file),
        });
        let done = done.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        done.map_err(|error| ChallengeError::File { name: name(), action, path, error })
    }
}

/// Only such tokens become names of files.
fn is_base64url(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Written aside and renamed: nobody sees half of it. The web server is somebody else, who may read it.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".certpace-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64url_names_a_file() {
        for (token, is) in [("Ab-_9", true), ("", false), ("..", false), ("a/b", false), ("a.b", false), ("é", false)]
        {
            assert_eq!(is_base64url(token), is, "{token}");
        }
    }
}
