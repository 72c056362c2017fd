//! Training data: preparing a text into verified shards, and reading windows from them.
//!
//! The tokenizer is bytes: a token is one byte of UTF-8 text, so nothing but the text is needed. A
//! data set is a folder with `manifest.json` and shards; the hash of the manifest's bytes is on
//! chain, the manifest holds the hash of each shard. Windows do not overlap: window `i` is
//! `seq_len` tokens from `i · seq_len` and the token after them as the last target. The last 1 % of
//! windows are held out and share no token with the others.
//!
//! A data set is kept in memory (one byte per token): right for corpora of up to some GiB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::Hash;
use iota_protocol::params::DataParams;

use crate::manifest::{check, tokenizer_hash, Split, FORMAT, TOKENIZER};
pub use crate::manifest::{Manifest, Shard};
use crate::overlap;

/// Tokens of one shard: a unit of download that is refused and fetched again at little cost.
pub const SHARD_TOKENS: usize = 256 * 1024;
/// Fewest bytes of text: fewer give a held-out part of only a few windows.
pub const MIN_TEXT: usize = 64 * 1024;
/// Largest manifest that is read: hashes of 2^20 shards.
const MAX_MANIFEST: u64 = 256 << 20;
const MANIFEST: &str = "manifest.json";

/// Why data could not be prepared or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: std::io::Error,
    },
    /// The text is not UTF-8.
    #[error(
        "{path} is not UTF-8 at byte {offset}; convert it first, or have such places replaced and counted"
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// First byte that is wrong.
        offset: usize,
    },
    /// Too little text.
    #[error(
        "{path} has {got} bytes, at least {expected} are needed for windows of {seq_len}; use a longer text"
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Bytes of the text.
        got: usize,
        /// Bytes needed.
        expected: usize,
        /// Tokens per window.
        seq_len: u32,
    },
    /// The manifest is no manifest, or contradicts itself.
    #[error("{path}: {reason}; prepare or fetch the data again")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is not the one that the chain or the manifest names.
    #[error("{path} hashes to {got}, expected {expected}; prepare or fetch the data again")]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash on chain or in the manifest.
        expected: Hash,
        /// Hash of the file.
        got: Hash,
    },
    /// No such window.
    #[error("window {index} does not exist, the data set has {windows}")]
    Window {
        /// Window asked for.
        index: u64,
        /// Training windows.
        windows: u64,
    },
}

/// What becomes of places in a text that are no UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// The text is refused.
    Refuse,
    /// Each becomes U+FFFD, and the manifest says how many there were.
    Replace,
}

/// Cuts a text into shards in `out_dir` and writes the manifest last. `license` is a note for
/// people; `progress` is called with bytes done and bytes in all.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Encoding`] and [`DataError::TooSmall`].
pub fn prepare(
    text_file: &Path,
    out_dir: &Path,
    seq_len: u32,
    license: &str,
    progress: impl FnMut(u64, u64),
) -> Result<Manifest, DataError> {
    prepare_with(Invalid::Refuse, text_file, out_dir, seq_len, license, progress)
}

/// [`prepare`] for a text that may hold what is no UTF-8.
///
/// # Errors
/// The same; [`DataError::Encoding`] only where such places are refused.
pub fn prepare_with(
    invalid: Invalid,
    text_file: &Path,
    out_dir: &Path,
    seq_len: u32,
    license: &str,
    mut progress: impl FnMut(u64, u64),
) -> Result<Manifest, DataError> {
    let text = read(text_file)?;
    let (text, encoding_errors) = match (std::str::from_utf8(&text), invalid) {
        (Ok(_), _) => (text, 0),
        (Err(_), Invalid::Replace) => replaced(&text),
        (Err(error), Invalid::Refuse) => {
            return Err(DataError::Encoding { path: text_file.to_owned(), offset: error.valid_up_to() });
        }
    };
    let total = text.len() as u64;
    let split = Split::of(total, seq_len.into()).filter(|_| text.len() >= MIN_TEXT).ok_or_else(|| {
        let expected = MIN_TEXT.max(3 * seq_len as usize + 2);
        DataError::TooSmall { path: text_file.to_owned(), got: text.len(), expected, seq_len }
    })?;
    fs::create_dir_all(out_dir).map_err(|error| DataError::Io { path: out_dir.to_owned(), error })?;
    let shards = write_shards(&text, out_dir, |done| progress(done, total))?;
    let (train, heldout) = text.split_at((split.train_windows * u64::from(seq_len)) as usize + 1);
    let manifest = Manifest {
        version: FORMAT,
        tokenizer: TOKENIZER.to_owned(),
        tokenizer_hash: tokenizer_hash(),
        license: license.to_owned(),
        tokens: total,
        seq_len,
        train_windows: split.train_windows,
        heldout_windows: split.heldout_windows,
        duplicates: overlap::duplicates(train, seq_len as usize),
        overlap: overlap::shared(train, heldout, seq_len as usize),
        encoding_errors,
        shards,
    };
    let bytes =
        serde_json::to_vec_pretty(&manifest).expect("a manifest holds strings and integers only; qed");
    write(&out_dir.join(MANIFEST), &bytes)?;
    Ok(manifest)
}

/// The text with U+FFFD in each place that is no UTF-8, and how many such places there were. A place is as long as a
/// character that was begun could be, so that a truncated one counts once.
fn replaced(text: &[u8]) -> (Vec<u8>, u64) {
    let mut clean = Vec::with_capacity(text.len());
    let mut errors = 0;
    for chunk in text.utf8_chunks() {
        clean.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            clean.extend_from_slice(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
            errors += 1;
        }
    }
    (clean, errors)
}

fn write_shards(text: &[u8], out_dir: &Path, mut progress: impl FnMut(u64)) -> Result<Vec<Shard>, DataError> {
    let mut done = 0;
    let mut shards = Vec::new();
    for (index, bytes) in text.chunks(SHARD_TOKENS).enumerate() {
        let file = format!("shard-{index:05}.bin");
        write(&out_dir.join(&file), bytes)?;
        shards.push(Shard { file, hash: hash(Domain::Data, bytes), tokens: bytes.len() as u64 });
        done += bytes.len() as u64;
        progress(done);
    }
    Ok(shards)
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|error| DataError::Io { path: path.to_owned(), error })
}

/// Writes beside and renames, so that no half-written file carries the name.
fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    crate::atomic::write(path, bytes).map_err(|error| DataError::Io { path: path.to_owned(), error })
}

/// A verified data set.
#[derive(Debug)]
pub struct Dataset {
    manifest: Manifest,
    root: Hash,
    tokens: Vec<u8>,
}

impl Dataset {
    /// Opens a folder and verifies its manifest (against `expected_root`, if given) and every shard.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(dir: &Path, expected_root: Option<Hash>) -> Result<Self, DataError> {
        let path = dir.join(MANIFEST);
        let bytes = read_manifest(&path)?;
        let root = hash(Domain::Data, &bytes);
        if let Some(expected) = expected_root.filter(|expected| *expected != root) {
            return Err(DataError::Hash { path, expected, got: root });
        }
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| DataError::Manifest { path: path.clone(), reason: error.to_string() })?;
        check(&manifest).map_err(|reason| DataError::Manifest { path, reason })?;
        let mut tokens = Vec::new();
        for shard in &manifest.shards {
            tokens.extend(read_shard(dir, shard)?);
        }
        Ok(Self { manifest, root, tokens })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What a run's parameters say of this data set.
    #[must_use]
    pub fn data_params(&self) -> DataParams {
        DataParams {
            manifest_root: self.root,
            train_windows: self.manifest.train_windows,
            heldout_windows: self.manifest.heldout_windows,
        }
    }

    /// Training window `index`: `seq_len` inputs and one more target.
    ///
    /// # Errors
    /// [`DataError::Window`] past the last.
    pub fn train_window(&self, index: u64) -> Result<Vec<u32>, DataError> {
        let windows = self.manifest.train_windows;
        if index >= windows {
            return Err(DataError::Window { index, windows });
        }
        let seq_len = self.manifest.seq_len as usize;
        // Below `train_windows · seq_len`, which is an index into memory.
        let start = index as usize * seq_len;
        Ok(widen(&self.tokens[start..=start + seq_len]))
    }

    /// Up to `count` windows spread evenly over the held-out part; where it has fewer windows they
    /// overlap, but no two are equal.
    #[must_use]
    pub fn heldout_windows(&self, count: usize) -> Vec<Vec<u32>> {
        let part = self.heldout();
        let window = self.manifest.seq_len as usize + 1;
        let starts = part.len().saturating_sub(window) + 1;
        let count = count.min(starts);
        (0..count).map(|i| i * starts / count).map(|start| widen(&part[start..start + window])).collect()
    }

    /// Entropy of a byte given the one before it in the held-out part, in nats: what a model that
    /// learned nothing but pairs would reach.
    #[must_use]
    pub fn bigram_entropy(&self) -> f64 {
        let part = self.heldout();
        let mut pairs: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        let mut singles: BTreeMap<u8, u64> = BTreeMap::new();
        for (a, b) in part.iter().zip(part.iter().skip(1)) {
            *pairs.entry((*a, *b)).or_default() += 1;
            *singles.entry(*a).or_default() += 1;
        }
        let total = part.len().saturating_sub(1).max(1) as f64;
        let cost = |(pair, count): (&(u8, u8), &u64)| {
            let before = singles.get(&pair.0).copied().unwrap_or(1);
            *count as f64 * (*count as f64 / before as f64).ln()
        };
        -pairs.iter().map(cost).sum::<f64>() / total
    }

    fn heldout(&self) -> &[u8] {
        let start = usize::try_from(self.manifest.train_tokens()).unwrap_or(usize::MAX);
        self.tokens.get(start..).unwrap_or_default()
    }
}

fn widen(tokens: &[u8]) -> Vec<u32> {
    tokens.iter().map(|token| u32::from(*token)).collect()
}

fn read_manifest(path: &Path) -> Result<Vec<u8>, DataError> {
    let size = fs::metadata(path).map_err(|error| DataError::Io { path: path.to_owned(), error })?.len();
    if size > MAX_MANIFEST {
        let reason = format!("{size} bytes, expected at most {MAX_MANIFEST}");
        return Err(DataError::Manifest { path: path.to_owned(), reason });
    }
    read(path)
}

fn read_shard(dir: &Path, shard: &Shard) -> Result<Vec<u8>, DataError> {
    let path = dir.join(&shard.file);
    let bytes = read(&path)?;
    let got = hash(Domain::Data, &bytes);
    if got != shard.hash || bytes.len() as u64 != shard.tokens {
        return Err(DataError::Hash { path, expected: shard.hash, got });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Lower-case words of seeded random letters.
    fn text(len: usize) -> Vec<u8> {
        let mut rng = Rng::new(9);
        (0..len).map(|_| b"abcdefghijklmno \n"[(rng.next() % 17) as usize]).collect()
    }

    fn prepared(text: &[u8], seq_len: u32) -> (tempfile::TempDir, Result<Manifest, DataError>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        fs::write(&file, text).unwrap();
        let manifest = prepare(&file, &dir.path().join("out"), seq_len, "public domain", |_, _| {});
        (dir, manifest)
    }

    #[test]
    fn windows_read_back_and_held_out_ones_are_separate() {
        let text = text(600_000);
        let (dir, manifest) = prepared(&text, 128);
        let manifest = manifest.unwrap();
        assert_eq!(manifest.shards.len(), 3);
        assert_eq!((manifest.train_windows, manifest.heldout_windows), (4640, 47));
        assert_eq!((manifest.duplicates, manifest.overlap), (0, 0));
        let data = Dataset::open(&dir.path().join("out"), None).unwrap();
        let window = data.train_window(2047).unwrap(); // crosses the first two shards
        let expected: Vec<u32> = text[2047 * 128..=2048 * 128].iter().map(|b| u32::from(*b)).collect();
        assert_eq!(window, expected);
        assert!(matches!(data.train_window(4640), Err(DataError::Window { windows: 4640, .. })));
        let held = data.heldout_windows(256);
        assert_eq!((held.len(), held[0].len()), (256, 129));
        assert_eq!(held[0][0], u32::from(text[4640 * 128 + 1]));
        assert!(held[255].len() == 129 && data.heldout_windows(10).len() == 10);
        let root = data.data_params().manifest_root;
        Dataset::open(&dir.path().join("out"), Some(root)).unwrap();
        let other = Dataset::open(&dir.path().join("out"), Some(Hash([7; 32]))).unwrap_err();
        assert!(matches!(other, DataError::Hash { .. }), "{other}");
    }

    #[test]
    fn a_changed_shard_is_refused() {
        let (dir, _) = prepared(&text(70_000), 32);
        let path = dir.path().join("out/shard-00000.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes[500] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Dataset::open(&dir.path().join("out"), None).unwrap_err();
        assert!(
            matches!(&error, DataError::Hash { path, .. } if path.ends_with("shard-00000.bin")),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        assert!(matches!(Dataset::open(&dir.path().join("out"), None), Err(DataError::Io { .. })));
    }

    #[test]
    fn manifests_that_contradict_themselves_are_refused() {
        let (dir, manifest) = prepared(&text(70_000), 32);
        let manifest = manifest.unwrap();
        let check = |change: fn(&mut Manifest), word: &str| {
            let mut changed = manifest.clone();
            change(&mut changed);
            fs::write(dir.path().join("out/manifest.json"), serde_json::to_vec(&changed).unwrap()).unwrap();
            let error = Dataset::open(&dir.path().join("out"), None).unwrap_err();
            assert!(
                matches!(error, DataError::Manifest { .. }) && error.to_string().contains(word),
                "{error}"
            );
        };
        check(|m| m.version = 9, "format 9");
        check(|m| m.tokenizer_hash = Hash([1; 32]), "tokenizer");
        check(|m| m.tokens += 1, "tokens");
        check(|m| m.train_windows += 1, "window counts");
        check(|m| m.seq_len = 0, "window counts");
        check(|m| m.shards[0].file = "../text".into(), "plain");
    }

    #[test]
    fn unusable_texts_are_refused() {
        let (_dir, small) = prepared(&text(MIN_TEXT - 1), 32);
        assert!(matches!(small, Err(DataError::TooSmall { .. })));
        let (_dir, long) = prepared(&text(MIN_TEXT), 60_000);
        assert!(matches!(long, Err(DataError::TooSmall { .. })));
        let mut bytes = text(70_000);
        bytes[1_234] = 0xff;
        let (_dir, latin) = prepared(&bytes, 32);
        assert!(matches!(latin, Err(DataError::Encoding { offset: 1_234, .. })));
        let missing = prepare(Path::new("no-such-file"), Path::new("out"), 32, "", |_, _| {});
        assert!(matches!(missing, Err(DataError::Io { .. })));
    }

    #[test]
    fn what_is_no_utf8_is_replaced_where_that_is_asked_for_and_counted() {
        // A byte that begins nothing; a character of three bytes of which two are there; then plain text.
        let (clean, errors) = replaced(b"a\xff\xe2\x82b");
        assert_eq!((clean.as_slice(), errors), ("a\u{fffd}\u{fffd}b".as_bytes(), 2));
        let mut bytes = text(70_000);
        (bytes[1_234], bytes[60_000]) = (0xff, 0xfe);
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("text"), dir.path().join("out"));
        fs::write(&file, &bytes).unwrap();
        let manifest = prepare_with(Invalid::Replace, &file, &out, 32, "", |_, _| {}).unwrap();
        assert_eq!((manifest.encoding_errors, manifest.tokens), (2, 70_004), "three bytes for one, twice");
        assert_eq!(
            Dataset::open(&out, None).unwrap().manifest.encoding_errors,
            2,
            "and it stands in the file"
        );
        let (_dir, whole) = prepared(&text(70_000), 32);
        assert_eq!(whole.unwrap().encoding_errors, 0);
    }

    #[test]
    fn a_manifest_of_before_is_read() {
        let (dir, manifest) = prepared(&text(70_000), 32);
        let path = dir.path().join("out").join(MANIFEST);
        let mut older = serde_json::to_value(manifest.unwrap()).unwrap();
        older.as_object_mut().unwrap().remove("encoding_errors").expect("it is written");
        fs::write(&path, older.to_string()).unwrap();
        assert_eq!(Dataset::open(&dir.path().join("out"), None).unwrap().manifest.encoding_errors, 0);
    }

    #[test]
    fn progress_reaches_the_end_and_repeats_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        fs::write(&file, text(64).repeat(2_000)).unwrap();
        let mut seen = Vec::new();
        let manifest =
            prepare(&file, &dir.path().join("out"), 64, "", |done, total| seen.push((done, total))).unwrap();
        assert_eq!(seen, [(128_000, 128_000)]);
        assert_eq!(manifest.duplicates, manifest.train_windows - 1);
        assert_eq!(manifest.overlap, manifest.heldout_windows);
    }

    #[test]
    fn bigram_entropy_of_known_texts() {
        let (dir, _) = prepared(&b"ab".repeat(50_000), 32);
        assert!(Dataset::open(&dir.path().join("out"), None).unwrap().bigram_entropy().abs() < 1e-12);
        let (dir, _) = prepared(&text(1_000_000), 128);
        let entropy = Dataset::open(&dir.path().join("out"), None).unwrap().bigram_entropy();
        // Seventeen equally likely bytes, less what ten thousand pairs are over-fitted by.
        assert!((entropy - 17f64.ln()).abs() < 0.05, "{entropy}");
    }
}
