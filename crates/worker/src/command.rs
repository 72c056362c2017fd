//! Commands and flags that the miner's and the validator's command lines share.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use iota_protocol::ids::AccountKey;
use iota_service::keys::Hotkey;
use iota_service::ss58;

/// Making and showing keys.
#[derive(Subcommand)]
pub enum Keys {
    /// Make a new key file (mode 0600, never overwritten).
    New {
        /// Where to write it.
        #[arg(long, default_value = "hotkey.json")]
        out: PathBuf,
    },
    /// Show a key file's public address.
    Show {
        /// The key file.
        #[arg(default_value = "hotkey.json")]
        file: PathBuf,
    },
}

impl Keys {
    /// Does it, and prints address, public key and file.
    ///
    /// # Errors
    /// When the key file cannot be read or written, or is there already.
    pub fn run(self) -> anyhow::Result<()> {
        let (key, file) = match self {
            Self::New { out } => {
                let key = Hotkey::generate();
                key.save(&out)?;
                (key, out)
            }
            Self::Show { file } => (Hotkey::load(&file)?, file),
        };
        println!("{} {} ({})", ss58::encode(&key.public()), AccountKey(key.public()), file.display());
        Ok(())
    }
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
        Keys::New { out: file.clone() }.run().unwrap();
        let before = std::fs::read(&file).unwrap();
        assert!(Keys::New { out: file.clone() }.run().is_err());
        assert_eq!(std::fs::read(&file).unwrap(), before);
        Keys::Show { file }.run().unwrap();
    }
}
