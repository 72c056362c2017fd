//! Two hundred readers of the explorer at once, and whether its index missed anything meanwhile.

use std::time::{Duration, Instant};

use crate::http;

/// Readers at once.
const READERS: usize = 200;
/// How long they read.
const LASTING: Duration = Duration::from_secs(12);
/// A reader looks at a page before it asks for the next.
const READING: Duration = Duration::from_secs(2);
/// Half a minute on a busy machine is a page that nobody waits for.
const SLOWEST: Duration = Duration::from_secs(20);
/// Blocks by which the index may trail the chain's finalized head under load.
const LAG: u64 = 5;
/// What they read.
const PATHS: [&str; 8] = [
    "/",
    "/run/0",
    "/run/0/members",
    "/run/0/epoch/0",
    "/run/0/audit",
    "/api/v1/status",
    "/api/v1/runs/0",
    "/api/v1/runs/0/members",
];

async fn reader(address: String, number: usize, until: Instant) -> Vec<Duration> {
    let mut taken = Vec::new();
    // Not all at the same instant: people are not a drum.
    tokio::time::sleep(READING * u32::try_from(number).unwrap() / u32::try_from(READERS).unwrap()).await;
    for turn in number.. {
        if Instant::now() >= until {
            break;
        }
        let path = PATHS[turn % PATHS.len()];
        let started = Instant::now();
        let (status, body) = http::get(&address, path).await.unwrap();
        taken.push(started.elapsed());
        assert_eq!(status, 200, "{path}: {body}");
        tokio::time::sleep(READING).await;
    }
    taken
}

async fn newest(address: &str) -> u64 {
    let status = http::json(address, "/api/v1/status").await.unwrap();
    status["newest"]["number"].as_u64().unwrap()
}

/// Reads with many readers; prints what each had to wait.
pub async fn many_readers(address: &str) {
    let (before, started) = (newest(address).await, Instant::now());
    let tasks: Vec<_> = (0..READERS)
        .map(|number| tokio::spawn(reader(address.to_owned(), number, started + LASTING)))
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let seconds = started.elapsed().as_secs();
    taken.sort_unstable();
    let at = |part: usize| taken[(taken.len() - 1) * part / 1_000].as_secs_f64() * 1e3;
    eprintln!(
        "{READERS} readers, {} answers in {seconds} s: half within {:.0} ms, 95 % {:.0} ms, 99 % {:.0} ms, all {:.0} ms",
        taken.len(),
        at(500),
        at(950),
        at(990),
        at(1_000)
    );
    assert!(taken.len() >= READERS, "each reader got at least one answer");
    assert!(taken.last() < Some(&SLOWEST), "somebody waited for {:?}", taken.last());
    let grown = newest(address).await - before;
    assert!(grown + LAG >= seconds, "the index grew by {grown} blocks in {seconds} s of one block each");
}

/// Every block from genesis on is in the index with its state. Tells which came later than the slot after
/// the one before, which a machine that does other things beside may cause.
pub async fn nothing_is_missing(address: &str) {
    let status = http::json(address, "/api/v1/status").await.unwrap();
    let newest = status["newest"]["number"].as_u64().unwrap();
    assert_eq!(status["blocks"], status["blocks_with_state"], "the state of every block was read");
    assert!(status["blocks"].as_u64().unwrap() > newest, "blocks 0 to {newest}: {status}");
    let (mut late, mut before) = (Vec::new(), None);
    for number in 1..=newest {
        let block = http::json(address, &format!("/api/v1/blocks/{number}")).await.unwrap();
        // An author may be late within its slot of a second.
        let slot = block["block"]["timestamp_ms"].as_i64().unwrap().div_euclid(1_000);
        if before.is_some_and(|before| slot - before != 1) {
            late.push(number);
        }
        before = Some(slot);
    }
    eprintln!("{newest} blocks are in the index; late: {late:?}");
}
