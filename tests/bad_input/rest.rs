//! A real miner that its owner pauses from another terminal, lets go on, and gives too little memory. It works for a
//! run of a development node that never starts, so that no network is needed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use iota_tests::process::{free_port, Process};

use super::{check, worker, Guard, Place, PATIENCE};

/// The seed of Alice, whom the development chain endows; known to everybody.
const ALICE: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";

/// On the node of another test.
pub fn a_miner_rests_while_it_is_paused_and_refuses_a_stage_that_does_not_fit(place: &Place, url: &str) {
    let miner = worker("iota-miner");
    place.file("seed", ALICE);
    place.file("text", "All the world's a stage.\n".repeat(4_000));
    place.works(&miner, &["keys", "import", "--from", "seed", "--file", "seed", "--out", "alice.json"]);
    place.works(&miner, &["data", "prepare", "--text", "text", "--seq-len", "32"]);
    let run = ["--preset", "nano", "--stages", "1", "--epochs", "2", "--node", url];
    place.works(&worker("iota-run"), &[&["create", "--coldkey", "alice.json"][..], &run].concat());
    place.works(&miner, &["register", "--coldkey", "alice.json", "--node", url]);

    let small = ["run", "--node", url, "--listen", "/ip4/127.0.0.1/tcp/0", "--max-memory", "10MB"];
    check(&place.run("", &miner, &small), &small, &["stage 0 needs", "10000000"]);

    let port = free_port().unwrap();
    let _running = start(place, url, port);
    wait(port, "waiting: the run begins when");
    place.works(&miner, &["pause", "--data-dir", "miner-data"]);
    wait(port, "paused: `iota-miner resume`");
    place.works(&miner, &["resume", "--data-dir", "miner-data"]);
    wait(port, "waiting: the run begins when");
}

fn start(place: &Place, url: &str, port: u16) -> Guard {
    let (hotkey, data) = (place.text("hotkey.json"), place.text("miner-data"));
    let (dataset, port) = (place.text("dataset"), port.to_string());
    let args = [
        "run",
        "--no-view",
        "--node",
        url,
        "--hotkey",
        &hotkey,
        "--data-dir",
        &data,
        "--dataset",
        &dataset,
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--max-upload",
        "1Mbit",
        "--max-memory",
        "1GB",
        "--metrics-port",
        &port,
    ];
    let args = args.map(String::from).to_vec();
    Guard(Process::start("miner", worker("iota-miner"), args, &place.path("")).unwrap())
}

/// Waits until the miner says that it does this.
fn wait(port: u16, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let doing = doing(port);
        if doing.as_ref().is_ok_and(|doing| doing.starts_with(expected)) {
            return;
        }
        assert!(Instant::now() < deadline, "expected {expected:?}, got {doing:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// What `/status` says that the miner does.
fn doing(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status: serde_json::Value = serde_json::from_str(body).map_err(std::io::Error::other)?;
    Ok(status["facts"]["doing"].as_str().unwrap_or_default().to_owned())
}
