//! The manifest of a data set: what it holds, and where its training part ends.

use std::path::Path;

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::Hash;
use serde::{Deserialize, Serialize};

/// Version of the manifest's format.
pub(crate) const FORMAT: u32 = 1;
/// Name of the tokenizer: a token is a byte.
pub(crate) const TOKENIZER: &str = "bytes";
/// One window in so many is held out.
const HELDOUT_PART: u64 = 100;

/// One file of tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// File name within the data set's folder.
    pub file: String,
    /// Hash of its bytes.
    pub hash: Hash,
    /// Tokens in it.
    pub tokens: u64,
}

/// What a data set is; its bytes' hash is the root on chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// Name of the tokenizer.
    pub tokenizer: String,
    /// Hash of the tokenizer's definition.
    pub tokenizer_hash: Hash,
    /// Under what terms the text may be used, for people.
    pub license: String,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Tokens per window.
    pub seq_len: u32,
    /// Windows for training, from the start.
    pub train_windows: u64,
    /// Windows for evaluation, at the end.
    pub heldout_windows: u64,
    /// Training windows whose tokens another one before them has too.
    pub duplicates: u64,
    /// Held-out windows whose first tokens occur anywhere in the training part.
    pub overlap: u64,
    /// Places of the text that were no UTF-8 and were replaced; manifests that were written before they were counted
    /// have none, because such a text was refused.
    #[serde(default)]
    pub encoding_errors: u64,
    /// The files in order.
    pub shards: Vec<Shard>,
}

impl Manifest {
    /// Tokens of the training part, the last target included.
    pub(crate) fn train_tokens(&self) -> u64 {
        self.train_windows * u64::from(self.seq_len) + 1
    }
}

/// Where the training part ends, for so many tokens.
pub(crate) struct Split {
    pub(crate) train_windows: u64,
    pub(crate) heldout_windows: u64,
}

impl Split {
    /// `None` if a part would have no window.
    pub(crate) fn of(tokens: u64, seq_len: u64) -> Option<Self> {
        let windows = tokens.checked_sub(1)?.checked_div(seq_len)?;
        let train_windows = windows.checked_sub(windows.div_ceil(HELDOUT_PART).max(1))?;
        // The held-out part starts after the training part's last target.
        let rest = tokens.checked_sub(train_windows * seq_len + 2)?;
        let heldout_windows = rest / seq_len;
        (train_windows > 0 && heldout_windows > 0).then_some(Self { train_windows, heldout_windows })
    }
}

/// The byte tokenizer's definition is its name: token `i` is byte `i`.
pub(crate) fn tokenizer_hash() -> Hash {
    hash(Domain::Data, TOKENIZER.as_bytes())
}

/// Why a manifest contradicts itself or cannot be read by this program.
pub(crate) fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.version != FORMAT {
        return Err(format!("format {}, this program reads {FORMAT}", manifest.version));
    }
    if manifest.tokenizer_hash != tokenizer_hash() {
        return Err(format!("tokenizer {:?}, this program has {TOKENIZER:?}", manifest.tokenizer));
    }
    let sum = manifest.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(shard.tokens));
    if sum != Some(manifest.tokens) {
        return Err(format!("shards of other than {} tokens in all", manifest.tokens));
    }
    let split = Split::of(manifest.tokens, manifest.seq_len.into());
    let agrees = |split: &Split| {
        split.train_windows == manifest.train_windows && split.heldout_windows == manifest.heldout_windows
    };
    if !split.as_ref().is_some_and(agrees) {
        return Err(format!("window counts that do not follow from {} tokens", manifest.tokens));
    }
    // A name with a folder in it could point outside the data set.
    let plain = |shard: &&Shard| Path::new(&shard.file).file_name() != Some(shard.file.as_ref());
    match manifest.shards.iter().find(plain) {
        Some(shard) => Err(format!("shard name {:?} is not a plain file name", shard.file)),
        None => Ok(()),
    }
}
