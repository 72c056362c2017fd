//! The project's list of known pitfalls, and that each row of it has a test; rows that only source files can
//! answer are tested here.
//!
//! A test that covers a row has `row_NN_` in its name, wherever it stands: in `pitfalls`, in the other tests of
//! this pallet, in those of the runtime, the node and the protocol.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The rows of the project's list of pitfalls.
const ROWS: [(u8, &str); 32] = [
    (1, "a panic in the runtime"),
    (2, "arithmetic that wraps or saturates and hides a loss"),
    (3, "lossy casts"),
    (4, "wrong weights"),
    (5, "unbounded storage or iteration"),
    (6, "unbounded decoding"),
    (7, "a missing or loose origin check"),
    (8, "writing before everything is checked"),
    (9, "a price that slips between sending and paying"),
    (10, "a signature or commit that is replayed"),
    (11, "a uid that is used again and inherits"),
    (12, "a commit that is guessed or copied"),
    (13, "the edges of a window"),
    (14, "storage that costs its maker nothing"),
    (15, "existential deposits and dust"),
    (16, "holds against transfers"),
    (17, "an imbalance that is dropped"),
    (18, "calls inside of other calls"),
    (19, "free transactions in masses"),
    (20, "what differs between machines"),
    (21, "randomness that somebody chooses"),
    (22, "storage keys that crowd a trie"),
    (23, "a configuration meant for tests"),
    (24, "migrations"),
    (25, "versions of runtime and transactions"),
    (26, "another length of a slot"),
    (27, "input without a signature"),
    (28, "too many events in a block"),
    (29, "an RPC open to strangers"),
    (30, "a published address that points inwards"),
    (31, "outdated dependencies"),
    (32, "the key of whoever governs"),
];

/// Names of functions in `text` that hold `row_NN_`, for each of the rows that they name.
fn rows_in(text: &str, found: &mut BTreeMap<u8, Vec<String>>) {
    // Two lines: the attribute, and the function.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else { continue };
        let above = lines.get(..at).unwrap_or_default().iter().rev().take(3);
        if !above.into_iter().any(|line| *line == "#[test]") {
            continue;
        }
        for part in name.split("row_").skip(1) {
            // Other words end like this, and no number of two digits follows them.
            let number = part.split_once('_').map(|(number, _)| number).filter(|number| number.len() == 2);
            let Some(row) = number.and_then(|number| number.parse().ok()) else { continue };
            found.entry(row).or_default().push(name.to_string());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every Rust file below a folder of the repository.
fn sources(folder: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn each_of_the_list_has_a_test_of_its_name() {
    let mut found = BTreeMap::new();
    let folders = [
        "pallet-iota/src",
        "runtime/src",
        "runtime/weights/src",
        "node/src",
        "node/tests",
        "crates/protocol/src",
    ];
    for path in folders.into_iter().flat_map(sources) {
        rows_in(&fs::read_to_string(&path).unwrap(), &mut found);
    }
    for (row, what) in ROWS {
        assert!(found.contains_key(&row), "row {row}, {what}, has no test");
    }
    assert!(found.keys().all(|row| ROWS.iter().any(|(own, _)| own == row)), "{found:?}");
}

/// What two machines need not agree about.
const UNCERTAIN: [&str; 6] = ["f32", "f64", "HashMap", "HashSet", "SystemTime", "Instant"];
/// Parts of the protocol that only validators compute, for themselves, and tests that stand beside the code.
const OFF_CHAIN: [&str; 4] = ["clasp", "report", "golden", "cabal"];

/// Words of a source file that stand neither in a comment nor in the tests at its end.
fn words(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

fn is_product(path: &Path) -> bool {
    let parts = || path.iter().filter_map(|part| part.to_str());
    !parts().any(|part| matches!(part, "tests" | "tests.rs" | "mock.rs"))
}

#[test]
fn row_20_nothing_on_chain_counts_with_floats_or_asks_the_machine() {
    let on_chain = |path: &PathBuf| {
        let name = path.strip_prefix(root().join("crates/protocol/src")).unwrap_or(path);
        !OFF_CHAIN.iter().any(|part| name.iter().any(|own| Path::new(own).file_stem() == Some(part.as_ref())))
    };
    let files = ["pallet-iota/src", "runtime/src", "crates/protocol/src"].into_iter().flat_map(sources);
    let files: Vec<_> = files.filter(|path| is_product(path) && on_chain(path)).collect();
    assert!(files.len() > 60, "{} files: the search misses some", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let found: Vec<_> = words(&text).into_iter().filter(|word| UNCERTAIN.contains(word)).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
        // What validators compute with floats does not reach the chain by an import.
        let pallet = path.starts_with(root().join("pallet-iota"));
        let imports = ["iota_protocol::clasp", "iota_protocol::report", "\n    clasp::", "\n    report::{"];
        let imported = imports.iter().find(|import| text.contains(*import));
        assert!(!pallet || imported.is_none(), "{}: {imported:?}", path.display());
    }
}

#[test]
fn row_31_dependencies_are_locked_and_come_from_one_registry_and_one_sdk() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let sources = || lock.lines().filter(|line| line.starts_with("source = "));
    assert!(sources().count() > 100, "the lock file names {} packages", sources().count());
    assert_eq!(sources().find(|line| *line != registry), None, "no checkout, no other registry");
    let checksums = lock.lines().filter(|line| line.starts_with("checksum = ")).count();
    assert_eq!(checksums, sources().count(), "each package of the registry has a checksum");
    for single in ["polkadot-sdk", "frame-support", "sp-runtime", "parity-scale-codec"] {
        let name = format!("name = \"{single}\"");
        assert_eq!(lock.lines().filter(|line| *line == name).count(), 1, "versions of {single}");
    }
}
