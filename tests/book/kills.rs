//! A second explorer of the running network, killed without warning while it catches up and while it follows. In the
//! end it knows what the first one knows. Then it is asked to stop, and does.

use std::path::Path;
use std::time::{Duration, Instant};

use iota_explorer::store::Store;
use iota_protocol::ids::{parse_hex32, Hash};
use iota_tests::explorer::Explorer;
use serde_json::Value;

use crate::commands::program;
use crate::{http, load};

/// For a start, or for a few hundred blocks; a busy machine indexes some dozens in a second.
const PATIENCE: Duration = Duration::from_secs(90);
/// For an orderly end.
const END: Duration = Duration::from_secs(5);
/// Between two looks into its database.
const GLANCE: Duration = Duration::from_millis(2);
/// Kills while it catches up, at ever more blocks.
const KILLS: u64 = 3;

/// Waits until a block is in the database, which is looked at beside the program: a few hundred blocks take a second.
async fn holds(killed: &mut Explorer, genesis: Hash, block: u32) -> u32 {
    let started = Instant::now();
    let reader = loop {
        assert!(started.elapsed() < PATIENCE, "no database:\n{}", killed.process.tail(20));
        match killed
            .data
            .exists()
            .then(|| Store::open(&killed.data, genesis, 0).and_then(|store| store.reader()))
        {
            Some(Ok(reader)) => break reader,
            _ => tokio::time::sleep(GLANCE).await,
        }
    };
    loop {
        let newest = reader.newest().unwrap().map_or(0, |newest| newest.number);
        if newest >= block {
            return newest;
        }
        assert!(started.elapsed() < PATIENCE, "not at block {block}:\n{}", killed.process.tail(20));
        tokio::time::sleep(GLANCE).await;
    }
}

/// `address` is an explorer that nobody kills.
pub async fn nothing_is_lost(address: &str, node: &str, home: &Path) {
    let dir = home.join("killed");
    std::fs::create_dir(&dir).unwrap();
    let mut killed = Explorer::start(program("iota-explorer"), node, &dir).unwrap();
    let status = http::json(address, "/api/v1/status").await.unwrap();
    let genesis = Hash(parse_hex32(status["genesis"].as_str().unwrap()).unwrap());
    let whole = status["newest"]["number"].as_u64().unwrap();
    let mut seen = Vec::new();
    for turn in 1..=KILLS {
        let target = u32::try_from(whole * turn / (KILLS + 2)).unwrap();
        seen.push(u64::from(holds(&mut killed, genesis, target).await));
        killed.kill_and_restart().unwrap();
    }
    let caught_up = seen.iter().filter(|block| **block >= whole).count();
    let followed = killed.reaches(whole, PATIENCE).await.unwrap();
    killed.reaches(followed + 2, PATIENCE).await.unwrap();
    killed.kill_and_restart().unwrap();
    killed.reaches(followed + 4, PATIENCE).await.unwrap();
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
    // Votes and reports are fetched anew by whoever was killed while it fetched them.
    let audit = killed.passes(0, PATIENCE).await.unwrap();
    assert_eq!(audit["verdict"], "pass", "{audit:#}");
    ends_in_order(killed);
}

fn ends_in_order(mut killed: Explorer) {
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
