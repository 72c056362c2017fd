//! How much slower than natively the same block runs in wasm, here and now.
//!
//! The block is one that has something of everything: the `Close` of a run of 48 miners and 16 validators,
//! which fits into one block, by `Core_initialize_block`. Once the native runtime does it, which is what the
//! benchmarks measure, and once the blob that a node executes, from the same state on the same backend.

use std::time::Duration;

use anyhow::anyhow;
use codec::Encode;
use iota_runtime::{Executive, Header, Runtime, System};
use polkadot_sdk::{
    sc_executor::WasmExecutor,
    sp_consensus_aura::{Slot, AURA_ENGINE_ID},
    sp_core::traits::{CallContext, RuntimeCode, WrappedRuntimeCode},
    sp_externalities::Extensions,
    sp_io::{hashing::blake2_256, SubstrateHostFunctions},
    sp_runtime::{traits::Header as _, Digest, DigestItem},
    sp_state_machine::StateMachine,
    sp_storage::Storage,
};

use crate::{clock, state};

/// What was measured: medians of one block.
pub struct Factor {
    pub native: Duration,
    pub wasm: Duration,
}

impl Factor {
    /// By how many thousandths native times are taken, rounded up; at least once.
    pub fn permille(&self) -> u128 {
        let native = self.native.as_nanos().max(1);
        (self.wasm.as_nanos() * 1_000).div_ceil(native).max(1_000)
    }
}

/// Runs the block `repeats` times in both ways.
pub fn measure(blob: &[u8], repeats: u32) -> anyhow::Result<Factor> {
    let mut block = 0;
    let storage = state::after(|| {
        block = pallet_iota::benchmarking::before_close::<Runtime>();
        System::set_block_number(block - 1);
    })?;
    let digest = DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(u64::from(block)).encode());
    let header = Header::new(
        block,
        Default::default(),
        Default::default(),
        Default::default(),
        Digest { logs: vec![digest] },
    );
    let native = (0..repeats).map(|_| native(&storage, &header)).collect::<anyhow::Result<Vec<_>>>()?;
    // One executor for all: compiling the blob is no part of a block.
    let executor = WasmExecutor::<SubstrateHostFunctions>::builder().build();
    wasm(&executor, blob, &storage, &header)?;
    let wasm =
        (0..repeats).map(|_| wasm(&executor, blob, &storage, &header)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Factor { native: median(native), wasm: median(wasm) })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn native(storage: &Storage, header: &Header) -> anyhow::Result<Duration> {
    let state = state::fresh(storage, false)?;
    let from = clock::computed();
    state::on(&state, || Executive::initialize_block(header));
    Ok(clock::computed() - from)
}

fn wasm(
    executor: &WasmExecutor<SubstrateHostFunctions>,
    blob: &[u8],
    storage: &Storage,
    header: &Header,
) -> anyhow::Result<Duration> {
    let state = state::fresh(storage, false)?;
    let fetcher = WrappedRuntimeCode(blob.into());
    let code = RuntimeCode { code_fetcher: &fetcher, hash: blake2_256(blob).to_vec(), heap_pages: None };
    let (mut changes, mut extensions, input) = (Default::default(), Extensions::default(), header.encode());
    let method = "Core_initialize_block";
    let mut machine = StateMachine::new(
        &state,
        &mut changes,
        executor,
        method,
        &input,
        &mut extensions,
        &code,
        CallContext::Onchain { import: false },
    );
    let from = clock::computed();
    machine.execute().map_err(|why| anyhow!("{method} in wasm: {why}"))?;
    Ok(clock::computed() - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_rounded_up_and_at_least_one() {
        let factor =
            |native, wasm| Factor { native: Duration::from_nanos(native), wasm: Duration::from_nanos(wasm) };
        assert_eq!(factor(3, 4).permille(), 1_334);
        assert_eq!(factor(4, 3).permille(), 1_000);
    }
}
