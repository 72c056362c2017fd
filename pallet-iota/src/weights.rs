//! Weights of calls and hooks, estimated by hand from storage reads, writes and hashing.
//!
//! Benchmarks are later work; until then the numbers err on the high side: every value is counted
//! at its largest encoding.

use polkadot_sdk::frame_support::{traits::Get, weights::Weight};

use crate::Config;

/// Verifying one signature, picoseconds: sr25519 in wasm takes about 60 µs, taken twice.
const SIGNATURE_PS: u64 = 120_000_000;
/// Hashing and comparing one KiB, picoseconds: BLAKE3 in wasm without SIMD, taken twice.
const KIB_PS: u64 = 4_000_000;
/// One step of consensus or assignment over one pair, picoseconds: a few 128-bit operations.
const STEP_PS: u64 = 500_000;

/// Largest encoded `RunParams`, KiB: 64 stages of 16 bytes and 200 bytes more.
const PARAMS_KIB: u64 = 2;
/// Largest encoded `Merge`, KiB: 64 commits of 220 bytes.
const MERGE_KIB: u64 = 14;
/// Largest encoded `Shards`, KiB: 2,016 statuses of 65 bytes.
const SHARDS_KIB: u64 = 129;
/// Largest encoded `Snapshot`, KiB: 256 miners of 44 bytes and 64 validators of 86 bytes.
const SNAPSHOT_KIB: u64 = 17;
/// Largest encoded row of bonds, KiB: 256 bonds of 10 bytes.
const SUPPORT_KIB: u64 = 3;
/// Largest encoded score row, KiB: 256 entries of 8 bytes.
const ROW_KIB: u64 = 3;

/// Counts what a hook did, so that it returns the weight of that and not of the worst case.
#[derive(Clone, Copy, Default)]
pub struct Meter {
    reads: u64,
    writes: u64,
    kib: u64,
    steps: u64,
}

impl Meter {
    /// `n` more reads.
    pub fn read(&mut self, n: usize) {
        self.reads = self.reads.saturating_add(count(n));
    }

    /// `n` more writes.
    pub fn write(&mut self, n: usize) {
        self.writes = self.writes.saturating_add(count(n));
    }

    /// `n` more steps of a rule.
    pub fn steps(&mut self, n: usize) {
        self.steps = self.steps.saturating_add(count(n));
    }

    /// `n` more merges read and written whole.
    pub fn merges(&mut self, n: usize) {
        self.read(n);
        self.write(n);
        self.kib = self.kib.saturating_add(MERGE_KIB.saturating_mul(count(n)));
    }

    /// `n` more rows of bonds read and written whole.
    pub fn supports(&mut self, n: usize) {
        self.read(n);
        self.write(n);
        self.kib = self.kib.saturating_add(SUPPORT_KIB.saturating_mul(count(n)));
    }

    /// The weight of everything counted.
    #[must_use]
    pub fn weight<T: Config>(&self) -> Weight {
        let compute = KIB_PS.saturating_mul(self.kib).saturating_add(STEP_PS.saturating_mul(self.steps));
        let proof = self.kib.saturating_add(self.reads).saturating_mul(1024);
        T::DbWeight::get()
            .reads_writes(self.reads, self.writes)
            .saturating_add(Weight::from_parts(compute, proof))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn call<T: Config>(reads: u64, writes: u64, kib: u64, signatures: u64) -> Weight {
    let compute = KIB_PS.saturating_mul(kib).saturating_add(SIGNATURE_PS.saturating_mul(signatures));
    T::DbWeight::get()
        .reads_writes(reads, writes)
        .saturating_add(Weight::from_parts(compute, kib.saturating_mul(1024)))
}

/// Active runs, next id; writes those and parameters and clock.
#[must_use]
pub fn create_run<T: Config>() -> Weight {
    call::<T>(2, 4, PARAMS_KIB, 0)
}

/// Largest encoded `Member`, bytes, over 1024: 256 of them are read when a run is full.
const MEMBERS_KIB: u64 = 64;

/// Run, clock, uid maps, arrivals, swaps, price, mean pay, two accounts, holds and, in a full run,
/// all 256 members; writes the newcomer with its indices and who makes room for it.
#[must_use]
pub fn register<T: Config>() -> Weight {
    call::<T>(18 + 256, 18, PARAMS_KIB.saturating_add(MEMBERS_KIB), 1)
}

/// Member, account, holds.
#[must_use]
pub fn bond<T: Config>() -> Weight {
    call::<T>(4, 3, 1, 0)
}

/// Clock, uid, member, endpoint; checked twice, once to see whether it is free.
#[must_use]
pub fn serve<T: Config>() -> Weight {
    call::<T>(4, 2, 1, 2)
}

/// Clock, member and, before the run starts, its indices, account, vesting and unbonding.
#[must_use]
pub fn leave<T: Config>() -> Weight {
    call::<T>(10, 9, PARAMS_KIB.saturating_add(VESTING_KIB), 0)
}

/// Run, clock, uid, member, merge; checked twice, once to see whether it is free.
#[must_use]
pub fn merge_call<T: Config>() -> Weight {
    call::<T>(6, 1, MERGE_KIB.saturating_add(PARAMS_KIB).saturating_mul(2), 0)
}

/// As `merge_call`, with the shards.
#[must_use]
pub fn open_merge<T: Config>() -> Weight {
    call::<T>(7, 2, MERGE_KIB.saturating_add(PARAMS_KIB).saturating_add(SHARDS_KIB).saturating_mul(2), 0)
}

/// Run, clock, uid, member, snapshot, score.
#[must_use]
pub fn commit_scores<T: Config>() -> Weight {
    call::<T>(6, 1, SNAPSHOT_KIB.saturating_add(PARAMS_KIB).saturating_mul(2), 0)
}

/// Run, clock, snapshot, score; the row is hashed twice, once to see whether it is free.
#[must_use]
pub fn reveal_scores<T: Config>() -> Weight {
    call::<T>(5, 1, SNAPSHOT_KIB.saturating_add(PARAMS_KIB).saturating_add(ROW_KIB).saturating_mul(2), 0)
}

/// Run, clock, member, snapshot, account and holds twice, the accusations of the epoch.
#[must_use]
pub fn accuse<T: Config>() -> Weight {
    let accusations = u64::from(crate::verdicts::MAX_ACCUSATIONS);
    call::<T>(accusations.saturating_add(8), 6, SNAPSHOT_KIB.saturating_add(PARAMS_KIB), 0)
}

/// Run, clock, member, snapshot, request, held pay.
#[must_use]
pub fn evidence<T: Config>() -> Weight {
    call::<T>(9, 1, SNAPSHOT_KIB.saturating_add(PARAMS_KIB).saturating_mul(2), 0)
}

/// Run, clock, member, gates; two signatures.
#[must_use]
pub fn report_equivocation<T: Config>() -> Weight {
    call::<T>(4, 1, PARAMS_KIB, 2)
}

/// Parameters, clock, controls of every active run, an account; parameters twice where they change.
#[must_use]
pub fn change_run<T: Config>() -> Weight {
    let runs = u64::from(T::MaxRuns::get());
    call::<T>(runs.saturating_add(8), 7, PARAMS_KIB.saturating_mul(3), 0)
}

/// Rewards, sum, two accounts.
#[must_use]
pub fn claim<T: Config>() -> Weight {
    call::<T>(4, 4, 1, 0)
}

/// Largest encoded `Vesting`, KiB: 64 tranches of 16 bytes and 60 bytes more.
const VESTING_KIB: u64 = 2;

/// Run, clock, vesting, rewards, account and holds; writes the last four.
#[must_use]
pub fn release<T: Config>() -> Weight {
    call::<T>(6, 4, PARAMS_KIB.saturating_add(VESTING_KIB), 0)
}

/// Clock, member, unbonding.
#[must_use]
pub fn unbond<T: Config>() -> Weight {
    call::<T>(3, 2, 1, 0)
}

/// Unbonding, account, holds.
#[must_use]
pub fn withdraw<T: Config>() -> Weight {
    call::<T>(3, 3, 1, 0)
}

/// Clock, uid, member; checked twice, once to see whether it is free.
#[must_use]
pub fn resume<T: Config>() -> Weight {
    call::<T>(3, 1, 1, 0)
}

/// Clock, member, uid, arrivals, swaps, two accounts; before the start the member's indices too.
#[must_use]
pub fn swap_hotkey<T: Config>() -> Weight {
    call::<T>(8, 7, 8, 1)
}

/// Clock, member, announcement.
#[must_use]
pub fn announce_coldkey<T: Config>() -> Weight {
    call::<T>(3, 1, 1, 0)
}

/// Clock, member, announcement, vesting, two accounts and their holds.
#[must_use]
pub fn take_over<T: Config>() -> Weight {
    call::<T>(8, 7, VESTING_KIB, 0)
}
