//! The tutorials, run as a reader would on a network of real processes: from nothing to a claimed
//! reward, a bonded validator, an audited epoch. The explorer of that network is looked at in a browser
//! and read by many at once meanwhile.
//!
//! What differs from the reader's network: it trains the smallest model, has fewer miners, and listens
//! on free ports, which the programs are told by their environment.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use iota_chain::{Call, Submitter};
use iota_protocol::hash::serve_payload;
use iota_protocol::ids::AccountKey;
use iota_protocol::work::Endpoint;
use iota_service::keys::Hotkey;
use iota_tests::network::{Devnet, RUN};
use iota_tests::options::Options;
use iota_worker::identity::{coldkey_signer, peer_key};
use iota_worker::onboard;

use crate::blocks::{of_chapter, root, Block, Kind};
use crate::commands::commands;
use crate::reader::{Reader, BOOK_BLOCK, BOOK_FOLDER};
use crate::shell::Shell;
use crate::{browser, http, kills, load, upload, verify};

/// `Train` of each epoch on the reference machine: enough to be scored in.
const TRAIN_BLOCKS: u32 = 20;
/// For a block that does not wait for the chain's clock.
const SOON: Duration = Duration::from_secs(60);
/// A newcomer of the first epoch is paid for the second when the third closes, and the first part of
/// that vests in the fourth.
const PAID: Duration = Duration::from_secs(900);
/// The seed of the development key that every devnet's admin has; known to everybody.
const ADMIN: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
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

/// Publishes a script where an address should be, for the member with that hotkey.
async fn publish_script(devnet: &Devnet, dir: &Path, hotkey: &str) -> AccountKey {
    let hotkey = Hotkey::load(&dir.join(hotkey)).unwrap();
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
        let reader = Reader::new(&home, &devnet);
        eprintln!("{:.0} s: the network is up", started.elapsed().as_secs_f64());
        std::thread::scope(|scope| {
            let miner = scope.spawn(|| {
                let mut terminal = reader.terminal();
                let said = reader.follow("run-a-miner.md", &mut terminal, PAID);
                seen(&terminal.pictures);
                eprintln!("{:.0} s: the reward is claimed", started.elapsed().as_secs_f64());
                terminal.quit();
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
        assert_eq!(devnet.stop(), Vec::<String>::new(), "each program leaves with 0 after SIGTERM");
        eprintln!("{:.0} s: done", started.elapsed().as_secs_f64());
    });
}

/// The live view said where the miner stood, and in the end what it had earned.
fn seen(pictures: &[String]) {
    let shows = |picture: &&String, parts: &[&str]| parts.iter().all(|part| picture.contains(part));
    let standing = [
        "IOTA miner  run 0  uid ",
        " blocks left, ",
        "; block ",
        "now: ",
        "samples in flight",
        "to claim for ",
    ];
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
    // How long passes take, what came and went, and what a validator's report says of an epoch.
    let line =
        |picture: &String, name: &str| picture.lines().find(|line| line.contains(name)).map(str::to_owned);
    let timed = |picture: &String| {
        let line = line(picture, "forward, backward").or_else(|| line(picture, "a backward pass"));
        line.is_some_and(|line| line.contains(" ms"))
    };
    assert!(worked.clone().any(timed), "no times of passes in the view:\n{}", all());
    let still =
        |picture: &String| line(picture, "sent, received").is_none_or(|line| line.contains(" 0.0, 0.0 MB"));
    assert!(!worked.clone().all(still), "no traffic in the view:\n{}", all());
    let judged = |picture: &String| picture.contains(" nats)") || picture.contains("(the stage's median)");
    assert!(worked.clone().any(judged), "no judgement in the view:\n{}", all());
    let last = worked.clone().next_back();
    assert!(worked.clone().any(|picture| paid(&picture)), "no pay in the view:\n{}", all());
    eprintln!("--- the live view, as the terminal showed it\n{}", last.expect("one has pay; qed"));
}

/// While the miner waits for its pay: the explorer, a validator, many readers, a browser, an audit.
async fn meanwhile(reader: &Reader, devnet: &Devnet, home: &Path) {
    let mut shell = reader.terminal();
    reader.begin("audit.md", &mut shell);
    wait_for(&reader.explorer, "/api/v1/runs/0", SOON).await;
    let mut validator = reader.terminal();
    reader.follow("run-a-validator.md", &mut validator, SOON);
    reader.follow("operations.md", &mut reader.terminal(), SOON);
    let mut owner = reader.terminal();
    reader.follow("start-a-run.md", &mut owner, SOON);
    let hostile = hostile(devnet, &home.join("my-validator"), &mut validator).await;
    load::many_readers(&reader.explorer).await;
    assert_eq!(wait_for_verdict(&reader.explorer).await, "pass");
    let hostile_peer = home.join("my-validator/hostile");
    upload::stays_under_the_rate(devnet, home, &hostile_peer, &reader.miner_metrics).await;
    wait_for_report(&home.join("my-validator/validator-data")).await;
    shell.replace(BOOK_BLOCK, &paid_in(&reader.explorer).await);
    let said = reader.later("audit.md", &mut shell, SOON);
    assert!(said.iter().all(|text| !text.contains("FAIL")), "{said:?}");
    keep(&home.join("epoch-0.json"));
    verify::refuses_what_is_not_right(&reader.explorer, &home.join("epoch-0.json")).await;
    kills::nothing_is_lost(&reader.explorer, reader.node(), home).await;
    reader.later("run-a-validator.md", &mut validator, SOON);
    reader.later("start-a-run.md", &mut owner, SOON);
    reader.later("operations.md", &mut reader.terminal(), SOON);
    steer(&mut owner);
    browser::look(&reader.explorer, &hostile).await;
    load::nothing_is_missing(&reader.explorer).await;
    validator.stop();
    shell.stop();
}

/// A member of the reader's coldkey that publishes a script.
async fn hostile(devnet: &Devnet, folder: &Path, shell: &mut Shell) -> AccountKey {
    let text = "iota-validator keys new --out hostile.json\n\
                iota-validator register --coldkey coldkey.json --hotkey hostile.json\n";
    shell.run(&Block { chapter: "its-own".into(), line: 0, kind: Kind::Run, text: text.into() }, SOON);
    publish_script(devnet, folder, "hostile.json").await
}

/// Waits until the reader's validator has reported on an epoch, and has weights to write text from.
async fn wait_for_report(folder: &Path) {
    let started = Instant::now();
    let reported = || {
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.into_string().ok()).any(|name| name.starts_with("report-"))
    };
    while !reported() || !folder.join("checkpoint/run.json").exists() {
        assert!(started.elapsed() < PAID, "the reader's validator reported nothing in {}", folder.display());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Hash of the block that the payments of epoch 0 were proven in.
async fn paid_in(explorer: &str) -> String {
    let bundle = http::json(explorer, "/api/v1/runs/0/epochs/0/bundle").await.unwrap();
    bundle["proof"]["hash"].as_str().expect("the bundle has a proof").to_owned()
}

/// Keeps an audited bundle beside the pictures, for whoever tries a release (`scripts/release-check`).
fn keep(bundle: &Path) {
    if let Some(folder) = std::env::var_os("IOTA_SCREENSHOTS") {
        std::fs::copy(bundle, Path::new(&folder).join("epoch-0.json")).unwrap();
    }
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
