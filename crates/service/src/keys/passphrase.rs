//! Where passphrases come from: a file, the environment, or the person at the terminal. Never the
//! command line, which every user of the machine can read.

use std::io::{self, IsTerminal};
use std::path::Path;

use zeroize::Zeroizing;

/// Names a file whose first line is the passphrase.
const FILE: &str = "IOTA_PASSPHRASE_FILE";
/// The passphrase itself; for where the environment comes from a vault.
const VALUE: &str = "IOTA_PASSPHRASE";

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Nobody to ask.
    #[error("{what} needs a passphrase, and nobody can be asked here; set {FILE} to a file that holds it")]
    Nobody {
        /// What it is for.
        what: String,
    },
    /// The file or the terminal cannot be read.
    #[error("cannot read the passphrase for {what}: {cause}")]
    Unreadable {
        /// What it is for.
        what: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Typed differently the second time, or nothing.
    #[error("the two passphrases for {what} differ, or are empty; nothing was written")]
    Differ {
        /// What it is for.
        what: String,
    },
}

/// The passphrase that opens `what`.
///
/// # Errors
/// See [`PassphraseError`].
pub fn existing(what: &str) -> Result<Zeroizing<String>, PassphraseError> {
    match told(what)? {
        Some(text) => Ok(text),
        None => asked(what, "passphrase"),
    }
}

/// A passphrase for the new file `what`; typed twice where a person types it.
///
/// # Errors
/// See [`PassphraseError`].
pub fn chosen(what: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let differ = || PassphraseError::Differ { what: what.to_owned() };
    let first = match told(what)? {
        Some(text) => text,
        None => {
            let first = asked(what, "new passphrase")?;
            if *asked(what, "the same again")? != *first {
                return Err(differ());
            }
            first
        }
    };
    if first.is_empty() {
        return Err(differ());
    }
    Ok(first)
}

/// A secret that a person types or pastes, such as a mnemonic; one line of standard input otherwise.
///
/// # Errors
/// See [`PassphraseError`].
pub fn typed(what: &str) -> Result<Zeroizing<String>, PassphraseError> {
    if io::stdin().is_terminal() {
        return asked(what, "secret (not shown)");
    }
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin().read_line(&mut line);
    read.map_err(|cause| PassphraseError::Unreadable { what: what.to_owned(), cause })?;
    Ok(Zeroizing::new(line.trim().to_owned()))
}

fn told(what: &str) -> Result<Option<Zeroizing<String>>, PassphraseError> {
    if let Some(path) = std::env::var_os(FILE) {
        return first_line(Path::new(&path), what).map(Some);
    }
    Ok(std::env::var(VALUE).ok().map(Zeroizing::new))
}

fn first_line(path: &Path, what: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|cause| PassphraseError::Unreadable { what: what.to_owned(), cause })?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn asked(what: &str, which: &str) -> Result<Zeroizing<String>, PassphraseError> {
    if !io::stdin().is_terminal() {
        return Err(PassphraseError::Nobody { what: what.to_owned() });
    }
    let read = rpassword::prompt_password(format!("{which} for {what}: "));
    read.map(Zeroizing::new).map_err(|cause| PassphraseError::Unreadable { what: what.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "open sesame\nnot this\n").unwrap();
        assert_eq!(*first_line(&path, "a key").unwrap(), "open sesame");
        let error = first_line(&dir.path().join("none"), "a key").unwrap_err().to_string();
        assert!(error.contains("a key"), "{error}");
    }
}
