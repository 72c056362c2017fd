//! What this miner keeps for others: receipts, logs, codes, entries, merged shards, states.
//!
//! Code bytes are the bulk of it and are in the epoch's journal anyway: they are read from there.
//! Artefacts of an epoch stay until its audit has closed, two epochs later, and are then deleted.
//! Everything that a restart needs is on disk before it is announced.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use codec::{Compact, Decode, Encode};
use iota_compute::flat;
use iota_compute::outer::{OuterState, StateManifest};
use iota_protocol::ids::{Epoch, Hash, Stage, Uid};
use iota_protocol::merkle::{self, RangeProof, Tree};
use iota_protocol::wire::codes_hash;
use iota_service::journal::atomic_write;
use iota_service::retention::{sweep, Moment};

use crate::retention::{KEPT_EPOCHS, RULES};

/// An entry as it is stored and sent: its chunks one after the other, all of one length.
#[derive(Debug)]
pub struct EntryBytes {
    /// Canonical bytes of all chunks.
    pub bytes: Vec<u8>,
    /// Bytes of one chunk.
    pub chunk_len: usize,
}

/// An entry with the Merkle tree over its chunks.
#[derive(Debug)]
pub struct EntryChunks {
    entry: EntryBytes,
    tree: Tree,
}

impl EntryChunks {
    /// Hashes an entry.
    #[must_use]
    pub fn new(entry: EntryBytes) -> Self {
        let tree = Tree::new(merkle::leaves(&entry.bytes, entry.chunk_len));
        Self { entry, tree }
    }

    /// Root over the chunks.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Bytes of a range of chunks.
    #[must_use]
    pub fn bytes(&self, first: usize, count: usize) -> Option<&[u8]> {
        let start = first.checked_mul(self.entry.chunk_len)?;
        let len = count.checked_mul(self.entry.chunk_len)?;
        self.entry.bytes.get(start..start.checked_add(len)?)
    }

    /// A range of chunks and the proof that they stand under the root.
    #[must_use]
    pub fn range(&self, first: usize, count: usize) -> Option<(&[u8], RangeProof)> {
        Some((self.bytes(first, count)?, self.tree.prove_range(first, count)?))
    }
}

/// A verified range of another's entry, with the proof to pass it on.
#[derive(Debug)]
pub struct HeldRange {
    /// Chunks in it.
    pub count: u32,
    /// Their canonical bytes.
    pub bytes: Vec<u8>,
    /// Proof that they stand under the author's root.
    pub proof: RangeProof,
}

/// The state of a stage at the start of an epoch, ready to be served.
pub struct ServedState {
    /// The stage.
    pub stage: Stage,
    /// Weights and outer momentum.
    pub outer: OuterState,
    /// Its manifest.
    pub manifest: StateManifest,
}

/// Where codes lie in the epoch's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodesAt {
    /// The byte after their last.
    pub end: u64,
    /// How many bytes they are.
    pub len: usize,
}

/// Where codes are kept.
enum Codes {
    /// No record of the journal holds them yet: a pass has just put them out.
    Here(Arc<Vec<u8>>),
    Journal(CodesAt),
}

#[derive(Default)]
struct EpochArtefacts {
    receipts: Option<Arc<Vec<u8>>>,
    log: Option<Arc<Vec<u8>>>,
    codes: HashMap<Hash, Codes>,
    entry: Option<Arc<EntryChunks>>,
    held: HashMap<(Uid, u32), Arc<HeldRange>>,
    merged: HashMap<u16, Arc<Vec<u8>>>,
    steps: BTreeMap<u32, PathBuf>,
}

#[derive(Default)]
struct Inner {
    epochs: BTreeMap<Epoch, EpochArtefacts>,
    states: BTreeMap<Epoch, Arc<ServedState>>,
    /// Of all states that were put or read, also those that are on disk only: a hash for each chunk.
    manifests: BTreeMap<Epoch, Arc<(Stage, StateManifest)>>,
    /// Whether older states are left on disk until somebody asks.
    spares_memory: bool,
}

/// The store. Cheap to clone behind an `Arc`; locks are held for look-ups only, never across IO.
pub struct Store {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

impl Store {
    /// Opens the folder and loads the states that it holds.
    ///
    /// # Errors
    /// When the folder cannot be created or read.
    pub fn open(dir: &Path) -> anyhow::Result<Arc<Self>> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating data folder {}", dir.display()))?;
        Ok(Arc::new(Self { dir: dir.to_owned(), inner: Mutex::new(Inner::default()) }))
    }

    /// Leaves older states on disk until somebody asks for one.
    pub fn spare_memory(&self) {
        self.inner().spares_memory = true;
    }

    /// The miner's data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock leaves plain maps behind, which stay usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch_dir(&self, epoch: Epoch) -> PathBuf {
        self.dir.join(format!("epoch-{epoch}"))
    }

    fn with<R>(&self, epoch: Epoch, change: impl FnOnce(&mut EpochArtefacts) -> R) -> R {
        change(self.inner().epochs.entry(epoch).or_default())
    }

    fn read<R>(&self, epoch: Epoch, look: impl FnOnce(&EpochArtefacts) -> Option<R>) -> Option<R> {
        self.inner().epochs.get(&epoch).and_then(look)
    }

    /// Keeps code bytes in memory until a record of the journal holds them.
    pub fn put_codes(&self, epoch: Epoch, hash: Hash, codes: Vec<u8>) {
        self.with(epoch, |artefacts| {
            artefacts.codes.entry(hash).or_insert_with(|| Codes::Here(Arc::new(codes)));
        });
    }

    /// Code bytes are in the epoch's journal from now on, and no longer in memory.
    pub fn keep_codes_at(&self, epoch: Epoch, hash: Hash, at: CodesAt) {
        self.with(epoch, |artefacts| artefacts.codes.insert(hash, Codes::Journal(at)));
    }

    /// Whether code bytes are kept, without reading them.
    #[must_use]
    pub fn has_codes(&self, epoch: Epoch, hash: &Hash) -> bool {
        self.read(epoch, |artefacts| artefacts.codes.get(hash).map(|_| ())).is_some()
    }

    /// Code bytes by hash. May read them from the disk; bytes that have another hash there are as good
    /// as none.
    #[must_use]
    pub fn codes(&self, epoch: Epoch, hash: &Hash) -> Option<Arc<Vec<u8>>> {
        let at = self.read(epoch, |artefacts| match artefacts.codes.get(hash)? {
            Codes::Here(codes) => Some(Ok(Arc::clone(codes))),
            Codes::Journal(at) => Some(Err(*at)),
        })?;
        let at = match at {
            Ok(codes) => return Some(codes),
            Err(at) => at,
        };
        let path = crate::journal::path(&self.dir, epoch);
        let read = read_codes(&path, at).and_then(|codes| {
            let got = codes_hash(&codes);
            anyhow::ensure!(got == *hash, "expected codes {hash}, got {got}");
            Ok(codes)
        });
        match read {
            Ok(codes) => Some(Arc::new(codes)),
            Err(error) => {
                tracing::warn!(%epoch, %hash, path = %path.display(), error = %format!("{error:#}"), "codes not read back");
                None
            }
        }
    }

    /// Publishes the committed lists, already encoded, and the entry; returns the entry's root. The entry is
    /// hashed while the disk works.
    ///
    /// # Errors
    /// When they cannot be written to disk.
    pub fn put_commit(
        &self,
        epoch: Epoch,
        receipts: Vec<u8>,
        log: Vec<u8>,
        entry: EntryBytes,
    ) -> anyhow::Result<Hash> {
        let dir = self.epoch_dir(epoch);
        let write = |name: &str, bytes: &[u8]| {
            atomic_write(&dir.join(name), bytes).with_context(|| format!("writing {name} of epoch {epoch}"))
        };
        let tree = std::thread::scope(|scope| {
            let files = [("entry", &entry.bytes), ("receipts", &receipts), ("log", &log)];
            let writing = files.map(|(name, bytes)| scope.spawn(move || write(name, bytes)));
            let tree = Tree::new(merkle::leaves(&entry.bytes, entry.chunk_len));
            for file in writing {
                file.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            anyhow::Ok(tree)
        })?;
        let entry = EntryChunks { entry, tree };
        let root = entry.root();
        self.with(epoch, |artefacts| {
            artefacts.receipts = Some(Arc::new(receipts));
            artefacts.log = Some(Arc::new(log));
            artefacts.entry = Some(Arc::new(entry));
        });
        Ok(root)
    }

    /// Loads what `put_commit` and `put_merged` wrote, after a restart. Missing files are not an error.
    /// `chunk_len` is that of the run in that epoch.
    pub fn load_commit(&self, epoch: Epoch, chunk_len: usize) {
        let dir = self.epoch_dir(epoch);
        let file = |name: &str| std::fs::read(dir.join(name)).ok();
        let whole = |bytes: &Vec<u8>| bytes.len().checked_rem(chunk_len) == Some(0);
        let entry =
            file("entry").filter(whole).map(|bytes| EntryChunks::new(EntryBytes { bytes, chunk_len }));
        let (receipts, log) = (file("receipts"), file("log"));
        let merged = merged_files(&dir);
        let steps = step_files(&dir);
        self.with(epoch, |artefacts| {
            artefacts.receipts = receipts.map(Arc::new);
            artefacts.log = log.map(Arc::new);
            artefacts.entry = entry.map(Arc::new);
            artefacts.merged.extend(merged);
            artefacts.steps.extend(steps);
        });
    }

    /// Encoded receipts of an epoch.
    #[must_use]
    pub fn receipts(&self, epoch: Epoch) -> Option<Arc<Vec<u8>>> {
        self.read(epoch, |artefacts| artefacts.receipts.clone())
    }

    /// Encoded event log of an epoch.
    #[must_use]
    pub fn log(&self, epoch: Epoch) -> Option<Arc<Vec<u8>>> {
        self.read(epoch, |artefacts| artefacts.log.clone())
    }

    /// This miner's own entry.
    #[must_use]
    pub fn entry(&self, epoch: Epoch) -> Option<Arc<EntryChunks>> {
        self.read(epoch, |artefacts| artefacts.entry.clone())
    }

    /// Keeps a verified range of another's entry.
    pub fn put_held(&self, epoch: Epoch, author: Uid, first: u32, range: HeldRange) {
        self.with(epoch, |artefacts| artefacts.held.insert((author, first), Arc::new(range)));
    }

    /// A held range, if it starts at `first`.
    #[must_use]
    pub fn held(&self, epoch: Epoch, author: Uid, first: u32) -> Option<Arc<HeldRange>> {
        self.read(epoch, |artefacts| artefacts.held.get(&(author, first)).cloned())
    }

    /// Keeps a merged shard in memory, to pass it on: another's, which is theirs to have on disk, or an own one
    /// that is on its way there.
    pub fn hold_merged(&self, epoch: Epoch, shard: u16, bytes: Arc<Vec<u8>>) {
        self.with(epoch, |artefacts| artefacts.merged.insert(shard, bytes));
    }

    /// Writes a merged shard that this miner owns, and keeps it.
    ///
    /// # Errors
    /// When it cannot be written to disk.
    pub fn put_merged(&self, epoch: Epoch, shard: u16, bytes: Arc<Vec<u8>>) -> anyhow::Result<()> {
        atomic_write(&self.epoch_dir(epoch).join(format!("merged-{shard}")), &bytes)
            .with_context(|| format!("writing merged shard {shard} of epoch {epoch}"))?;
        self.hold_merged(epoch, shard, bytes);
        Ok(())
    }

    /// A merged shard.
    #[must_use]
    pub fn merged(&self, epoch: Epoch, shard: u16) -> Option<Arc<Vec<u8>>> {
        self.read(epoch, |artefacts| artefacts.merged.get(&shard).cloned())
    }

    /// Keeps the encoded trainer state after a local step, from which audits start.
    ///
    /// # Errors
    /// When it cannot be written to disk.
    pub fn put_step(&self, epoch: Epoch, version: u32, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.epoch_dir(epoch).join(format!("step-{version}"));
        atomic_write(&path, bytes).with_context(|| format!("writing the state after step {version}"))?;
        self.with(epoch, |artefacts| artefacts.steps.insert(version, path));
        Ok(())
    }

    /// The newest kept trainer state at or before a version.
    #[must_use]
    pub fn step_at_or_before(&self, epoch: Epoch, version: u32) -> Option<PathBuf> {
        self.read(epoch, |artefacts| {
            artefacts.steps.range(..=version).next_back().map(|(_, path)| path.clone())
        })
    }

    /// Keeps the state that an epoch starts with.
    ///
    /// # Errors
    /// When it cannot be written to disk.
    pub fn put_state(
        &self,
        epoch: Epoch,
        stage: Stage,
        outer: OuterState,
    ) -> anyhow::Result<Arc<ServedState>> {
        let bytes = (stage, &outer).encode();
        atomic_write(&self.dir.join(format!("state-{epoch}")), &bytes)
            .with_context(|| format!("writing the state of epoch {epoch}"))?;
        Ok(self.serve_state(epoch, stage, outer))
    }

    fn serve_state(&self, epoch: Epoch, stage: Stage, outer: OuterState) -> Arc<ServedState> {
        let manifest = outer.manifest();
        let served = Arc::new(ServedState { stage, outer, manifest });
        let mut inner = self.inner();
        inner.manifests.insert(epoch, Arc::new((stage, served.manifest.clone())));
        inner.states.insert(epoch, Arc::clone(&served));
        if inner.spares_memory {
            // The newest, which everybody needs; of the others the disk has the chunks, and we their hashes.
            let newest = inner.states.keys().next_back().copied();
            inner.states.retain(|kept, _| Some(*kept) == newest);
        }
        served
    }

    /// The stage and the chunk hashes of the state that an epoch starts with. A state is read and hashed once,
    /// however often it is asked for and whether or not it stays in memory.
    #[must_use]
    pub fn manifest(&self, epoch: Epoch) -> Option<Arc<(Stage, StateManifest)>> {
        if let Some(manifest) = self.inner().manifests.get(&epoch) {
            return Some(Arc::clone(manifest));
        }
        let served = self.state(epoch)?;
        Some(Arc::new((served.stage, served.manifest.clone())))
    }

    /// One chunk of the state that an epoch starts with, from memory or from its place on disk; empty past the end.
    #[must_use]
    pub fn state_chunk(&self, epoch: Epoch, stage: Stage, index: usize) -> Option<Vec<u8>> {
        let manifest = self.manifest(epoch).filter(|manifest| manifest.0 == stage)?;
        let here = self.inner().states.get(&epoch).cloned();
        if let Some(here) = here {
            return Some(here.outer.chunk(index));
        }
        let path = self.dir.join(format!("state-{epoch}"));
        match read_chunk(&path, manifest.1.len, index) {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                tracing::warn!(path = %path.display(), index, error = %format!("{error:#}"), "chunk not read back");
                None
            }
        }
    }

    /// The state that an epoch starts with, from memory or disk.
    #[must_use]
    pub fn state(&self, epoch: Epoch) -> Option<Arc<ServedState>> {
        if let Some(served) = self.inner().states.get(&epoch) {
            return Some(Arc::clone(served));
        }
        let bytes = std::fs::read(self.dir.join(format!("state-{epoch}"))).ok()?;
        let (stage, outer) = <(Stage, OuterState)>::decode(&mut bytes.as_slice()).ok()?;
        Some(self.serve_state(epoch, stage, outer))
    }

    /// Deletes what no audit can ask for any more, also what epochs left that this miner slept through, and
    /// what has been kept for longer than its owner wants.
    pub fn forget(&self, at: Moment) {
        {
            let mut inner = self.inner();
            let wanted = |epoch: Epoch| epoch.0.saturating_add(KEPT_EPOCHS) > at.epoch;
            inner.epochs.retain(|epoch, _| wanted(*epoch));
            inner.states.retain(|epoch, _| wanted(*epoch));
            inner.manifests.retain(|epoch, _| wanted(*epoch));
        }
        // The newest state is where this stage stands, however long ago: others may still need it.
        let newest = numbered(&self.dir, "state-").map(|(epoch, _)| epoch).max();
        let until = newest.map_or(at.epoch, |newest| at.epoch.min(newest.saturating_add(KEPT_EPOCHS - 1)));
        let [folders, states] = RULES;
        let mut gone = sweep(&self.dir, &[folders], at);
        gone.extend(sweep(&self.dir, &[states], Moment { epoch: until, ..at }));
        let mut inner = self.inner();
        for (prefix, epoch) in gone {
            if prefix == folders.prefix {
                inner.epochs.remove(&Epoch(epoch));
            }
        }
    }

    /// Deletes everything but the newest state.
    pub fn forget_all(&self) {
        let newest = numbered(&self.dir, "state-").map(|(epoch, _)| epoch).max();
        {
            let mut inner = self.inner();
            inner.epochs.clear();
            inner.states.retain(|epoch, _| Some(epoch.0) == newest);
            inner.manifests.retain(|epoch, _| Some(epoch.0) == newest);
        }
        let old_states = numbered(&self.dir, "state-").filter(|(epoch, _)| Some(*epoch) != newest);
        for (_, path) in numbered(&self.dir, "epoch-").chain(old_states) {
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "not deleted; it takes up space for nothing");
            }
        }
    }
}

fn read_codes(journal: &Path, at: CodesAt) -> anyhow::Result<Vec<u8>> {
    let start = at.end.checked_sub(u64::try_from(at.len)?).context("codes begin before the file")?;
    let mut codes = vec![0; at.len];
    File::open(journal)?.read_exact_at(&mut codes, start)?;
    Ok(codes)
}

/// A chunk of a state of `len` weights and as many momenta, as [`Store::put_state`] wrote it: the stage, then
/// both lists, each after its length.
fn read_chunk(path: &Path, len: u64, index: usize) -> anyhow::Result<Vec<u8>> {
    let values = usize::try_from(len)?;
    let of_each = flat::chunk_count(values);
    let (list, index) = index.checked_sub(of_each).map_or((0, index), |index| (1, index));
    let first = index.saturating_mul(flat::CHUNK_VALUES);
    let count = values.saturating_sub(first).min(flat::CHUNK_VALUES);
    if count == 0 {
        return Ok(Vec::new());
    }
    let lengths = Compact(u32::try_from(values)?).encoded_size().saturating_mul(list + 1);
    let before = list.saturating_mul(values).saturating_add(first).saturating_mul(size_of::<f32>());
    let start = Stage(0).encoded_size().saturating_add(lengths).saturating_add(before);
    let mut chunk = vec![0; count.saturating_mul(size_of::<f32>())];
    File::open(path)?.read_exact_at(&mut chunk, u64::try_from(start)?)?;
    Ok(chunk)
}

fn numbered<'a>(dir: &'a Path, prefix: &'a str) -> impl Iterator<Item = (u32, PathBuf)> + 'a {
    std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(move |file| {
        let name = file.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((number, file.path()))
    })
}

fn merged_files(dir: &Path) -> Vec<(u16, Arc<Vec<u8>>)> {
    numbered(dir, "merged-")
        .filter_map(|(number, path)| Some((u16::try_from(number).ok()?, Arc::new(std::fs::read(path).ok()?))))
        .collect()
}

fn step_files(dir: &Path) -> Vec<(u32, PathBuf)> {
    numbered(dir, "step-").collect()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
