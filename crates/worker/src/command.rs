//! Commands and flags that the miner's and the validator's command lines share.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use iota_protocol::ids::AccountKey;
use iota_service::keys::{self, Hotkey};
use iota_service::ss58;
use serde_json::json;
use zeroize::Zeroizing;

use crate::answer::Answer;

/// Making, showing and taking over keys. Passphrases come from the file that IOTA_PASSPHRASE_FILE names,
/// from IOTA_PASSPHRASE, or from the terminal; never from the command line.
#[derive(Subcommand)]
pub enum Keys {
    /// Make a new key file (mode 0600, never overwritten).
    New {
        /// Where to write it.
        #[arg(long, default_value = "hotkey.json")]
        out: PathBuf,
        /// Seal it with a passphrase.
        #[arg(long)]
        sealed: bool,
    },
    /// Show a key file's public address.
    Show {
        /// The key file.
        #[arg(default_value = "hotkey.json")]
        file: PathBuf,
    },
    /// Make a key file of a key that another program made.
    Import {
        /// What it is.
        #[arg(long, value_enum)]
        from: Kind,
        /// The file that holds it. A mnemonic or seed without a file is asked for, or read from standard
        /// input.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Where to write the key file.
        #[arg(long, default_value = "hotkey.json")]
        out: PathBuf,
        /// Seal it with a passphrase.
        #[arg(long)]
        sealed: bool,
    },
}

/// Keys of other programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// The words of a Substrate wallet, without a derivation path.
    Mnemonic,
    /// 64 hex digits.
    Seed,
    /// The JSON file of polkadot-js and wallets built on it.
    PolkadotJs,
    /// An unencrypted hotkey file of bittensor.
    Bittensor,
}

impl Keys {
    /// Does it, and prints address, public key and file.
    ///
    /// # Errors
    /// When the key file cannot be read or written, or is there already.
    pub fn run(self, answer: Answer) -> anyhow::Result<()> {
        let (key, file) = match self {
            Self::New { out, sealed } => {
                let key = Hotkey::generate();
                write(&key, &out, sealed)?;
                (key, out)
            }
            Self::Show { file } => (Hotkey::load(&file)?, file),
            Self::Import { from, file, out, sealed } => {
                let key = import(from, file.as_deref())?;
                write(&key, &out, sealed)?;
                (key, out)
            }
        };
        let (address, public) = (ss58::encode(&key.public()), AccountKey(key.public()));
        answer.say(
            format_args!("{address} {public} ({})", file.display()),
            &json!({ "address": address, "public": public, "file": file }),
        )
    }
}

fn write(key: &Hotkey, out: &Path, sealed: bool) -> anyhow::Result<()> {
    if sealed {
        let passphrase = keys::chosen(&out.display().to_string())?;
        key.save_sealed(out, &passphrase)?;
    } else {
        key.save(out)?;
    }
    Ok(())
}

fn import(kind: Kind, file: Option<&Path>) -> anyhow::Result<Hotkey> {
    let text: Zeroizing<Vec<u8>> = match (file, kind) {
        (Some(file), _) => {
            Zeroizing::new(std::fs::read(file).with_context(|| format!("reading {}", file.display()))?)
        }
        (None, Kind::Mnemonic) => Zeroizing::new(keys::typed("the mnemonic")?.as_bytes().to_vec()),
        (None, Kind::Seed) => Zeroizing::new(keys::typed("the seed")?.as_bytes().to_vec()),
        (None, _) => anyhow::bail!("name the file that holds the key with --file"),
    };
    let words = || std::str::from_utf8(&text).context("the secret is not text");
    Ok(match kind {
        Kind::Mnemonic => Hotkey::from_mnemonic(words()?)?,
        Kind::Seed => Hotkey::from_hex_seed(words()?)?,
        Kind::Bittensor => Hotkey::from_bittensor(&text)?,
        Kind::PolkadotJs => match Hotkey::from_polkadot_js(&text, "") {
            // Nobody is asked for a passphrase of a file that has none.
            Err(keys::ImportError::Passphrase) => {
                Hotkey::from_polkadot_js(&text, &keys::existing("the polkadot-js file")?)?
            }
            other => other?,
        },
    })
}

/// Which chain, run and key a command is about; what is absent comes from the configuration.
#[derive(Args, Clone)]
pub struct Target {
    /// WebSocket address of a node.
    #[arg(long)]
    pub node: Option<String>,
    /// The run.
    #[arg(long)]
    pub run: Option<u32>,
    /// Hotkey file.
    #[arg(long)]
    pub hotkey: Option<PathBuf>,
}

impl Target {
    /// As keys of the configuration file.
    #[must_use]
    pub fn flags(&self) -> toml::Table {
        let mut flags = toml::Table::new();
        if let Some(node) = &self.node {
            flags.insert("node".into(), node.clone().into());
        }
        if let Some(run) = self.run {
            flags.insert("run".into(), i64::from(run).into());
        }
        if let Some(hotkey) = &self.hotkey {
            flags.insert("hotkey".into(), hotkey.display().to_string().into());
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_becomes_a_flag() {
        let none = Target { node: None, run: None, hotkey: None };
        assert!(none.flags().is_empty());
        let given = Target { run: Some(3), hotkey: Some("k.json".into()), ..none };
        assert_eq!(
            given.flags(),
            toml::toml! { run = 3
            hotkey = "k.json" }
        );
    }

    #[test]
    fn a_new_key_is_never_written_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.json");
        Keys::New { out: file.clone(), sealed: false }.run(Answer::Text).unwrap();
        let before = std::fs::read(&file).unwrap();
        assert!(Keys::New { out: file.clone(), sealed: false }.run(Answer::Text).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), before);
        Keys::Show { file }.run(Answer::Text).unwrap();
    }

    #[test]
    fn a_key_of_another_program_becomes_a_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("words"), dir.path().join("key.json"));
        let words = "bottom drive obey lake curtain smoke basket hold race lonely fit walk\n";
        std::fs::write(&file, words).unwrap();
        let import = |from| Keys::Import { from, file: Some(file.clone()), out: out.clone(), sealed: false };
        assert!(import(Kind::Seed).run(Answer::Text).is_err());
        import(Kind::Mnemonic).run(Answer::Text).unwrap();
        let address = Hotkey::load(&out).unwrap().address();
        assert_eq!(address, "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV");
    }
}
