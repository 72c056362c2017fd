//! The tutorials, run as a reader would on a network of real processes: from nothing to a claimed
//! reward, a bonded validator, an audited epoch. The explorer of that network is looked at in a browser
//! and read by many at once meanwhile.
//!
//! What differs from the reader's network: it trains the smallest model, has fewer miners, and listens
//! on free ports, which the programs are told by their environment.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use iota_chain::{Call, Submitter};
use iota_protocol::hash::serve_payload;
use iota_protocol::ids::AccountKey;
use iota_protocol::work::Endpoint;
use iota_service::keys::Hotkey;
use iota_tests::network::{Devnet, RUN};
use iota_tests::options::Options;
use iota_tests::process::free_port;
use iota_worker::identity::{coldkey_signer, peer_key};
use iota_worker::onboard;

use crate::blocks::{of_chapter, root, Block, Kind};
use crate::commands::commands;
use crate::shell::Shell;
use crate::{browser, http, kills, load, verify};

/// `Train` of each epoch on the reference machine: enough to be scored in.
const TRAIN_BLOCKS: u32 = 20;
/// For a block that does not wait for the chain's clock.
const SOON: Duration = Duration::from_secs(60);
/// A newcomer of the first epoch is paid for the second when the third closes, and the first part of
/// that vests in the fourth.
const PAID: Duration = Duration::from_secs(900);
/// The seed of the development key that every devnet's admin has; known to everybody.
const ADMIN: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
/// The folder that the book gives its network.
const BOOK_FOLDER: &str = "/tmp/iota-net";
/// The address that the book gives the explorer.
const BOOK_EXPLORER: &str = "127.0.0.1:8080";
/// What somebody hostile publishes as its address.
pub const SCRIPT: &str = "<script>window.pwned=1</script>";

/// The network of the book's `sh,devnet` block, made smaller.
fn options(dir: &Path) -> Options {
    let blocks = of_chapter("start-here.md");
    let block =
        blocks.iter().find(|block| block.kind == Kind::Devnet).expect("start-here.md starts a network");
    let words = commands(block).remove(0);
    let book = Options::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert_eq!(book.dir.as_deref(), Some(Path::new(BOOK_FOLDER)));
    assert!(book.keep && book.rpc_port == Some(9944), "the defaults of the programs reach it: {words:?}");
    let train_blocks = Some(iota_tests::speed::stretched(TRAIN_BLOCKS).expect("the probe trains a model"));
    Options {
        preset: "nano".into(),
        data: root().join(&book.data),
        dir: Some(dir.to_owned()),
        rpc_port: None,
        stages: 2,
        miners: 2,
        validators: 1,
        train_blocks,
        ..book
    }
}

/// What all terminals of the reader share.
struct Reader {
    home: PathBuf,
    node: String,
    net: PathBuf,
    explorer: String,
}

impl Reader {
    /// A terminal, set up as the first chapter says.
    fn terminal(&self) -> Shell {
        let environment = [
            ("HOME", self.home.display().to_string()),
            ("IOTA_CACHE", cache()),
            ("IOTA_MINER_NODE", self.node.clone()),
            ("IOTA_VALIDATOR_NODE", self.node.clone()),
            ("IOTA_EXPLORER_NODE", self.node.clone()),
            ("IOTA_EXPLORER_LISTEN", self.explorer.clone()),
            // All readers of the load test share one address here.
            ("IOTA_EXPLORER_REQUESTS_PER_SECOND", "1000".into()),
        ];
        let replaced = vec![
            (BOOK_FOLDER.to_owned(), self.net.display().to_string()),
            (BOOK_EXPLORER.to_owned(), self.explorer.clone()),
        ];
        let mut shell = Shell::start(&environment, replaced);
        for block in of_chapter("start-here.md").iter().filter(|block| block.kind == Kind::Run) {
            shell.run(block, SOON);
        }
        shell
    }

    /// Follows a chapter and returns what its blocks printed.
    fn follow(&self, chapter: &str, shell: &mut Shell, limit: Duration) -> Vec<String> {
        let blocks = of_chapter(chapter);
        let mut said = Vec::new();
        for block in &blocks {
            match block.kind {
                Kind::Run => said.push(shell.run(block, limit)),
                Kind::Start => shell.start_aside(block),
                Kind::Parse | Kind::Devnet => {}
            }
        }
        assert!(!said.is_empty(), "{chapter} has nothing to run");
        said
    }
}

/// Where libtorch and the browser's driver lie, although the reader has a home of its own.
fn cache() -> String {
    let own = || format!("{}/.cache/iota", std::env::var("HOME").unwrap_or_default());
    std::env::var("IOTA_CACHE").unwrap_or_else(|_| own())
}

/// Publishes a script where an address should be, for the member whose hotkey lies in `dir`.
async fn publish_script(devnet: &Devnet, dir: &Path) -> AccountKey {
    let hotkey = Hotkey::load(&dir.join("hotkey.json")).unwrap();
    let key = AccountKey(hotkey.public());
    let peer = peer_key(&dir.join("hostile")).or_else(|_| {
        std::fs::create_dir_all(dir.join("hostile"))?;
        peer_key(&dir.join("hostile"))
    });
    let peer = peer.unwrap();
    let address = SCRIPT.as_bytes().to_vec().try_into().unwrap();
    let endpoint = Endpoint { peer: peer.public(), addresses: vec![address].try_into().unwrap() };
    let signature = peer.sign(&serve_payload(&devnet.chain.genesis(), &key).0);
    let submitter = Submitter::new(std::sync::Arc::clone(&devnet.chain), coldkey_signer(hotkey));
    submitter.submit_finalized(&Call::serve(RUN, &endpoint, signature)).await.unwrap();
    assert!(onboard::find_member(&devnet.chain, RUN, key).await.unwrap().unwrap().endpoint.is_some());
    key
}

/// What a run's owner does and this reader does not own: the devnet's run is its admin's. Within an epoch's
/// last windows the chain refuses changes, so that each is tried until it is taken.
fn steer(shell: &mut Shell) {
    let until = |command: &str| format!("until {command} --coldkey admin.json --run 0; do sleep 1; done\n");
    let text = [
        // Keys belong into the reader's home, not into the checkout.
        format!("cd ~\nprintf %s {ADMIN} > admin.seed\n"),
        "iota-miner keys import --from seed --file admin.seed --out admin.json\n".into(),
        until("iota-run pause"),
        until("iota-run resume"),
        until("iota-run set epochs=19"),
        format!("iota-run status --run 0\niota-run evaluate --checkpoints {BOOK_FOLDER}/validator-0/data/checkpoint \\\n  --dataset {BOOK_FOLDER}/dataset\n"),
    ];
    let block = Block { chapter: "its-own".into(), line: 0, kind: Kind::Run, text: text.concat() };
    let said = shell.run(&block, SOON);
    for part in ["goes on", "epochs: 20 becomes 19", "has these parameters from", "held-out loss"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
}

/// Waits until the explorer has an answer under that path.
async fn wait_for(address: &str, path: &str, limit: Duration) {
    let started = Instant::now();
    while !matches!(http::get(address, path).await, Ok((200, _))) {
        assert!(started.elapsed() < limit, "{path}: nothing after {} s", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[test]
fn a_reader_gets_from_nothing_to_a_claimed_reward_and_audits_it() {
    iota_compute::init_runtime(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut devnet = Devnet::start(options(&place.path().join("net"))).await.unwrap();
        let reader = Reader {
            home: home.clone(),
            node: devnet.node_url.clone(),
            net: devnet.dir.clone(),
            explorer: format!("127.0.0.1:{}", free_port().unwrap()),
        };
        eprintln!("{:.0} s: the network is up", started.elapsed().as_secs_f64());
        std::thread::scope(|scope| {
            let miner = scope.spawn(|| {
                let mut terminal = reader.terminal();
                let said = reader.follow("run-a-miner.md", &mut terminal, PAID);
                seen(&terminal.pictures);
                eprintln!("{:.0} s: the reward is claimed", started.elapsed().as_secs_f64());
                said
            });
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(meanwhile(&reader, &devnet, &home));
            });
            let said = miner.join().expect("the miner's tutorial works");
            assert!(said.iter().any(|text| text.contains("paid ")), "{said:?}");
        });
        let dead = devnet.dead(&[]);
        assert!(dead.is_empty(), "a program of the network died: {dead:?}");
        devnet.stop();
        eprintln!("{:.0} s: done", started.elapsed().as_secs_f64());
    });
}

/// The live view said where the miner stood, and in the end what it had earned.
fn seen(pictures: &[String]) {
    let shows = |picture: &&String, parts: &[&str]| parts.iter().all(|part| picture.contains(part));
    let standing =
        ["IOTA miner  run 0  uid ", "blocks left; block ", "now: ", "samples in flight", "to claim for "];
    let all = || pictures.join("\n\n");
    assert!(pictures.iter().any(|picture| shows(&picture, &standing)), "{}", all());
    let worked = pictures.iter().filter(|picture| shows(picture, &["(of 2)", "paid, tokens"]));
    let paid = |picture: &&String| {
        let rows = picture.lines().filter_map(|line| {
            let mut words = line.trim_matches(['│', ' ']).split_whitespace();
            let (_epoch, _samples): (u32, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next()?.parse::<f64>().ok()
        });
        rows.fold(0.0, f64::max) > 0.0
    };
    let last = worked.clone().next_back();
    assert!(worked.clone().any(|picture| paid(&picture)), "no pay in the view:\n{}", all());
    eprintln!("--- the live view, as the terminal showed it\n{}", last.expect("one has pay; qed"));
}

/// While the miner waits for its pay: the explorer, a validator, many readers, a browser, an audit.
async fn meanwhile(reader: &Reader, devnet: &Devnet, home: &Path) {
    let mut shell = reader.terminal();
    let audit = of_chapter("audit.md");
    let (starts, runs): (Vec<_>, Vec<_>) =
        audit.iter().filter(|block| block.kind != Kind::Parse).partition(|block| block.kind == Kind::Start);
    starts.iter().for_each(|block| shell.start_aside(block));
    wait_for(&reader.explorer, "/api/v1/runs/0", SOON).await;
    let mut terminal = reader.terminal();
    reader.follow("run-a-validator.md", &mut terminal, SOON);
    reader.follow("operations.md", &mut reader.terminal(), SOON);
    reader.follow("start-a-run.md", &mut reader.terminal(), SOON);
    let hostile = publish_script(devnet, &home.join("my-validator")).await;
    load::many_readers(&reader.explorer).await;
    assert_eq!(wait_for_verdict(&reader.explorer).await, "pass");
    for block in runs {
        let said = shell.run(block, SOON);
        assert!(!said.contains("FAIL"), "{said}");
    }
    verify::refuses_what_is_not_right(&reader.explorer, &home.join("epoch-0.json")).await;
    kills::nothing_is_lost(&reader.explorer, &reader.node, home).await;
    steer(&mut shell);
    browser::look(&reader.explorer, &hostile).await;
    load::nothing_is_missing(&reader.explorer).await;
}

/// The verdict of epoch 0's audit once the epoch has been paid and its reports have been fetched.
async fn wait_for_verdict(address: &str) -> String {
    let started = Instant::now();
    loop {
        let audit = http::json(address, "/api/v1/runs/0/epochs/0/audit").await.unwrap();
        let verdict = audit["verdict"].as_str().unwrap().to_owned();
        if verdict == "pass" || started.elapsed() > PAID {
            if verdict != "pass" {
                eprintln!("{audit:#}");
            }
            return verdict;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
