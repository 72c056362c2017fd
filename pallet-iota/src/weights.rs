//! What calls and hooks cost: the functions that `scripts/weights` measures over a runtime, and the sum of a
//! block. A runtime brings the numbers.
//!
//! A call is charged before it runs, by the lengths of its arguments and otherwise at its worst: a full
//! run of 64 stages. A hook is charged for what it did. The parts of a `Close` are measured one by one,
//! each with everything at its largest that it does not count, so that their sum is above the whole.

use polkadot_sdk::frame_support::{traits::Get, weights::Weight};

use crate::{close::CloseStep, types::MAX_VALIDATORS, Config};
use iota_protocol::params::{MAX_MEMBERS, MAX_STAGES};

/// Weights of the calls in the order of their indices, then of the parts of hooks.
pub trait WeightInfo {
    /// With `s` stages.
    fn create_run(s: u32) -> Weight;
    /// In a full run: the lowest earner is searched, and its seat waits.
    fn register() -> Weight;
    /// In a full run that has not started: the lowest earner leaves at once.
    fn register_now() -> Weight;
    fn bond() -> Weight;
    /// With `a` addresses of full length.
    fn serve(a: u32) -> Weight;
    /// From a run that pauses, in whose last epoch everybody else gave a key up.
    fn leave() -> Weight;
    fn commit_work() -> Weight;
    fn attest() -> Weight;
    fn blind_merge() -> Weight;
    /// With `h` hashes.
    fn open_merge(h: u32) -> Weight;
    fn commit_root() -> Weight;
    fn commit_scores() -> Weight;
    /// With `e` scored miners.
    fn reveal_scores(e: u32) -> Weight;
    fn claim() -> Weight;
    fn release() -> Weight;
    fn unbond() -> Weight;
    fn withdraw() -> Weight;
    fn resume() -> Weight;
    fn swap_hotkey() -> Weight;
    fn announce_coldkey() -> Weight;
    fn cancel_coldkey() -> Weight;
    fn take_over() -> Weight;
    fn accuse() -> Weight;
    fn vote() -> Weight;
    fn request_evidence() -> Weight;
    fn answer_evidence() -> Weight;
    fn commit_transcripts() -> Weight;
    /// With `t` transcripts.
    fn submit_transcripts(t: u32) -> Weight;
    fn report_equivocation() -> Weight;
    /// With `s` stages.
    fn sponsor_run(s: u32) -> Weight;
    fn set_run_share() -> Weight;
    /// With `s` stages.
    fn schedule_params(s: u32) -> Weight;
    fn pause_run() -> Weight;
    fn resume_run() -> Weight;
    fn end_run() -> Weight;
    fn attest_root() -> Weight;
    fn vote_rollback() -> Weight;
    fn roll_back() -> Weight;

    /// A block in which none of `r` running runs has anything to do.
    fn hook_idle(r: u32) -> Weight;
    /// A run that waits, with `n` members.
    fn hook_waiting(n: u32) -> Weight;
    /// The first block of a run: `m` miners get one of `s` stages.
    fn hook_start(m: u32, s: u32) -> Weight;
    /// The first block of `Attest`, when `Train` goes on: `c` commits in `s` stages.
    fn hook_extend(c: u32, s: u32) -> Weight;
    /// The block that knows the seed.
    fn hook_seed() -> Weight;
    /// The first block of `Blind`: `c` commits in `s` stages.
    fn hook_entries(c: u32, s: u32) -> Weight;
    /// The first block of `Open`: `p` pairs in `s` stages.
    fn hook_shards(p: u32, s: u32) -> Weight;
    /// An epoch of `m` miners is settled from full rows of `v` validators, and all are paid.
    fn close_settle(m: u32, v: u32) -> Weight;
    /// Commits of `m` miners in `s` stages are recorded, with `v` validators.
    fn close_record(m: u32, s: u32, v: u32) -> Weight;
    /// `n` members are looked at and stay.
    fn close_retire(n: u32) -> Weight;
    /// `m` members get stages, `s` stages and `v` rows of an old epoch are dropped, the next starts.
    fn close_turn(m: u32, s: u32, v: u32) -> Weight;
    /// `l` members leave.
    fn close_leaving(l: u32) -> Weight;
    /// `a` newcomers take seats, or are sent away.
    fn close_arrivals(a: u32) -> Weight;
    /// `w` members change hotkeys.
    fn close_swaps(w: u32) -> Weight;
    /// Held pay of `h` members is decided.
    fn close_evidence(h: u32) -> Weight;
    /// `a` accusations end without a verdict.
    fn close_verdicts(a: u32) -> Weight;
    /// A run ends.
    fn close_end() -> Weight;
    /// Whether a run that ended is due.
    fn ended_look() -> Weight;
    /// The heaviest step in which the state of one goes: an epoch's.
    fn ended_step() -> Weight;
}

/// A tenth of a millisecond, and twenty microseconds for each unit of a length: for chains that exist only in
/// tests, where no weight is ever measured.
fn rough(lengths: &[u32]) -> Weight {
    let length = lengths.iter().fold(5u64, |sum, length| sum.saturating_add(u64::from(*length)));
    Weight::from_parts(length.saturating_mul(20_000_000), 0)
}

impl WeightInfo for () {
    fn create_run(s: u32) -> Weight {
        rough(&[s])
    }
    fn register() -> Weight {
        rough(&[MAX_MEMBERS])
    }
    fn register_now() -> Weight {
        rough(&[MAX_MEMBERS, 1])
    }
    fn bond() -> Weight {
        rough(&[])
    }
    fn serve(a: u32) -> Weight {
        rough(&[a])
    }
    fn leave() -> Weight {
        rough(&[])
    }
    fn commit_work() -> Weight {
        rough(&[])
    }
    fn attest() -> Weight {
        rough(&[])
    }
    fn blind_merge() -> Weight {
        rough(&[])
    }
    fn open_merge(h: u32) -> Weight {
        rough(&[h])
    }
    fn commit_root() -> Weight {
        rough(&[])
    }
    fn commit_scores() -> Weight {
        rough(&[])
    }
    fn reveal_scores(e: u32) -> Weight {
        rough(&[e])
    }
    fn claim() -> Weight {
        rough(&[])
    }
    fn release() -> Weight {
        rough(&[])
    }
    fn unbond() -> Weight {
        rough(&[])
    }
    fn withdraw() -> Weight {
        rough(&[])
    }
    fn resume() -> Weight {
        rough(&[])
    }
    fn swap_hotkey() -> Weight {
        rough(&[])
    }
    fn announce_coldkey() -> Weight {
        rough(&[])
    }
    fn cancel_coldkey() -> Weight {
        rough(&[])
    }
    fn take_over() -> Weight {
        rough(&[])
    }
    fn accuse() -> Weight {
        rough(&[MAX_VALIDATORS])
    }
    fn vote() -> Weight {
        rough(&[])
    }
    fn request_evidence() -> Weight {
        rough(&[])
    }
    fn answer_evidence() -> Weight {
        rough(&[])
    }
    fn commit_transcripts() -> Weight {
        rough(&[])
    }
    fn submit_transcripts(t: u32) -> Weight {
        rough(&[t])
    }
    fn report_equivocation() -> Weight {
        rough(&[])
    }
    fn sponsor_run(s: u32) -> Weight {
        rough(&[s])
    }
    fn set_run_share() -> Weight {
        rough(&[])
    }
    fn schedule_params(s: u32) -> Weight {
        rough(&[s])
    }
    fn pause_run() -> Weight {
        rough(&[])
    }
    fn resume_run() -> Weight {
        rough(&[])
    }
    fn end_run() -> Weight {
        rough(&[])
    }
    fn attest_root() -> Weight {
        rough(&[])
    }
    fn vote_rollback() -> Weight {
        rough(&[])
    }
    fn roll_back() -> Weight {
        rough(&[])
    }
    fn hook_idle(r: u32) -> Weight {
        rough(&[r])
    }
    fn hook_waiting(n: u32) -> Weight {
        rough(&[n])
    }
    fn hook_start(m: u32, s: u32) -> Weight {
        rough(&[m, s])
    }
    fn hook_extend(c: u32, s: u32) -> Weight {
        rough(&[c, s])
    }
    fn hook_seed() -> Weight {
        rough(&[])
    }
    fn hook_entries(c: u32, s: u32) -> Weight {
        rough(&[c, s])
    }
    fn hook_shards(p: u32, s: u32) -> Weight {
        rough(&[p, s])
    }
    fn close_settle(m: u32, v: u32) -> Weight {
        rough(&[m, v])
    }
    fn close_record(m: u32, s: u32, v: u32) -> Weight {
        rough(&[m, s, v])
    }
    fn close_retire(n: u32) -> Weight {
        rough(&[n])
    }
    fn close_turn(m: u32, s: u32, v: u32) -> Weight {
        rough(&[m, s, v])
    }
    fn close_leaving(l: u32) -> Weight {
        rough(&[l])
    }
    fn close_arrivals(a: u32) -> Weight {
        rough(&[a])
    }
    fn close_swaps(w: u32) -> Weight {
        rough(&[w])
    }
    fn close_evidence(h: u32) -> Weight {
        rough(&[h])
    }
    fn close_verdicts(a: u32) -> Weight {
        rough(&[a])
    }
    fn close_end() -> Weight {
        rough(&[])
    }
    fn ended_look() -> Weight {
        rough(&[])
    }
    fn ended_step() -> Weight {
        rough(&[])
    }
}

/// Counts what a hook did.
#[derive(Clone, Copy, Default)]
pub struct Meter {
    used: Weight,
}

impl Meter {
    /// One more part of known weight.
    pub fn add(&mut self, part: Weight) {
        self.used = self.used.saturating_add(part);
    }

    /// The weight of everything counted.
    #[must_use]
    pub fn used(&self) -> Weight {
        self.used
    }
}

/// A length as a component.
#[must_use]
pub fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The share of a block that hooks of this pallet may take, as a divisor: a quarter, which is what the
/// runtime keeps free of ordinary calls.
pub const SHARE_OF_BLOCK: u64 = 4;

/// The heaviest step of a `Close`: that of a full run with as many validators as score, in which as many
/// come, go, change keys, are accused and are held back as may.
#[must_use]
pub fn heaviest_close<T: Config>() -> Weight {
    let miners = MAX_MEMBERS.saturating_sub(MAX_VALIDATORS);
    let steps = CloseStep::ALL.into_iter().map(|step| step.most::<T>(MAX_STAGES, miners, MAX_VALIDATORS));
    let heaviest = steps.fold(Weight::zero(), |most, step| most.max(step));
    heaviest.saturating_add(T::WeightInfo::hook_idle(T::MaxRuns::get()))
}

/// The heaviest other block of one run: all members start, or all commits become entries and shards.
#[must_use]
pub fn heaviest_step<T: Config>() -> Weight {
    // Four full groups hold all members.
    let pairs = crate::types::MAX_SHARDS.saturating_mul(MAX_MEMBERS / iota_protocol::params::MAX_GROUP);
    let start = T::WeightInfo::hook_waiting(MAX_MEMBERS)
        .saturating_add(T::WeightInfo::hook_start(MAX_MEMBERS, MAX_STAGES));
    let steps = [
        start,
        T::WeightInfo::hook_extend(MAX_MEMBERS, MAX_STAGES),
        T::WeightInfo::hook_entries(MAX_MEMBERS, MAX_STAGES),
        T::WeightInfo::hook_shards(pairs, MAX_STAGES),
    ];
    steps.into_iter().fold(Weight::zero(), |most, step| most.max(step))
}
