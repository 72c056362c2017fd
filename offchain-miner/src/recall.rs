//! After a restart: what past epochs left on disk is served again, so that their audits and merges
//! find it. Nothing is trained here.

use std::sync::Arc;

use codec::{Decode, Encode};
use iota_protocol::ids::Epoch;
use iota_protocol::merge::chunk_len;
use iota_service::journal::atomic_write;

use crate::journal::EpochJournal;
use crate::serve::Past;
use crate::store::Store;

/// File in an epoch's folder that says what this miner was in it.
const FILE: &str = "past";

/// Keeps what this miner was in an epoch.
///
/// # Errors
/// When the disk is full.
pub fn keep(store: &Store, past: &Past) -> anyhow::Result<()> {
    let dir = store.dir().join(format!("epoch-{}", past.epoch));
    std::fs::create_dir_all(&dir)?;
    Ok(atomic_write(&dir.join(FILE), &past.encode())?)
}

/// Loads every epoch that is still on disk, oldest first.
#[must_use]
pub fn all(store: &Arc<Store>) -> Vec<Past> {
    let folders = std::fs::read_dir(store.dir()).into_iter().flatten().flatten();
    let mut epochs: Vec<Epoch> = folders
        .filter_map(|folder| folder.file_name().to_str()?.strip_prefix("epoch-")?.parse().ok().map(Epoch))
        .collect();
    epochs.sort_unstable();
    epochs.into_iter().filter_map(|epoch| one(store, epoch)).collect()
}

fn one(store: &Arc<Store>, epoch: Epoch) -> Option<Past> {
    let bytes = std::fs::read(store.dir().join(format!("epoch-{epoch}")).join(FILE)).ok()?;
    let past = Past::decode(&mut bytes.as_slice()).ok()?;
    store.load_commit(epoch, chunk_len(&past.params.merge));
    // Opened to learn where its codes lie.
    if let Err(error) = EpochJournal::open(store, epoch) {
        tracing::warn!(%epoch, error = %format!("{error:#}"), "journal not read; audits of the epoch will miss codes");
    }
    Some(past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::presets::run_params;
    use iota_protocol::ids::{Hash, Stage};
    use iota_protocol::params::DataParams;

    #[test]
    fn what_was_kept_is_recalled_in_order_and_strange_folders_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        let params = run_params("nano", 3, 1, 5, 2, data).unwrap();
        let past = |epoch: u32| Past {
            epoch: Epoch(epoch),
            stage: Stage(1),
            tokens: 7,
            data_base: 9,
            params: params.clone(),
        };
        for epoch in [11, 2] {
            keep(&store, &past(epoch)).unwrap();
        }
        std::fs::create_dir(dir.path().join("epoch-x")).unwrap();
        std::fs::create_dir(dir.path().join("epoch-3")).unwrap();
        assert_eq!(all(&store), [past(2), past(11)]);
    }
}
