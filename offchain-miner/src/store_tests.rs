//! What the store gives back, before and after a restart.

use super::*;

const EPOCH: Epoch = Epoch(5);

const CHUNK: usize = 20;

fn bytes() -> EntryBytes {
    EntryBytes { bytes: (0..7u8).flat_map(|n| [n; CHUNK]).collect(), chunk_len: CHUNK }
}

fn entry() -> EntryChunks {
    EntryChunks::new(bytes())
}

fn outer(value: f32) -> OuterState {
    OuterState { weights: vec![value; 40], momentum: vec![0.5; 40], merges: 2, tokens: 9 }
}

fn opened() -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn begin(store: &Store, epoch: Epoch) {
    std::fs::create_dir_all(store.epoch_dir(epoch)).unwrap();
}

#[test]
fn every_range_of_an_entry_stands_under_its_root() {
    let entry = entry();
    let total = 7;
    for first in 0..total {
        for count in 1..=total - first {
            let (range, proof) = entry.range(first, count).unwrap();
            assert_eq!(range, &bytes().bytes[first * CHUNK..(first + count) * CHUNK]);
            let leaves = merkle::leaves(range, CHUNK);
            assert!(proof.verify(&entry.root(), total, first, &leaves), "{first}+{count}");
            assert!(
                !proof.verify(&entry.root(), total, (first + 1) % total, &leaves),
                "{first}+{count} moved"
            );
        }
        assert!(entry.range(first, total - first + 1).is_none(), "past the end");
    }
    assert!(entry.range(usize::MAX, 2).is_none());
}

#[test]
fn a_range_of_changed_chunks_does_not_stand() {
    let entry = entry();
    let (range, proof) = entry.range(2, 3).unwrap();
    let mut range = range.to_vec();
    range[CHUNK] ^= 1;
    assert!(!proof.verify(&entry.root(), 7, 2, &merkle::leaves(&range, CHUNK)));
}

#[test]
fn a_held_range_is_found_by_author_and_start_only() {
    let (_dir, store) = opened();
    let entry = entry();
    let (range, proof) = entry.range(2, 3).unwrap();
    store.put_held(EPOCH, Uid(4), 2, HeldRange { count: 3, bytes: range.to_vec(), proof });
    assert_eq!(store.held(EPOCH, Uid(4), 2).unwrap().bytes, range);
    assert!(store.held(EPOCH, Uid(4), 3).is_none());
    assert!(store.held(EPOCH, Uid(5), 2).is_none());
    assert!(store.held(EPOCH.next(), Uid(4), 2).is_none());
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (dir, store) = opened();
    begin(&store, EPOCH);
    let root = store.put_commit(EPOCH, vec![1, 2], vec![3], bytes()).unwrap();
    store.put_merged(EPOCH, 6, Arc::new(vec![7; 9])).unwrap();
    for version in [0, 16, 32] {
        store.put_step(EPOCH, version, &version.to_le_bytes()).unwrap();
    }
    store.put_state(EPOCH, Stage(1), outer(1.0)).unwrap();
    drop(store);

    let again = Store::open(dir.path()).unwrap();
    assert!(again.receipts(EPOCH).is_none(), "nothing is read before it is asked for");
    again.load_commit(EPOCH, CHUNK);
    assert_eq!(*again.receipts(EPOCH).unwrap(), [1, 2]);
    assert_eq!(*again.log(EPOCH).unwrap(), [3]);
    assert_eq!((again.entry(EPOCH).unwrap().root(), root), (entry().root(), entry().root()));
    assert_eq!(*again.merged(EPOCH, 6).unwrap(), [7; 9]);
    assert!(again.merged(EPOCH, 5).is_none());
    for (asked, kept) in [(0, 0u32), (15, 0), (16, 16), (100, 32)] {
        let path = again.step_at_or_before(EPOCH, asked).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), kept.to_le_bytes(), "asked for {asked}");
    }
    let state = again.state(EPOCH).unwrap();
    assert_eq!((state.stage, &state.outer), (Stage(1), &outer(1.0)));
    assert_eq!(state.manifest.root(), outer(1.0).root());
}

fn forget(store: &Store, epoch: u32) {
    store.forget(Moment { epoch, now: std::time::SystemTime::now(), keep: std::time::Duration::MAX });
}

#[test]
fn three_epochs_are_kept_and_all_older_ones_go() {
    let (dir, store) = opened();
    for epoch in 1..=6 {
        begin(&store, Epoch(epoch));
        store.put_codes(Epoch(epoch), Hash([1; 32]), vec![1]);
        store.put_state(Epoch(epoch), Stage(0), outer(2.0)).unwrap();
    }
    forget(&store, 2);
    assert!(store.codes(Epoch(1), &Hash([1; 32])).is_some(), "epoch 2 keeps everything from epoch 0 on");
    // Epochs 3 to 5 were slept through: what 1 to 3 left goes with what 3 left.
    forget(&store, 6);
    for epoch in 1..=6 {
        let kept = epoch > 3;
        assert_eq!(store.codes(Epoch(epoch), &Hash([1; 32])).is_some(), kept, "codes of epoch {epoch}");
        assert_eq!(store.state(Epoch(epoch)).is_some(), kept, "state of epoch {epoch}");
        assert_eq!(dir.path().join(format!("epoch-{epoch}")).exists(), kept, "folder of epoch {epoch}");
    }
}

#[test]
fn a_damaged_file_is_as_good_as_none() {
    let (dir, store) = opened();
    begin(&store, EPOCH);
    store.put_commit(EPOCH, vec![1], vec![2], bytes()).unwrap();
    let path = dir.path().join("epoch-5").join("entry");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(dir.path().join("state-5"), [1, 2, 3]).unwrap();
    let again = Store::open(dir.path()).unwrap();
    again.load_commit(EPOCH, CHUNK);
    assert!(again.entry(EPOCH).is_none());
    assert!(again.state(EPOCH).is_none());
    assert_eq!(*again.log(EPOCH).unwrap(), [2]);
}

#[test]
fn a_store_that_spares_memory_holds_the_newest_state_and_serves_the_others_from_disk() {
    let (_dir, store) = opened();
    store.spare_memory();
    for epoch in 1..=4 {
        store.put_state(Epoch(epoch), Stage(1), outer(f32::from(u8::try_from(epoch).unwrap()))).unwrap();
    }
    let held = |store: &Store| store.inner().states.keys().copied().collect::<Vec<_>>();
    assert_eq!(held(&store), [Epoch(4)]);
    assert_eq!(store.state(Epoch(2)).unwrap().outer.weights, outer(2.0).weights, "read from disk");
    assert_eq!(held(&store), [Epoch(4)]);
    assert_eq!(store.manifest(Epoch(3)).unwrap().1, outer(3.0).manifest());
    assert_eq!(held(&store), [Epoch(4)]);
}

/// Sizes around a chunk's, so that lengths before the lists have one, two and four bytes.
#[test]
fn chunks_of_old_states_are_read_from_their_places_and_hashed_once() {
    let values = [3, 100, flat::CHUNK_VALUES, 2 * flat::CHUNK_VALUES + 7];
    for len in values {
        let (dir, store) = opened();
        store.spare_memory();
        let old = OuterState {
            weights: (0..len).map(|n| n as f32).collect(),
            momentum: (0..len).map(|n| -(n as f32)).collect(),
            merges: 2,
            tokens: 9,
        };
        store.put_state(Epoch(1), Stage(1), old.clone()).unwrap();
        store.put_state(Epoch(2), Stage(1), outer(1.0)).unwrap();
        let manifest = store.manifest(Epoch(1)).unwrap();
        for index in 0..=manifest.1.chunk_hashes.len() {
            assert_eq!(store.state_chunk(Epoch(1), Stage(1), index), Some(old.chunk(index)), "{len} {index}");
        }
        assert_eq!(store.state_chunk(Epoch(1), Stage(0), 0), None, "another stage");
        // After a restart the first question reads and hashes; the second is answered from what is kept.
        let again = Store::open(dir.path()).unwrap();
        again.spare_memory();
        again.state(Epoch(2)).unwrap();
        assert!(!again.inner().manifests.contains_key(&Epoch(1)));
        assert_eq!(again.manifest(Epoch(1)).unwrap().1, old.manifest());
        assert!(
            again.inner().manifests.contains_key(&Epoch(1)) && !again.inner().states.contains_key(&Epoch(1))
        );
        assert_eq!(again.state_chunk(Epoch(1), Stage(1), 0), Some(old.chunk(0)));
    }
}
