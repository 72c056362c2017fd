//! The file by which somebody invites others to a network: which chain it is and where to reach it.
//!
//! Written by `iota-run network` and by a devnet, read by `iota-miner join`. What is in it is checked against
//! the nodes that it names; that it names the right chain can only be known from whoever gave it.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{bail, Context};
use iota_chain::{Chain, ChainError};
use iota_protocol::ids::{parse_hex32, Hash};
use serde::{Deserialize, Serialize};

/// Longest file; a network of sixteen nodes takes two KiB.
const MAX_BYTES: u64 = 64 << 10;
/// Most nodes in a file: each is asked one after the other.
const MAX_NODES: usize = 16;

/// A network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// Its name, for people.
    pub name: String,
    /// Hash of block 0, as 64 hex digits.
    pub genesis: String,
    /// The run that newcomers work for unless they say otherwise.
    #[serde(default)]
    pub run: u32,
    /// WebSocket addresses of nodes, in the order in which they are asked.
    pub rpc: Vec<String>,
    /// Where a node of one's own finds others, as multiaddresses with a peer id.
    #[serde(default)]
    pub bootnodes: Vec<String>,
    /// Address of an explorer's pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explorer: Option<String>,
    /// Whether the chain gives first tokens to whoever asks.
    #[serde(default)]
    pub faucet: bool,
}

/// What the nodes of a file said.
#[derive(Debug)]
pub struct Checked {
    /// Nodes of this chain with their newest final block.
    pub answered: Vec<(String, u32)>,
    /// Nodes that did not answer, and why.
    pub silent: Vec<(String, String)>,
}

impl NetworkFile {
    /// Reads a file and checks what can be checked without a network.
    ///
    /// # Errors
    /// When it is missing, too long, not such a file, names no node, or its genesis is no hash.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("reading {}", path.display()))?;
        let file: Self =
            toml::from_str(&text).with_context(|| format!("{} describes no network", path.display()))?;
        file.genesis().with_context(|| path.display().to_string())?;
        if file.rpc.is_empty() || file.rpc.len() > MAX_NODES {
            bail!("{}: rpc lists {} nodes, expected 1 to {MAX_NODES}", path.display(), file.rpc.len());
        }
        Ok(file)
    }

    /// Writes it where nothing is yet.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = format!(
            "# A network that `iota-miner join --network FILE` joins. Compare the genesis with a second source.\n{}",
            toml::to_string(self).context("writing the network as TOML")?
        );
        write_new(path, &text)
    }

    /// The chain's identity.
    ///
    /// # Errors
    /// When it is not 64 hex digits.
    pub fn genesis(&self) -> anyhow::Result<Hash> {
        let text = &self.genesis;
        parse_hex32(text).map(Hash).with_context(|| format!("genesis {text:?} is not 64 hex digits"))
    }

    /// Asks every node for its chain. One that runs another chain spoils the file: somebody made a mistake,
    /// or means harm. One that is away does not.
    ///
    /// # Errors
    /// When a node runs another chain, or none answers.
    pub async fn check(&self) -> anyhow::Result<Checked> {
        let genesis = self.genesis()?;
        let mut checked = Checked { answered: Vec::new(), silent: Vec::new() };
        for url in &self.rpc {
            match Self::ask(url, genesis).await {
                Ok(block) => checked.answered.push((url.clone(), block)),
                Err(error @ (ChainError::Genesis { .. } | ChainError::ApiVersion { .. })) => {
                    return Err(error).context("the network is refused; ask whoever gave you the file");
                }
                Err(error) => checked.silent.push((url.clone(), error.to_string())),
            }
        }
        if checked.answered.is_empty() {
            let why: Vec<String> = checked.silent.iter().map(|(_, why)| why.clone()).collect();
            bail!("none of the {} nodes answers: {}", self.rpc.len(), why.join("; "));
        }
        Ok(checked)
    }

    async fn ask(url: &str, genesis: Hash) -> Result<u32, ChainError> {
        // A comma in an address would be a second node that nobody checks.
        if url.contains(',') {
            let reason = "an address holds a comma; list nodes one by one".to_owned();
            return Err(ChainError::Connect { url: url.to_owned(), reason });
        }
        let chain = Chain::connect(url, Some(genesis)).await?;
        Ok(chain.at_finalized().await?.head().number)
    }
}

/// Writes a file where nothing is yet.
///
/// # Errors
/// When it is there already or cannot be written.
pub fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::File::options().write(true).create_new(true).open(path);
    let mut file =
        file.with_context(|| format!("writing {}; an old one is not overwritten", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> NetworkFile {
        NetworkFile {
            name: "test".into(),
            genesis: Hash([7; 32]).to_string(),
            run: 3,
            rpc: vec!["ws://127.0.0.1:1".into()],
            bootnodes: vec!["/ip4/10.0.0.1/tcp/30333/p2p/12D3".into()],
            explorer: Some("http://127.0.0.1:8080".into()),
            faucet: true,
        }
    }

    fn refused(change: impl Fn(&mut NetworkFile), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.toml");
        let mut changed = file();
        change(&mut changed);
        changed.write(&path).unwrap();
        let error = format!("{:#}", NetworkFile::read(&path).unwrap_err());
        assert!(error.contains(expected) && error.contains("network.toml"), "{error}");
    }

    #[test]
    fn what_was_written_reads_back_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.toml");
        file().write(&path).unwrap();
        assert_eq!(NetworkFile::read(&path).unwrap(), file());
        assert_eq!(file().genesis().unwrap(), Hash([7; 32]));
        assert!(format!("{:#}", file().write(&path).unwrap_err()).contains("not overwritten"));
        std::fs::write(&path, "name = \"x\"\ngenesis = \"00\"\nrcp = []").unwrap();
        assert!(format!("{:#}", NetworkFile::read(&path).unwrap_err()).contains("rcp"), "a typing error");
    }

    #[test]
    fn a_file_without_nodes_or_with_a_wrong_hash_is_refused() {
        refused(|file| file.rpc.clear(), "0 nodes, expected 1 to 16");
        refused(|file| file.rpc = vec!["ws://a".into(); 17], "17 nodes");
        refused(|file| file.genesis = "0x12".into(), "is not 64 hex digits");
    }

    #[tokio::test]
    async fn nodes_that_are_all_away_are_named() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("ws://127.0.0.1:{port}");
        let both = NetworkFile { rpc: vec![url.clone(), "ws://a,ws://b".into()], ..file() };
        let error = both.check().await.unwrap_err().to_string();
        assert!(error.contains(&url) && error.contains("one by one"), "{error}");
    }
}
