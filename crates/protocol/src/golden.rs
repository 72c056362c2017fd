//! Golden vectors: what every implementation must reproduce, stored in `tests/vectors`.
//!
//! The test compares; with `IOTA_BLESS=1` in the environment it writes the files anew, for a change
//! that is meant.

mod consensus;
mod messages;
mod rules;
mod sheet;
mod views;

use alloc::collections::BTreeMap;
use std::path::PathBuf;

/// Values by name; JSON objects in name order.
type Vectors = BTreeMap<String, serde_json::Value>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

/// Compares with the stored file, or stores it.
fn check_vectors(name: &str, vectors: &Vectors) {
    let path = path(name);
    if std::env::var_os("IOTA_BLESS").is_some_and(|value| value == "1") {
        let mut text = serde_json::to_string_pretty(vectors).unwrap();
        text.push('\n');
        std::fs::write(&path, text).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with IOTA_BLESS=1 to write it", path.display()));
    let stored: Vectors = serde_json::from_str(&text).unwrap();
    for (key, value) in vectors {
        assert_eq!(stored.get(key), Some(value), "{name}: vector {key} changed; IOTA_BLESS=1 accepts it");
    }
    let unknown: Vec<&String> = stored.keys().filter(|key| !vectors.contains_key(*key)).collect();
    assert!(unknown.is_empty(), "{name}: vectors without a rule: {unknown:?}");
}
