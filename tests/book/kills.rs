//! A second explorer of the running network, killed without warning while it catches up and while it follows. In the
//! end it knows what the first one knows. Then it is asked to stop, and does.

use std::path::Path;
use std::time::{Duration, Instant};

use iota_tests::process::{free_port, Process};
use serde_json::Value;

use crate::commands::program;
use crate::{http, load};

/// For a start, or for a few hundred blocks; a busy machine indexes some dozens in a second.
const PATIENCE: Duration = Duration::from_secs(90);
/// For an orderly end.
const END: Duration = Duration::from_secs(5);
/// Kills while it catches up, at ever more blocks.
const KILLS: u64 = 3;

struct Killed {
    process: Process,
    address: String,
}

impl Killed {
    fn start(node: &str, dir: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let config = dir.join("killed.toml");
        // The comparison below asks for every block.
        std::fs::write(&config, "requests_per_second = 1000\n").unwrap();
        let data = dir.join("killed.sqlite").display().to_string();
        let config = config.display().to_string();
        let args =
            ["--json-log", "--config", &config, "run", "--node", node, "--data", &data, "--listen", &address];
        let args = args.map(str::to_owned).to_vec();
        let process = Process::start("killed", program("iota-explorer"), args, dir).unwrap();
        Self { process, address }
    }

    /// The newest indexed block; `None` before there is an answer.
    async fn newest(&self) -> Option<u64> {
        http::json(&self.address, "/api/v1/status").await.ok()?["newest"]["number"].as_u64()
    }

    /// Waits until a block is indexed; the newest one then.
    async fn reaches(&mut self, block: u64) -> u64 {
        let started = Instant::now();
        loop {
            if let Some(newest) = self.newest().await.filter(|newest| *newest >= block) {
                return newest;
            }
            assert!(self.process.exited().is_none(), "it ended:\n{}", self.process.tail(20));
            assert!(started.elapsed() < PATIENCE, "not at block {block}:\n{}", self.process.tail(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.restart().unwrap();
    }
}

async fn newest(address: &str) -> u64 {
    let status = http::json(address, "/api/v1/status").await.unwrap();
    status["newest"]["number"].as_u64().unwrap()
}

/// `address` is an explorer that nobody kills.
pub async fn nothing_is_lost(address: &str, node: &str, dir: &Path) {
    let mut killed = Killed::start(node, dir);
    let whole = newest(address).await;
    let mut seen = Vec::new();
    for turn in 1..=KILLS {
        seen.push(killed.reaches(whole * turn / (KILLS + 2)).await);
        killed.kill_and_restart();
    }
    let caught_up = seen.iter().filter(|block| **block >= whole).count();
    let followed = killed.reaches(whole).await;
    killed.reaches(followed + 2).await;
    killed.kill_and_restart();
    killed.reaches(followed + 4).await;
    eprintln!("killed at the blocks {seen:?} of {whole}, and at {} while it followed", followed + 2);
    assert!(caught_up < seen.len(), "it was never killed while it caught up: {seen:?} of {whole}");
    load::nothing_is_missing(&killed.address).await;
    for number in 0..=followed {
        let path = format!("/api/v1/blocks/{number}");
        assert_eq!(
            http::json(&killed.address, &path).await,
            http::json(address, &path).await,
            "block {number}"
        );
    }
    passes(&killed.address).await;
    ends_in_order(killed);
}

/// Reports and votes are fetched anew by whoever was killed while it fetched them.
async fn passes(address: &str) {
    let started = Instant::now();
    loop {
        let audit = http::json(address, "/api/v1/runs/0/epochs/0/audit").await.unwrap();
        if audit["verdict"] == "pass" {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{audit:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn ends_in_order(mut killed: Killed) {
    let asked = Instant::now();
    killed.process.ask_to_stop();
    let status = loop {
        if let Some(status) = killed.process.exited() {
            break status;
        }
        assert!(asked.elapsed() < END, "it goes on {END:?} after SIGTERM:\n{}", killed.process.tail(20));
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0), "{}", killed.process.tail(20));
    let log = std::fs::read_to_string(killed.process.log()).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}")))
        .collect();
    let said = lines.iter().rev().find(|line| line["message"] == "stopping");
    let said = said.unwrap_or_else(|| panic!("it does not say why it ends:\n{}", killed.process.tail(20)));
    eprintln!("SIGTERM ended it after {:.1} s: {said}", asked.elapsed().as_secs_f64());
}
