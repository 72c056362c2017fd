//! Somebody who follows the book: a home of its own with what such a person brings, terminals that are set up as the
//! first chapter says, and the order in which a chapter's blocks are run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use iota_tests::network::Devnet;
use iota_tests::process::free_port;

use crate::blocks::{of_chapter, refusal, Block, Kind};
use crate::shell::Shell;
use crate::upload;

/// The folder that the book gives its network.
pub const BOOK_FOLDER: &str = "/tmp/iota-net";
/// The hash of the block that an audit of the book names.
pub const BOOK_BLOCK: &str = "0x57ab0000000000000000000000000000000000000000000000000000000057ab";
/// The address that the book gives the explorer.
const BOOK_EXPLORER: &str = "127.0.0.1:8080";
/// The port that the book gives a validator's metrics.
const BOOK_METRICS: &str = "9402";
/// The genesis hash that an audit of the book names.
const BOOK_GENESIS: &str = "0x24fe0000000000000000000000000000000000000000000000000000000024fe";
/// For what starts the terminal.
const SOON: Duration = Duration::from_secs(60);

/// Words that every Substrate tool knows; the files below hold the same key, the second written by
/// @polkadot/keyring and sealed.
const WORDS: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
const ADDRESS: &str = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV";
const PUBLIC: &str = "0x46ebddef8cd9bb167dc30878d7113b7e168e6f0646beffd77d69d39bad76b47a";
const WALLET: &str = r#"{"encoded":"eJNf9u2bULNPDjrDUKc25lflk3Zn+IFj1zjNSUg0bgAAAAIAAQAAAAgAAAAP2lY55D3ejUpBWeL11izgkTJn1ZmfCc8P8r18dM81LjXbA22/lqPO90Qpb6cyrVu+bZDhzBUeHYpdevUCxS3WQ1c52c5oDKN/0VLTD+30WS6FlLE4WbJbXMVRriYC41cqjNIz6OA9Uo1Pc7RP9yajvMWNMo0CTmAYuP/kD9j7e2w8BEM/oHZS1ZerH+/9rX5cy7Ek9Uknt3YiSTFJ","encoding":{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"},"address":"5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV","meta":{"name":"alice-root"}}"#;
/// Opens the wallet, and seals what the reader seals.
const PASSPHRASE: &str = "open sesame";

/// What all terminals of the reader share.
pub struct Reader {
    home: PathBuf,
    node: String,
    net: PathBuf,
    genesis: String,
    metrics: u16,
    /// Where the reader's miner tells its numbers.
    pub miner_metrics: String,
    /// Where the explorer listens.
    pub explorer: String,
}

impl Reader {
    /// With an empty home folder, beside a network that runs.
    pub fn new(home: &Path, devnet: &Devnet) -> Self {
        let bittensor = home.join(".bittensor/wallets/default/hotkeys");
        std::fs::create_dir_all(&bittensor).unwrap();
        let brought = [
            (home.join("words.txt"), WORDS.to_owned()),
            (home.join("5DfhGyQd.json"), WALLET.to_owned()),
            (
                bittensor.join("default"),
                format!(
                    r#"{{"accountId":"{PUBLIC}","publicKey":"{PUBLIC}","secretPhrase":"{WORDS}","ss58Address":"{ADDRESS}"}}"#
                ),
            ),
        ];
        brought.iter().for_each(|(file, text)| std::fs::write(file, text).unwrap());
        Self {
            home: home.to_owned(),
            node: devnet.node_url.clone(),
            net: devnet.dir.clone(),
            genesis: devnet.chain.genesis().to_string(),
            metrics: free_port().unwrap(),
            miner_metrics: format!("127.0.0.1:{}", free_port().unwrap()),
            explorer: format!("127.0.0.1:{}", free_port().unwrap()),
        }
    }

    /// The node's address.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A terminal, set up as the first chapter says.
    pub fn terminal(&self) -> Shell {
        let environment = [
            ("HOME", self.home.display().to_string()),
            ("IOTA_CACHE", cache()),
            ("IOTA_PASSPHRASE", PASSPHRASE.into()),
            ("IOTA_MINER_NODE", self.node.clone()),
            ("IOTA_MINER_MAX_UPLOAD", upload::RATE.into()),
            ("IOTA_MINER_METRICS_PORT", self.miner_metrics.rsplit(':').next().unwrap_or_default().into()),
            ("IOTA_VALIDATOR_NODE", self.node.clone()),
            ("IOTA_EXPLORER_NODE", self.node.clone()),
            ("IOTA_EXPLORER_LISTEN", self.explorer.clone()),
            // All readers of the load test share one address here.
            ("IOTA_EXPLORER_REQUESTS_PER_SECOND", "1000".into()),
        ];
        let replaced = vec![
            (BOOK_FOLDER.to_owned(), self.net.display().to_string()),
            (BOOK_EXPLORER.to_owned(), self.explorer.clone()),
            (BOOK_METRICS.to_owned(), self.metrics.to_string()),
            (BOOK_GENESIS.to_owned(), self.genesis.clone()),
        ];
        let mut shell = Shell::start(&environment, replaced);
        for block in of_chapter("start-here.md").iter().filter(|block| block.kind == Kind::Run) {
            shell.run(block, SOON);
        }
        shell
    }

    /// Starts what runs beside in a chapter.
    pub fn begin(&self, chapter: &str, shell: &mut Shell) {
        let blocks = of_chapter(chapter);
        blocks.iter().filter(|block| block.kind == Kind::Start).for_each(|block| shell.start_aside(block));
    }

    /// Follows a chapter, but for what comes later, and returns what its blocks printed.
    pub fn follow(&self, chapter: &str, shell: &mut Shell, limit: Duration) -> Vec<String> {
        let mut said = Vec::new();
        for block in &of_chapter(chapter) {
            match block.kind {
                Kind::Run => said.push(shell.run(block, limit)),
                Kind::Refused => {
                    let (words, text) = (refusal(block), shell.run(&refused(block), limit));
                    assert!(text.contains(&words), "docs/{}:{}: {text}", block.chapter, block.line);
                }
                Kind::Node => said.push(shell.run(&node(block), limit)),
                Kind::Settings => said.push(shell.run(&settings(block), limit)),
                Kind::Start => shell.start_aside(block),
                Kind::Later | Kind::Parse | Kind::Devnet => {}
            }
        }
        assert!(!said.is_empty(), "{chapter} has nothing to run");
        said
    }

    /// What comes later in a chapter.
    pub fn later(&self, chapter: &str, shell: &mut Shell, limit: Duration) -> Vec<String> {
        let blocks = of_chapter(chapter);
        let later = blocks.iter().filter(|block| block.kind == Kind::Later);
        let said: Vec<String> = later.map(|block| shell.run(block, limit)).collect();
        assert!(!said.is_empty(), "{chapter} has nothing that comes later");
        said
    }
}

/// Programs that would run until they are stopped show what they would run with.
fn settings(block: &Block) -> Block {
    let lines = block.text.replace("\\\n", " ");
    let text = lines.lines().map(|line| format!("{line} --print-config\n")).collect();
    Block { text, ..block.clone() }
}

/// A node that is asked to end after some seconds, which it does with 0; in the reader's home, on ports that are free.
fn node(block: &Block) -> Block {
    let ports = [free_port().unwrap(), free_port().unwrap(), free_port().unwrap()];
    let [p2p, rpc, metrics] = ports.map(|port| port.to_string());
    let own = format!("--port {p2p} --rpc-port {rpc} --prometheus-port {metrics}");
    let line = block.text.replace("\\\n", " ").trim().to_owned();
    let text = format!("(cd ~; timeout --preserve-status 8 {line} {own})\n");
    Block { text, ..block.clone() }
}

/// Every command of a block fails, or the block does.
fn refused(block: &Block) -> Block {
    let lines = block.text.replace("\\\n", " ");
    let each = |line: &str| format!("if {line}; then echo 'it was not refused'; false; fi\n");
    Block { text: lines.lines().map(each).collect(), ..block.clone() }
}

/// Where libtorch and the browser's driver lie, although the reader has a home of its own.
fn cache() -> String {
    let own = || format!("{}/.cache/iota", std::env::var("HOME").unwrap_or_default());
    std::env::var("IOTA_CACHE").unwrap_or_else(|_| own())
}
