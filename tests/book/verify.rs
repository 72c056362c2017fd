//! `iota-explorer verify-epoch` as a program, on bundles of a running network: what it says by its exit code to
//! somebody who was given an altered file, another block, or an epoch that nobody was paid for yet.

use std::path::{Path, PathBuf};
use std::process::Command;

use iota_explorer::bundle::Bundle;

use crate::commands::program;
use crate::http;

struct Said {
    code: Option<i32>,
    stderr: String,
}

fn verify(file: &Path, more: &[&str]) -> Said {
    let mut command = Command::new(program("iota-explorer"));
    let output = command.args(["verify-epoch", "--bundle"]).arg(file).args(more).output().unwrap();
    Said { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn check(file: &Path, more: &[&str], code: i32, words: &[&str]) {
    let said = verify(file, more);
    assert_eq!(said.code, Some(code), "{} {more:?}: {}", file.display(), said.stderr);
    for word in words {
        assert!(said.stderr.contains(word), "{} {more:?}: no {word:?} in {}", file.display(), said.stderr);
    }
}

/// `file` is the bundle of an epoch that passes; other bundles come from the explorer at `address`.
pub async fn refuses_what_is_not_right(address: &str, file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let bundle: Bundle = serde_json::from_slice(&bytes).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let block = bundle.proof.as_ref().unwrap().hash.to_string();
    let (genesis, digest) = (bundle.genesis.to_string(), bundle.digest.to_string());
    let right = ["--strict", "--genesis", &genesis, "--block-hash", &block, "--digest", &digest];
    check(file, &right, 0, &[]);
    for (flag, what) in [("--genesis", "genesis"), ("--block-hash", "block hash"), ("--digest", "digest")] {
        check(file, &[flag, &"ab".repeat(32)], 1, &[what, "you were told"]);
        check(file, &[flag, "ab"], 1, &["64 hex digits"]);
    }
    flipped(&bytes, write);
    // Somebody who alters a number and seals the file anew is caught by what the number is about.
    let mut lie = bundle.clone();
    lie.report.as_mut().unwrap().payouts[0].amount += 1;
    check(&write("lie", &serde_json::to_vec(&lie.sealed()).unwrap()), &[], 2, &[]);
    // The epoch that trains has no report: nothing is wrong, and nothing is shown.
    let status = http::json(address, "/api/v1/status").await.unwrap();
    let epoch = status["runs"][0]["epoch"].as_u64().unwrap();
    let (code, body) = http::get(address, &format!("/api/v1/runs/0/epochs/{epoch}/bundle")).await.unwrap();
    assert_eq!(code, 200, "{body}");
    let open = write("open", body.as_bytes());
    check(&open, &[], 0, &[]);
    check(&open, &["--strict"], 3, &[]);
    check(&open, &["--block-hash", &block], 1, &["you were told"]);
    check(&scratch.path().join("absent"), &[], 1, &["absent"]);
}

/// One bit at a time, spread over the file.
fn flipped(bytes: &[u8], write: impl Fn(&str, &[u8]) -> PathBuf) {
    for part in 0..24usize {
        let at = (bytes.len() - 1) * part / 23;
        let mut altered = bytes.to_vec();
        altered[at] ^= 1;
        let file = write("altered", &altered);
        let said = verify(&file, &[]);
        assert_eq!(said.code, Some(1), "byte {at} of {}: {}", bytes.len(), said.stderr);
    }
    check(&write("half", &bytes[..bytes.len() / 2]), &[], 1, &["is no bundle"]);
}
