//! Bytes that this miner sent at each stage boundary: hops, acknowledgements, repeats.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use iota_service::journal::atomic_write;

/// File in the data folder; read back at start, so that a restart goes on counting.
const FILE: &str = "wire.json";

/// A counter per boundary; boundary `k` lies between stages `k` and `k + 1`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WireMeter(Arc<Mutex<BTreeMap<u16, u64>>>);

impl WireMeter {
    /// Goes on from the file, if there is one.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let known = std::fs::read(dir.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self(Arc::new(Mutex::new(known.unwrap_or_default())))
    }

    /// Adds a message.
    pub fn add(&self, boundary: u16, bytes: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(boundary).or_default();
        *count = count.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Bytes so far, by boundary.
    #[must_use]
    pub fn totals(&self) -> Vec<(u16, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(boundary, bytes)| (*boundary, *bytes)).collect()
    }

    /// Writes the counts.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        atomic_write(&dir.join(FILE), &serde_json::to_vec(&counts)?).context("writing the wire counts")
    }
}
