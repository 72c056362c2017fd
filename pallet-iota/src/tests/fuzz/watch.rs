//! Whether a call changed anything: what it wrote to, held against what was there.
//!
//! A digest of the whole state takes a thousand times as long as a call, and was most of a step. Here every
//! write goes through a recorder that first reads what is to be overwritten; afterwards each of these keys must
//! have the value that it had, however often it was written and rolled back. What the recorder sees is all
//! that can change, since externalities have no other way to write; `fuzz` holds it against a digest now and then.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
};

use polkadot_sdk::{
    sp_core::storage::{ChildInfo, StateVersion, TrackedStorageKey},
    sp_externalities::{
        set_and_run_with_externalities, with_externalities, Error, Extension, ExtensionStore, Externalities,
        MultiRemovalResults,
    },
};

/// Keys that were written, with their values before.
type Before = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

struct Recorder<'a> {
    inner: &'a mut dyn Externalities,
    before: Before,
}

/// Does something; its result, and the keys whose values it changed.
pub fn watched<R>(act: impl FnOnce() -> R) -> (R, Vec<Vec<u8>>) {
    let run = |inner: &mut dyn Externalities| {
        let mut recorder = Recorder { inner, before: Before::new() };
        let result = set_and_run_with_externalities(&mut recorder, act);
        let Recorder { inner, before } = recorder;
        let changed = before.into_iter().filter(|(key, value)| inner.storage(key) != *value);
        (result, changed.map(|(key, _)| key).collect())
    };
    with_externalities(run).expect("tests run on a chain")
}

impl Recorder<'_> {
    fn note(&mut self, key: &[u8]) {
        if !self.before.contains_key(key) {
            let value = self.inner.storage(key);
            self.before.insert(key.to_vec(), value);
        }
    }

    fn note_prefix(&mut self, prefix: &[u8]) {
        if self.inner.exists_storage(prefix) {
            self.note(prefix);
        }
        let mut last = prefix.to_vec();
        while let Some(key) = self.inner.next_storage_key(&last).filter(|key| key.starts_with(prefix)) {
            self.note(&key);
            last = key;
        }
    }
}

/// The pallet and those beside it have one trie.
fn no_child() -> ! {
    panic!("a child trie is used, which the recorder does not see: record it as well")
}

impl Externalities for Recorder<'_> {
    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.note(&key);
        self.inner.place_storage(key, value);
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.note(&key);
        self.inner.storage_append(key, value);
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.note_prefix(prefix);
        self.inner.clear_prefix(prefix, limit, cursor)
    }

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.storage(key)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.storage_hash(key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.next_storage_key(key)
    }

    fn storage_root(&mut self, version: StateVersion) -> Vec<u8> {
        self.inner.storage_root(version)
    }

    fn storage_start_transaction(&mut self) {
        self.inner.storage_start_transaction();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.inner.storage_rollback_transaction()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.inner.storage_commit_transaction()
    }

    fn set_offchain_storage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.inner.set_offchain_storage(key, value);
    }

    fn wipe(&mut self) {
        self.inner.wipe();
    }

    fn commit(&mut self) {
        self.inner.commit();
    }

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        self.inner.read_write_count()
    }

    fn reset_read_write_count(&mut self) {
        self.inner.reset_read_write_count();
    }

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        self.inner.get_whitelist()
    }

    fn set_whitelist(&mut self, new: Vec<TrackedStorageKey>) {
        self.inner.set_whitelist(new);
    }

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        self.inner.get_read_and_written_keys()
    }

    fn child_storage_hash(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_child()
    }

    fn child_storage(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_child()
    }

    fn next_child_storage_key(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_child()
    }

    fn kill_child_storage(&mut self, _: &ChildInfo, _: Option<u32>, _: Option<&[u8]>) -> MultiRemovalResults {
        no_child()
    }

    fn clear_child_prefix(
        &mut self,
        _: &ChildInfo,
        _: &[u8],
        _: Option<u32>,
        _: Option<&[u8]>,
    ) -> MultiRemovalResults {
        no_child()
    }

    fn place_child_storage(&mut self, _: &ChildInfo, _: Vec<u8>, _: Option<Vec<u8>>) {
        no_child()
    }

    fn child_storage_root(&mut self, _: &ChildInfo, _: StateVersion) -> Vec<u8> {
        no_child()
    }
}

impl ExtensionStore for Recorder<'_> {
    fn extension_by_type_id(&mut self, type_id: TypeId) -> Option<&mut dyn Any> {
        self.inner.extension_by_type_id(type_id)
    }

    fn register_extension_with_type_id(
        &mut self,
        type_id: TypeId,
        extension: Box<dyn Extension>,
    ) -> Result<(), Error> {
        self.inner.register_extension_with_type_id(type_id, extension)
    }

    fn deregister_extension_by_type_id(&mut self, type_id: TypeId) -> Result<(), Error> {
        self.inner.deregister_extension_by_type_id(type_id)
    }
}

#[test]
fn the_recorder_names_each_key_whose_value_changed_and_no_other() {
    use polkadot_sdk::{
        frame_support::storage::{with_transaction, TransactionOutcome},
        sp_io::storage::{append, clear, clear_prefix, get, set},
        sp_runtime::DispatchError,
    };
    polkadot_sdk::sp_io::TestExternalities::default().execute_with(|| {
        ["a1", "a2", "b", "c", "d"].iter().for_each(|key| set(key.as_bytes(), &[0]));
        let ((), changed) = watched(|| {
            clear_prefix(b"a", None);
            set(b"a1", &[0]);
            set(b"b", &[7]);
            set(b"c", &[7]);
            set(b"c", &[0]);
            append(b"list", vec![1]);
            let undone: Result<(), DispatchError> = with_transaction(|| {
                clear(b"d");
                set(b"e", &[7]);
                TransactionOutcome::Rollback(Ok(()))
            });
            assert_eq!(undone, Ok(()));
        });
        assert_eq!(changed, [&b"a2"[..], b"b", b"list"]);
        assert_eq!((get(b"a2"), get(b"b"), get(b"d")), (None, Some(vec![7].into()), Some(vec![0].into())));
    });
}
