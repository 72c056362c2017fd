//! States to measure on: a trie in memory without a cache, which counts if it is asked to.

use anyhow::anyhow;
use iota_runtime::Runtime;
use polkadot_sdk::{
    sc_client_db::bench::BenchmarkingState,
    sp_externalities::{set_and_run_with_externalities, Extensions},
    sp_genesis_builder::{runtime_decl_for_genesis_builder::GenesisBuilder, DEV_RUNTIME_PRESET},
    sp_io::{self, TestExternalities},
    sp_keystore::{testing::MemoryKeystore, KeystoreExt},
    sp_runtime::traits::BlakeTwo256,
    sp_state_machine::{Ext, OverlayedChanges},
    sp_storage::Storage,
};
use serde_json::Value;

/// A state that can be brought back to where it began.
pub type State = BenchmarkingState<BlakeTwo256>;

/// A state that begins with `storage`; with `counting` it notes every key and builds proofs.
pub fn fresh(storage: &Storage, counting: bool) -> anyhow::Result<State> {
    State::new(storage.clone(), None, counting, counting).map_err(|why| anyhow!("no state: {why}"))
}

/// Runs `work` on a state, with a keystore in which benchmarks make keys.
pub fn on<R>(state: &State, work: impl FnOnce() -> R) -> R {
    let mut changes = OverlayedChanges::default();
    let mut extensions = Extensions::default();
    extensions.register(KeystoreExt::new(MemoryKeystore::new()));
    let mut externalities = Ext::new(&mut changes, state, Some(&mut extensions));
    set_and_run_with_externalities(&mut externalities, work)
}

/// The state after `work` on the genesis of the development preset.
pub fn after(work: impl FnOnce()) -> anyhow::Result<Storage> {
    let mut externalities = TestExternalities::new_empty();
    externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
    externalities.execute_with(|| {
        let parse = |bytes: Option<Vec<u8>>| serde_json::from_slice::<Value>(&bytes.unwrap_or_default());
        let mut whole = parse(Runtime::get_preset(&None))?;
        merge(&mut whole, parse(Runtime::get_preset(&Some(DEV_RUNTIME_PRESET.into())))?);
        Runtime::build_state(serde_json::to_vec(&whole)?).map_err(|why| anyhow!("no genesis: {why}"))?;
        work();
        Ok(everything())
    })
}

fn everything() -> Storage {
    let mut storage = Storage::default();
    let mut key = Vec::new();
    while let Some(next) = sp_io::storage::next_key(&key) {
        let value = sp_io::storage::get(&next).unwrap_or_default().to_vec();
        storage.top.insert(next.clone(), value);
        key = next;
    }
    storage
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
