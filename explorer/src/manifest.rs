//! Manifests of data sets that an operator hands to the explorer: what is said about the text behind a run.
//!
//! The chain keeps the hash of a manifest's bytes only, so a file is believed where it has that hash. What is
//! read is what people ask about; whether shards and windows agree, whoever trains on them checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::Hash;
use serde::{Deserialize, Serialize};

/// Longest manifest that is read: hashes of hundreds of thousands of shards.
const MAX_BYTES: u64 = 64 << 20;
/// Longest licence that is shown; it is a note, and its author is not the explorer's operator.
const MAX_LICENSE: usize = 1_000;

/// What a manifest says about its data set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Under what terms the text may be used, for people.
    pub license: String,
    /// Name of the tokenizer.
    pub tokenizer: String,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Training windows whose tokens another one before them has too.
    pub duplicates: u64,
    /// Held-out windows whose first tokens occur anywhere in the training part.
    pub overlap: u64,
    /// Bytes that were no text and were replaced; absent in manifests of a format that did not count them.
    #[serde(default)]
    pub encoding_errors: Option<u64>,
}

/// Manifests by the hash of their bytes.
#[derive(Default)]
pub struct Manifests(BTreeMap<Hash, Manifest>);

impl Manifests {
    /// Reads files.
    ///
    /// # Errors
    /// When one cannot be read, is too long, or is no manifest.
    pub fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        files.iter().map(|file| read(file)).collect::<anyhow::Result<_>>().map(Self)
    }

    /// The manifest with this hash.
    #[must_use]
    pub fn of(&self, root: &Hash) -> Option<&Manifest> {
        self.0.get(root)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn read(file: &Path) -> anyhow::Result<(Hash, Manifest)> {
    let reading = || format!("reading the manifest {}", file.display());
    let length = std::fs::metadata(file).with_context(reading)?.len();
    anyhow::ensure!(length <= MAX_BYTES, "{} has {length} bytes, more than a manifest", file.display());
    let bytes = std::fs::read(file).with_context(reading)?;
    let mut manifest: Manifest = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no manifest of a data set", file.display()))?;
    manifest.license = manifest.license.chars().take(MAX_LICENSE).collect();
    Ok((hash(Domain::Data, &bytes), manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{ "version": 1, "tokenizer": "bytes", "license": "public domain", "tokens": 9000,
        "seq_len": 64, "train_windows": 100, "heldout_windows": 2, "duplicates": 3, "overlap": 1, "shards": [] }"#;

    #[test]
    fn a_manifest_is_found_by_its_hash_whether_it_counts_encoding_errors_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new, broken) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("broken"));
        std::fs::write(&old, TEXT).unwrap();
        let counted = TEXT.replace("\"overlap\": 1", "\"overlap\": 1, \"encoding_errors\": 7");
        std::fs::write(&new, &counted).unwrap();
        std::fs::write(&broken, &TEXT[..50]).unwrap();
        let all = Manifests::read(&[old.clone(), new]).unwrap();
        let errors = |text: &str| all.of(&hash(Domain::Data, text.as_bytes())).map(|own| own.encoding_errors);
        assert_eq!((all.count(), errors(TEXT), errors(&counted)), (2, Some(None), Some(Some(7))));
        assert_eq!(errors(&TEXT.replace("9000", "9001")), None, "another file");
        let error = Manifests::read(&[old, broken]).err().unwrap();
        assert!(format!("{error:#}").contains("broken is no manifest"), "{error:#}");
        let missing = Manifests::read(&[dir.path().join("missing")]).err().unwrap();
        assert!(format!("{missing:#}").contains("missing"), "{missing:#}");
    }
}
