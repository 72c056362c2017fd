//! Ctrl-C: a devnet that is interrupted stops every process that it started, and only those. The same
//! when it is killed and can stop nobody.
//!
//! Needs the programs to be built (`scripts/build`); `scripts/test` does that first. Run by hand with
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` set to their folders.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Starting takes seconds; a busy machine may take many.
const PATIENCE: Duration = Duration::from_secs(120);
/// A node, four miners, two validators.
const PROGRAMS: usize = 7;

/// Killed when the test is over or fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn devnet(dir: &Path) -> Guard {
    let folder = std::env::var_os("IOTA_BIN_WORK").expect(
        "IOTA_BIN_WORK is not set; run scripts/test, or scripts/build and set it to the programs' folder",
    );
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let child = Command::new(PathBuf::from(folder).join("iota-devnet"))
        .args(["--preset", "nano", "--stages", "2", "--miners", "2", "--train-blocks", "24", "--data", data])
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("iota-devnet is built");
    Guard(child)
}

/// Ids of running processes, other than `except`, that name this folder on their command line.
fn running(dir: &Path, except: u32) -> Vec<u32> {
    let named = dir.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| *pid != except)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&named)
        })
        .collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts a devnet beside a program that is not its own, sends that signal, waits until nobody of the
/// devnet is left, and returns its exit status and what it said.
fn ended_by(signal: &str) -> (ExitStatus, String) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("devnet");
    let mut bystander = Guard(Command::new("sleep").arg("600").spawn().unwrap());
    let mut devnet = devnet(&dir);
    let own = devnet.0.id();
    wait_until("the start of all programs", || {
        assert!(devnet.0.try_wait().unwrap().is_none(), "the devnet ended by itself");
        running(&dir, own).len() >= PROGRAMS
    });
    assert!(Command::new("kill").args([signal, &own.to_string()]).status().unwrap().success());
    wait_until("the end of the devnet", || devnet.0.try_wait().unwrap().is_some());
    if signal == "-KILL" {
        // The kernel tells the programs, and each takes its time to go.
        wait_until("the end of its programs", || running(&dir, own).is_empty());
    }
    assert_eq!(running(&dir, own), Vec::<u32>::new(), "a program outlived the devnet");
    assert!(bystander.0.try_wait().unwrap().is_none(), "a program that the devnet did not start was stopped");
    let status = devnet.0.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut devnet.0.stderr.take().unwrap(), &mut said).unwrap();
    (status, said)
}

fn interrupted_by(signal: &str) {
    let (status, said) = ended_by(signal);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("everything that was started has been stopped"), "{said}");
    // Programs that had just been started may not have watched for signals yet; none is deaf to them.
    assert!(!said.contains("had to be killed"), "{said}");
}

#[test]
fn ctrl_c_stops_every_program_of_the_devnet_and_no_other() {
    interrupted_by("-INT");
}

#[test]
fn a_request_to_end_does_the_same() {
    interrupted_by("-TERM");
}

#[test]
fn a_devnet_that_is_killed_leaves_nobody_behind() {
    let (status, _) = ended_by("-KILL");
    assert_eq!(status.code(), None, "it had no chance to end by itself");
}
