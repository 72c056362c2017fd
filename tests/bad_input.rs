//! Bad input to the real programs: each refusal has an exit code, says in one line what is wrong
//! and what to do, and leaves what was there as it was.
//!
//! Needs the programs to be built (`scripts/build`); `scripts/test` does that first. Run by hand with
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` set to their folders.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use iota_chain::Chain;
use iota_compute::data::Dataset;
use iota_tests::process::{free_port, stop_all, Process};

#[path = "bad_input/rest.rs"]
mod rest;

/// A refusal takes a second; a busy machine may take many.
const PATIENCE: Duration = Duration::from_secs(90);
/// What a shell sets so that no file may grow past 64 KiB: writes fail as they do on a full disk.
/// Without the trap the system would end the program instead.
const SMALL_DISK: &str = "trap '' XFSZ && ulimit -f 64 &&";
/// Workers that need a hotkey and a node.
const WORKERS: [&str; 2] = ["iota-miner", "iota-validator"];

/// Path of a program, from the folder that `variable` names.
fn program(variable: &str, name: &str) -> PathBuf {
    let folder = std::env::var_os(variable);
    let folder = folder.unwrap_or_else(|| {
        panic!("{variable} is not set; run scripts/test, or scripts/build and set it to the folder of {name}")
    });
    let path = PathBuf::from(folder).join(name);
    assert!(path.is_file(), "{} is not built; run scripts/build", path.display());
    path
}

fn worker(name: &str) -> PathBuf {
    program("IOTA_BIN_WORK", name)
}

/// A process that is asked to stop, and then killed, when the test is over or fails.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        stop_all(std::slice::from_mut(&mut self.0));
    }
}

/// What a program left behind.
struct Outcome {
    code: Option<i32>,
    stderr: String,
}

/// A folder with a `tmp` in it, which the programs take for the system's temporary folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Names in one of our folders; none if it is not there.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Runs a program here to its end; `prefix` is shell text before it.
    #[track_caller]
    fn run(&self, prefix: &str, program: &Path, args: &[&str]) -> Outcome {
        let script =
            format!("cd \"$1\" && export TMPDIR=\"$1/tmp\" && shift && {prefix} exec \"$@\" 2>stderr.txt");
        let mut all =
            vec!["-c".to_owned(), script, "bash".to_owned(), self.text(""), program.display().to_string()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut process = Guard(Process::start("program", "/bin/bash".into(), all, self.0.path()).unwrap());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match process.0.exited() {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                None => {
                    panic!("{} {args:?} neither worked nor refused within {PATIENCE:?}", program.display())
                }
            }
        };
        let stderr = fs::read_to_string(self.path("stderr.txt")).unwrap_or_default();
        Outcome { code: status.code(), stderr }
    }

    /// Runs a program that must refuse with an error that holds all these words.
    #[track_caller]
    fn refused(&self, program: &Path, args: &[&str], words: &[&str]) {
        check(&self.run("", program, args), args, words);
    }

    #[track_caller]
    fn works(&self, program: &Path, args: &[&str]) {
        let Outcome { code, stderr } = self.run("", program, args);
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
    }

    /// A hotkey file of its own.
    #[track_caller]
    fn hotkey(&self, name: &str) -> String {
        self.works(&worker("iota-miner"), &["keys", "new", "--out", name]);
        self.text(name)
    }
}

#[track_caller]
fn check(outcome: &Outcome, args: &[&str], words: &[&str]) {
    let Outcome { code, stderr } = outcome;
    assert!(
        code.is_some_and(|code| code != 0),
        "{args:?}: a refusal ends with a code other than 0, got {code:?}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{args:?}: the last line says what is wrong, got {stderr:?}");
    for word in words {
        assert!(last.contains(word), "{args:?}: expected {word:?} in {last:?}");
    }
}

/// Runs `iota-devnet` with options that it must refuse before it starts anything.
#[track_caller]
fn devnet_refuses(place: &Place, options: &[&str], words: &[&str]) {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let mut args = options.to_vec();
    if !options.contains(&"--data") {
        args.extend(["--data", data]);
    }
    place.refused(&worker("iota-devnet"), &args, words);
    assert_eq!(place.names("tmp"), [""; 0], "{args:?}: a refused devnet leaves no folder behind");
}

#[test]
fn devnet_refuses_a_model_that_it_cannot_make() {
    let place = Place::new();
    devnet_refuses(&place, &["--preset", "huge"], &["\"huge\"", "nano", "tiny", "1.5b", "100b"]);
    devnet_refuses(&place, &["--stages", "7"], &["7 stages", "6 layers", "use 1 to 6"]);
    devnet_refuses(&place, &["--epochs", "0"], &["--epochs 0", "at least 1"]);
    devnet_refuses(&place, &["--authorities", "9"], &["--authorities 9", "1 to 4"]);
}

#[test]
fn devnet_refuses_text_that_it_cannot_read() {
    let place = Place::new();
    let latin = place.file("latin.txt", b"caf\xe9 au lait");
    let small = place.file("small.txt", "too short");
    let check = |data: &str, words: &[&str]| {
        devnet_refuses(&place, &["--data", data, "--dir", "kept"], &[&[data], words].concat());
        assert_eq!(place.names("kept"), [""; 0], "the folder can be used again");
    };
    check("absent.txt", &["cannot be read", "No such file"]);
    check(&place.text("tmp"), &["Is a directory"]);
    check(&latin, &["not UTF-8 at byte 3", "convert"]);
    check(&small, &["has 9 bytes", "65536", "use a longer text"]);
    assert_eq!(fs::read(&latin).unwrap(), b"caf\xe9 au lait");
    assert_eq!(fs::read(&small).unwrap(), b"too short");
}

#[test]
fn devnet_refuses_a_port_in_use() {
    let place = Place::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    devnet_refuses(&place, &["--rpc-port", &port], &["--rpc-port", &port, "in use"]);
}

#[test]
fn devnet_refuses_a_folder_that_holds_something() {
    let place = Place::new();
    fs::create_dir(place.path("full")).unwrap();
    let thesis = place.file("full/thesis.txt", "years of work");
    devnet_refuses(&place, &["--dir", "full"], &["--dir full", "not empty"]);
    assert_eq!(
        (place.names("full").len(), fs::read_to_string(thesis).unwrap().as_str()),
        (1, "years of work")
    );
}

#[test]
fn workers_refuse_a_hotkey_that_others_can_read() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let before = fs::read(&hotkey).unwrap();
    fs::set_permissions(&hotkey, fs::Permissions::from_mode(0o644)).unwrap();
    for name in WORKERS {
        place.refused(&worker(name), &["run", "--hotkey", &hotkey], &[hotkey.as_str(), "644", "chmod 600"]);
    }
    assert_eq!(fs::read(&hotkey).unwrap(), before);
}

#[test]
fn workers_name_the_hotkey_that_is_missing() {
    let place = Place::new();
    for name in WORKERS {
        place.refused(&worker(name), &["run", "--hotkey", "gone.json"], &["gone.json", "keys new"]);
    }
    place.refused(&worker("iota-miner"), &["status", "--hotkey", "gone.json"], &["gone.json", "keys new"]);
    assert!(!place.path("gone.json").exists(), "no key is made up");
}

#[test]
fn workers_name_the_node_that_does_not_answer() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let url = format!("ws://127.0.0.1:{}", free_port().unwrap());
    for name in WORKERS {
        let args = ["run", "--hotkey", &hotkey, "--node", &url, "--data-dir", "data"];
        place.refused(&worker(name), &args, &[url.as_str(), "is it running"]);
        assert_eq!(place.names("data"), [""; 0], "nothing is written for a network that is not there");
    }
}

#[test]
fn workers_name_what_is_wrong_in_the_configuration() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let typing_error = place.file("typo.toml", "nodee = \"ws://127.0.0.1:9944\"\n");
    let broken = place.file("broken.toml", "node = \n");
    let kind = place.file("kind.toml", "run = \"first\"\n");
    for name in WORKERS {
        place.refused(&worker(name), &["--config", &typing_error, "run"], &["typo.toml", "nodee", "node"]);
        let syntax = place.run("", &worker(name), &["--config", &broken, "run"]);
        assert!(
            syntax.code == Some(1)
                && syntax.stderr.contains("broken.toml")
                && syntax.stderr.contains("line 1"),
            "{}",
            syntax.stderr
        );
        place.refused(&worker(name), &["--config", &kind, "run"], &["kind.toml", "run", "u32"]);
        place.refused(&worker(name), &["--config", "absent.toml", "run"], &["absent.toml", "No such file"]);
        place.refused(
            &worker(name),
            &["run", "--hotkey", &hotkey, "--genesis", "zz"],
            &["genesis", "64 hex digits"],
        );
    }
}

#[test]
fn json_logs_are_json_to_the_last_line_and_rust_log_decides_what_is_in_them() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let away = "ws://127.0.0.1:1";
    let run = ["run", "--json-log", "--hotkey", &hotkey, "--node", away];
    let data = place.text("explorer.sqlite");
    for (name, args) in [
        ("iota-miner", &run[..]),
        ("iota-validator", &run[..]),
        ("iota-run", &["status", "--json-log", "--node", away][..]),
        ("iota-explorer", &["run", "--json-log", "--node", away, "--data", &data][..]),
    ] {
        let Outcome { code, stderr } = place.run("export RUST_LOG=debug;", &worker(name), args);
        assert_eq!(code, Some(1), "{name}: {stderr}");
        let lines = json_lines(name, &stderr);
        assert!(lines.len() > 1, "{name} logs nothing at the level debug");
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{name}: {last}");
        assert!(last["error"].as_str().unwrap().contains(away), "{name}: {last}");
        let quiet = place.run("export RUST_LOG=off;", &worker(name), args);
        assert_eq!(quiet.stderr.lines().count(), 1, "{name}: {}", quiet.stderr);
    }
    let node = program("IOTA_BIN_CHAIN", "iota-node");
    let Outcome { code, stderr } = place.run("", &node, &["--json-log", "--chain", "nowhere.json"]);
    assert_eq!(code, Some(1), "iota-node: {stderr}");
    let [last] = &json_lines("iota-node", &stderr)[..] else { panic!("iota-node: {stderr}") };
    assert_eq!(last["level"], "ERROR", "iota-node: {last}");
    assert!(last["error"].as_str().unwrap().contains("nowhere.json"), "iota-node: {last}");
}

#[test]
fn keys_are_never_overwritten() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let before = fs::read(&hotkey).unwrap();
    for name in WORKERS {
        place.refused(
            &worker(name),
            &["keys", "new", "--out", &hotkey],
            &[hotkey.as_str(), "exists", "never overwritten"],
        );
    }
    assert_eq!(fs::read(&hotkey).unwrap(), before);
    assert_eq!(fs::metadata(&hotkey).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A development node of its own, and its address.
fn dev_node(place: &Place) -> (Guard, String) {
    let (rpc, p2p) = (free_port().unwrap(), free_port().unwrap());
    let base = place.text("node");
    let listen = format!("/ip4/127.0.0.1/tcp/{p2p}");
    let rpc_port = rpc.to_string();
    let args = [
        "--dev",
        "--base-path",
        &base,
        "--rpc-port",
        &rpc_port,
        "--listen-addr",
        &listen,
        "--no-mdns",
        "--no-prometheus",
        "--no-telemetry",
        "--json-log",
        "-laura=debug",
    ];
    let args = args.map(String::from).to_vec();
    let node = Process::start("node", program("IOTA_BIN_CHAIN", "iota-node"), args, place.0.path()).unwrap();
    (Guard(node), format!("ws://127.0.0.1:{rpc}"))
}

/// Genesis of a node, once it answers.
fn genesis(node: &mut Guard, url: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match runtime.block_on(Chain::connect(url, None)) {
            Ok(chain) => return chain.genesis().to_string(),
            Err(_) if Instant::now() < deadline && node.0.exited().is_none() => {
                std::thread::sleep(Duration::from_millis(300))
            }
            Err(error) => panic!("{error}; the node's last lines:\n{}", node.0.tail(15)),
        }
    }
}

#[test]
fn workers_refuse_a_node_of_another_chain() {
    let place = Place::new();
    let hotkey = place.hotkey("hotkey.json");
    let (mut node, url) = dev_node(&place);
    let (got, wrong) = (genesis(&mut node, &url), format!("0x{}", "1f".repeat(32)));
    for name in WORKERS {
        let args =
            |genesis| ["run", "--hotkey", &hotkey, "--node", &url, "--data-dir", name, "--genesis", genesis];
        place.refused(
            &worker(name),
            &args(&wrong),
            &[url.as_str(), "another chain", &format!("expected genesis {wrong}"), &format!("got {got}")],
        );
        assert_eq!(place.names(name), [""; 0], "nothing is written for another chain");
        // The right genesis gets further: the development chain carries no such run.
        let further = place.run("", &worker(name), &[&args(&got)[..], &["--run", "77"]].concat());
        assert!(!further.stderr.contains("another chain"), "{}", further.stderr);
        check(&further, &args(&got), &["run 77 does not exist"]);
    }
    // Who steers a run is told as well.
    let steer = |genesis: &str| {
        place.run(
            &format!("export IOTA_MINER_GENESIS={genesis};"),
            &worker("iota-run"),
            &["status", "--node", &url],
        )
    };
    check(&steer(&wrong), &["iota-run status"], &["another chain", &format!("expected genesis {wrong}")]);
    let further = steer(&got);
    assert!(!further.stderr.contains("another chain"), "{}", further.stderr);
    a_network_is_joined_only_if_its_nodes_run_its_chain(&place, &url, (&got, &wrong));
    a_connection_goes_on_at_the_next_node(&url);
    rest::a_miner_rests_while_it_is_paused_and_refuses_a_stage_that_does_not_fit(&place, &url);
    a_node_that_is_asked_to_end_has_logged_nothing_but_json(node);
}

/// Of a node that was started with `--json-log -laura=debug`.
fn a_node_that_is_asked_to_end_has_logged_nothing_but_json(mut node: Guard) {
    stop_all(std::slice::from_mut(&mut node.0));
    assert_eq!(node.0.exited().and_then(|status| status.code()), Some(0), "{}", node.0.tail(5));
    let lines = json_lines("iota-node", &fs::read_to_string(node.0.log()).unwrap());
    for line in &lines {
        let missing =
            ["timestamp", "level", "target", "message"].iter().find(|name| !line[**name].is_string());
        assert_eq!(missing, None, "{line}");
    }
    let said = |target: &str, level: &str| {
        lines.iter().any(|line| line["target"] == target && line["level"] == level)
    };
    assert!(said("aura", "DEBUG"), "what -l asks for is logged");
    assert!(said("substrate", "INFO"), "what is logged anyway still is");
    let chatty = lines.iter().find(|line| line["target"] == "basic-authorship" && line["level"] == "INFO");
    assert_eq!(chatty, None, "what is quiet without the flag is quiet with it");
}

/// Each line of a log as the object that it is.
#[track_caller]
fn json_lines(name: &str, text: &str) -> Vec<serde_json::Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {line:?}: {error}"));
    text.lines().map(read).collect()
}

/// On the node of the test above.
fn a_network_is_joined_only_if_its_nodes_run_its_chain(place: &Place, url: &str, (got, wrong): (&str, &str)) {
    let (miner, run) = (worker("iota-miner"), worker("iota-run"));
    place.works(&run, &["network", "--node", url, "--name", "small", "--out", "mine.toml"]);
    let written = fs::read_to_string(place.path("mine.toml")).unwrap();
    assert!(written.contains(got) && written.contains("/p2p/"), "{written}");
    // The same with a node that is away and one that is there.
    let both = written.replace(&format!("\"{url}\""), &format!("\"ws://127.0.0.1:1\", \"{url}\""));
    place.file("both.toml", &both);
    place.works(&miner, &["join", "--network", "both.toml", "--run", "5"]);
    let config = fs::read_to_string(place.path("miner.toml")).unwrap();
    for line in [format!("node = \"{url}\""), format!("genesis = \"{got}\""), "run = 5".into()] {
        assert!(config.lines().any(|own| own == line), "{line} is not in\n{config}");
    }
    place.refused(&miner, &["join", "--network", "both.toml"], &["miner.toml", "not overwritten"]);
    place.file("other.toml", written.replace(got, wrong));
    place.refused(
        &miner,
        &["join", "--network", "other.toml", "--out", "never.toml"],
        &[url, "another chain", &format!("expected genesis {wrong}"), &format!("got {got}")],
    );
    assert!(!place.path("never.toml").exists());
}

/// A way to a node that can be shut.
struct Door {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    async fn to(url: &str) -> Self {
        let there = url.trim_start_matches("ws://").to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            // Dropped with the task, and all connections with it.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let there = there.clone();
                open.spawn(async move {
                    let mut to = tokio::net::TcpStream::connect(there).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Self { url, task }
    }
}

fn a_connection_goes_on_at_the_next_node(url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (first, second) = (Door::to(url).await, Door::to(url).await);
        let chain = Chain::connect(&format!("{},{}", first.url, second.url), None).await.unwrap();
        let mut heads = chain.follow();
        heads.changed().await.unwrap();
        assert_eq!(chain.url(), first.url);
        first.task.abort();
        let deadline = Instant::now() + PATIENCE;
        while chain.url() != second.url || chain.at_finalized().await.is_err() {
            assert!(Instant::now() < deadline, "still at {}", chain.url());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let seen = heads.borrow_and_update().map(|head| head.number).unwrap();
        while heads.borrow().map(|head| head.number).unwrap() <= seen {
            let newer = tokio::time::timeout(PATIENCE, heads.changed()).await;
            newer.expect("blocks are followed at the next node").unwrap();
        }
    });
}

#[test]
fn a_full_disk_leaves_no_half_written_data_set() {
    let place = Place::new();
    // One shard of 70,000 bytes, which is past the limit.
    let text = place.file("text.txt", "all the world is a stage, ".repeat(2_700).get(..70_000).unwrap());
    let other = place.file("other.txt", "and all the men and women".repeat(2_800));
    let miner = worker("iota-miner");
    let args = |text| ["data", "prepare", "--text", text, "--out", "dataset"];
    check(&place.run(SMALL_DISK, &miner, &args(&text)), &args(&text), &["shard-00000.bin", "File too large"]);
    assert_eq!(place.names("dataset"), [""; 0], "neither a manifest nor a draft is left");

    place.works(&miner, &args(&text));
    let root = || Dataset::open(&place.path("dataset"), None).unwrap().data_params().manifest_root;
    let before = root();
    check(&place.run(SMALL_DISK, &miner, &args(&other)), &args(&other), &["File too large"]);
    assert_eq!(root(), before, "the data set that was there is whole");
}

#[test]
fn a_data_set_needs_windows_and_a_text() {
    let place = Place::new();
    let text = place.file("text.txt", "x".repeat(70_000));
    let miner = worker("iota-miner");
    let windows = place.run("", &miner, &["data", "prepare", "--text", &text, "--seq-len", "0"]);
    assert!(windows.code == Some(2) && windows.stderr.contains("--seq-len"), "{}", windows.stderr);
    place.refused(&miner, &["data", "prepare", "--text", "absent.txt"], &["absent.txt", "No such file"]);
    place.refused(&miner, &["generate", "--checkpoints", "tmp"], &["tmp/run.json", "checkpoint"]);
    assert!(!place.path("dataset").exists());
}
