//! `Close`: pays the epoch before, records the one that ends, starts the next; in steps.
//!
//! A `Close` is a list of [`CloseStep`]s, and each leaves storage as the next finds it. In a block they run
//! until the next one, at its largest, might take the block beyond a quarter of its weight; then the cursor
//! is stored, and the next block goes on. A `Close` of an ordinary run fits into its one block. While it
//! lasts no window of the run is open, nothing of its past can be judged, and members that register, leave
//! or change keys do so for the next one.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    emission::{carried, Terms},
    fixed::mul_div,
    ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::{RunParams, MAX_MEMBERS},
    pathway::DEFAULT_WEIGHT,
    position::next_base,
    work::counted_tokens,
};
use polkadot_sdk::{
    frame_support::{traits::Get, weights::Weight, BoundedVec},
    frame_system,
};
use scale_info::TypeInfo;

use crate::{
    epoch::stages,
    keys::MAX_SWAPS,
    pallet::{
        Accusations, ActiveRuns, Checkpoints, Clocks, Closing, Config, Controls, Event, Gated, HeldPay,
        Merges, Pallet, Payouts, Reports, Scores, Seeds, Shards, Snapshots, TotalMinted,
    },
    rollback::CHECKPOINT_EPOCHS,
    seats::MAX_ARRIVALS,
    types::{Clock, Merge, MinerRecord, Payment, Snapshot, State, MAX_VALIDATORS},
    verdicts::{MAX_ACCUSATIONS, VERDICT_EPOCHS},
    weights::{count, Meter, WeightInfo, SHARE_OF_BLOCK},
};

/// Most members that leave at one `Close`, so that it stays bounded: a quarter of a run, and twice as
/// many as may take their seats.
pub const MAX_LEAVING: u32 = 64;

/// Members that were just paid, with the pathway weight that their pay stands for: `DEFAULT_WEIGHT`
/// for the mean pay of their stage. Pay, not reported samples, so that no claim buys traffic.
pub(crate) type PaidWork = BTreeMap<(Uid, Incarnation), u32>;
/// Members that committed in an epoch.
pub(crate) type Committers = BTreeSet<(Uid, Incarnation)>;

/// What is left to do of a `Close`; each step is followed by the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum CloseStep {
    /// Held pay and accusations of the epoch that can no longer be judged are decided.
    Judge,
    /// A void epoch is settled with the rows of the next.
    SettleVoid,
    /// The scored epoch is settled.
    Settle,
    /// Hotkeys change; roots, work and the snapshot of the epoch that ends are recorded.
    Record,
    /// Members leave, others take their seats.
    Retire,
    /// Stages are assigned, history is pruned, the next epoch starts.
    Turn,
    /// In place of the last three: the run ends.
    End,
}

impl CloseStep {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Judge, Self::SettleVoid, Self::Settle, Self::Record, Self::Retire, Self::Turn, Self::End];

    /// The most that this step may weigh in a run of so many stages, if so many miners and validators are
    /// settled.
    pub(crate) fn most<T: Config>(self, stages: u32, miners: u32, validators: u32) -> Weight {
        let members = MAX_MEMBERS.saturating_sub(MAX_VALIDATORS);
        let judged = T::WeightInfo::close_evidence(members)
            .saturating_add(T::WeightInfo::close_verdicts(MAX_ACCUSATIONS));
        let swaps = T::WeightInfo::close_swaps(MAX_SWAPS);
        let arrivals = T::WeightInfo::close_arrivals(MAX_ARRIVALS);
        match self {
            Self::Judge => judged,
            Self::SettleVoid | Self::Settle => T::WeightInfo::close_settle(miners, validators),
            Self::Record => {
                T::WeightInfo::close_record(members, stages, MAX_VALIDATORS).saturating_add(swaps)
            }
            Self::Retire => T::WeightInfo::close_retire(MAX_MEMBERS)
                .saturating_add(T::WeightInfo::close_leaving(MAX_LEAVING))
                .saturating_add(arrivals),
            Self::Turn => T::WeightInfo::close_turn(MAX_MEMBERS, stages, MAX_VALIDATORS),
            Self::End => judged
                .saturating_add(looked_at::<T>(MAX_ACCUSATIONS))
                .saturating_add(swaps)
                .saturating_add(arrivals)
                .saturating_add(T::WeightInfo::close_end()),
        }
    }
}

/// What it takes to see whether so many accusations are open, and whether pay is held.
fn looked_at<T: Config>(accusations: u32) -> Weight {
    <T as frame_system::Config>::DbWeight::get().reads(u64::from(accusations).saturating_add(1))
}

/// What a `Close` may take of a block, picoseconds.
pub(crate) fn budget<T: Config>() -> u64 {
    let block = <T as frame_system::Config>::BlockWeights::get().max_block.ref_time();
    block.checked_div(SHARE_OF_BLOCK).unwrap_or(0)
}

impl<T: Config> Pallet<T> {
    /// As many steps of a run's `Close` as fit into this block, and at least one.
    pub(crate) fn close(run: RunId, params: &RunParams, mut clock: Clock, now: u32, meter: &mut Meter) {
        let mut step = Closing::<T>::take(run).unwrap_or(CloseStep::Judge);
        let mut began = false;
        loop {
            let after = meter.used().saturating_add(Self::at_most(run, params, &clock, step));
            if began && after.ref_time() > budget::<T>() {
                Closing::<T>::insert(run, step);
                Clocks::<T>::insert(run, clock);
                return;
            }
            began = true;
            match Self::close_step(run, params, &mut clock, step, now, meter) {
                Some(next) => step = next,
                None => return,
            }
        }
    }

    /// The most that a step may weigh now.
    fn at_most(run: RunId, params: &RunParams, clock: &Clock, step: CloseStep) -> Weight {
        let snapshot = match step {
            CloseStep::SettleVoid | CloseStep::Settle => {
                clock.epoch.previous().and_then(|scored| Snapshots::<T>::get((run, scored)))
            }
            _ => None,
        };
        let validators = snapshot.as_ref().map_or(0, |own| own.validators.len());
        let miners = match (step, clock.epoch.previous()) {
            (CloseStep::SettleVoid, Some(scored)) => {
                let void = Self::waits_for_second_scoring(run, scored);
                void.and_then(|void| Snapshots::<T>::get((run, void))).map_or(0, |own| own.miners.len())
            }
            _ => snapshot.as_ref().map_or(0, |own| own.miners.len()),
        };
        step.most::<T>(count(params.stages.len()), count(miners), count(validators))
    }

    /// Does one step; the next one, or `None` if the `Close` is over and the clock stored.
    fn close_step(
        run: RunId,
        params: &RunParams,
        clock: &mut Clock,
        step: CloseStep,
        now: u32,
        meter: &mut Meter,
    ) -> Option<CloseStep> {
        let epoch = clock.epoch;
        // A settling epoch trained nothing that could be scored.
        let scored = epoch.previous().filter(|scored| !params.is_settling(*scored));
        match step {
            CloseStep::Judge => {
                if let Some(judged) = epoch.0.checked_sub(VERDICT_EPOCHS).map(Epoch) {
                    Self::forget_judged(run, judged, meter);
                }
                Some(CloseStep::SettleVoid)
            }
            CloseStep::SettleVoid => {
                if let Some(scored) = scored {
                    Self::settle_void(run, params, clock, scored, meter);
                }
                Some(CloseStep::Settle)
            }
            CloseStep::Settle => {
                if let Some(scored) = scored {
                    Self::settle_scored(run, params, clock, scored, meter);
                }
                Some(if params.is_settling(epoch) { CloseStep::End } else { CloseStep::Record })
            }
            CloseStep::Record => {
                // Before the snapshot, so that validators score under the keys that they then have.
                Self::apply_swaps(run, meter);
                Self::record(run, params, clock, meter);
                Some(CloseStep::Retire)
            }
            CloseStep::Retire => {
                let snapshot = Snapshots::<T>::get((run, epoch)).unwrap_or_default();
                let committers = snapshot.miners.iter().map(|miner| (miner.uid, miner.incarnation)).collect();
                Self::retire_members(run, &committers, meter);
                Some(CloseStep::Turn)
            }
            CloseStep::Turn => {
                Self::next_epoch(run, params, clock.clone(), now, meter);
                None
            }
            CloseStep::End => {
                match scored {
                    Some(last) if Self::is_undecided(run, last, meter) => {
                        Self::settle_longer(run, clock.clone(), now, meter);
                    }
                    _ => Self::end(run, clock.clone(), meter),
                }
                None
            }
        }
    }

    /// Assigns the next epoch's stages and starts it in the next block, unless the run pauses.
    pub(crate) fn next_epoch(run: RunId, params: &RunParams, mut clock: Clock, now: u32, meter: &mut Meter) {
        let (epoch, next) = (clock.epoch, clock.epoch.next());
        let seed = clock.seed.unwrap_or(clock.train_seed);
        let known_before = clock.schedule(params).seed_block();
        let paid = epoch.previous().and_then(|scored| Self::paid_for(run, scored));
        let members = count(Self::members_of(run).len());
        clock.stage0 = Self::assign_stages(run, params, &seed, next, known_before, paid);
        Self::prune(run, params, epoch);
        meter.add(T::WeightInfo::close_turn(members, count(params.stages.len()), MAX_VALIDATORS));
        clock.epoch = next;
        clock.start = now.saturating_add(1);
        clock.extensions = 0;
        clock.train_seed = seed;
        clock.seed = None;
        if Self::apply_changes(run) {
            clock.state = State::Paused;
            Self::deposit_event(Event::RunPaused { run, epoch: next });
            Clocks::<T>::insert(run, clock);
        } else {
            Self::start_epoch(run, clock);
        }
    }

    /// Ends everything that is still open about an epoch: held pay first, because a gate decides it.
    fn forget_judged(run: RunId, epoch: Epoch, meter: &mut Meter) {
        Self::close_evidence(run, epoch, meter);
        Self::close_verdicts(run, epoch, meter);
    }

    /// Settles the epoch before `scored` once more with the rows about `scored`, if it was void.
    fn settle_void(run: RunId, params: &RunParams, clock: &mut Clock, scored: Epoch, meter: &mut Meter) {
        let Some(void) = Self::waits_for_second_scoring(run, scored) else { return };
        let old = Snapshots::<T>::get((run, void)).unwrap_or_default();
        let next = Snapshots::<T>::get((run, scored)).unwrap_or_default();
        let (terms, both) = (Self::terms(run, void, scored), carried(&old.view(), &next.view()));
        meter.add(T::WeightInfo::close_settle(count(both.miners.len()), count(both.validators.len())));
        Self::settle_epoch(run, params, clock, void, &both, terms);
    }

    pub(crate) fn settle_scored(
        run: RunId,
        params: &RunParams,
        clock: &mut Clock,
        scored: Epoch,
        meter: &mut Meter,
    ) {
        let snapshot = Snapshots::<T>::get((run, scored)).unwrap_or_default();
        let (miners, validators) = (count(snapshot.miners.len()), count(snapshot.validators.len()));
        meter.add(T::WeightInfo::close_settle(miners, validators));
        let terms = Self::terms(run, scored, scored);
        Self::settle_epoch(run, params, clock, scored, &snapshot.view(), terms);
    }

    /// What the members of a settled epoch were paid for, unless it is void.
    fn paid_for(run: RunId, scored: Epoch) -> Option<PaidWork> {
        let report = Reports::<T>::get((run, scored)).filter(|report| !report.void);
        report?;
        let snapshot = Snapshots::<T>::get((run, scored)).unwrap_or_default();
        Some(paid_work(&snapshot, &Payouts::<T>::get((run, scored))))
    }

    /// The epoch before `scored` if it was void and has not been scored a second time.
    pub(crate) fn waits_for_second_scoring(run: RunId, scored: Epoch) -> Option<Epoch> {
        let before = scored.previous()?;
        let report = Reports::<T>::get((run, before))?;
        (report.void && report.terms.scored_by == before).then_some(before)
    }

    /// What besides snapshot, rows and bonds decides how `epoch` is settled now.
    pub(crate) fn terms(run: RunId, epoch: Epoch, scored_by: Epoch) -> Terms {
        // Transcripts are paid with the epoch whose rows they came with.
        let transcripts =
            if epoch == scored_by { Self::opened_transcripts(run, epoch) } else { BoundedVec::default() };
        Terms {
            minted_before: TotalMinted::<T>::get(),
            share_ppm: Controls::<T>::get(run).share_ppm,
            scored_by,
            gated: Gated::<T>::get((run, epoch)),
            transcripts,
        }
    }

    /// Whether pay of an epoch is held, or an accusation about it open.
    fn is_undecided(run: RunId, epoch: Epoch, meter: &mut Meter) -> bool {
        let mut accusations = Accusations::<T>::iter_prefix_values((run, epoch));
        let mut seen = 0u32;
        let open = accusations.any(|own| {
            seen = seen.saturating_add(1);
            own.verdict.is_none()
        });
        meter.add(looked_at::<T>(seen));
        open || HeldPay::<T>::iter_key_prefix((run, epoch)).next().is_some()
    }

    /// A second settling epoch follows the first, for what is undecided about the last epoch that trained:
    /// every epoch is judged for [`VERDICT_EPOCHS`], or silence would pay in the last one.
    fn settle_longer(run: RunId, mut clock: Clock, now: u32, meter: &mut Meter) {
        // Nothing will be merged any more, and nobody goes back.
        if let Some(old) = clock.epoch.0.checked_sub(CHECKPOINT_EPOCHS).map(Epoch) {
            Checkpoints::<T>::remove((run, old));
        }
        clock.epoch = clock.epoch.next();
        clock.start = now.saturating_add(1);
        clock.extensions = 0;
        clock.seed = None;
        Self::start_epoch(run, clock);
        meter.add(T::WeightInfo::close_end());
    }

    pub(crate) fn end(run: RunId, mut clock: Clock, meter: &mut Meter) {
        if let Some(last) = clock.epoch.previous() {
            Self::forget_judged(run, last, meter);
        }
        Self::release_run(run);
        clock.state = State::Ended;
        Clocks::<T>::insert(run, clock);
        ActiveRuns::<T>::mutate(|active| active.retain(|other| *other != run));
        Self::drop_arrivals(run, meter);
        Self::apply_swaps(run, meter);
        Self::deposit_event(Event::RunEnded { run });
        Self::enqueue_ended(run, Self::now());
        meter.add(T::WeightInfo::close_end());
    }

    /// Fixes roots, counts work and keeps checkpoint and snapshot of the epoch that closes.
    pub(crate) fn record(run: RunId, params: &RunParams, clock: &mut Clock, meter: &mut Meter) {
        let epoch = clock.epoch;
        let mut snapshot = Snapshot::default();
        let back = Self::take_rollback(run);
        for stage in stages(params) {
            let attested = Self::take_attested(run, stage);
            let place = usize::from(stage.0);
            let earlier = back.as_ref().and_then(|(_, own)| own.roots.get(place).copied());
            let Some(mut merge) =
                Merges::<T>::get((run, epoch, stage)).or_else(|| earlier.map(|_| Merge::default()))
            else {
                continue;
            };
            merge.canonical_root = earlier.or(attested).or_else(|| majority_root(&merge));
            Self::deposit_event(Event::RootFixed { run, epoch, stage, root: merge.canonical_root });
            if stage == Stage(0) {
                count_work(params, clock, &merge);
            }
            for commit in &merge.commits {
                // Fits: a uid has one stage, and no more uids exist than there is room for.
                let _ = snapshot.miners.try_push(MinerRecord {
                    uid: commit.uid,
                    incarnation: commit.incarnation,
                    stage,
                    coldkey: commit.coldkey,
                    samples: commit.work.samples,
                });
            }
            Merges::<T>::insert((run, epoch, stage), merge);
        }
        if let Some((to, checkpoint)) = &back {
            Self::go_back(run, clock, *to, checkpoint);
        }
        Self::keep_checkpoint(run, params, clock);
        snapshot.miners.sort_by_key(|miner| miner.uid);
        snapshot.validators = Self::permitted_validators(run);
        let (miners, validators) = (count(snapshot.miners.len()), count(snapshot.validators.len()));
        meter.add(T::WeightInfo::close_record(miners, count(params.stages.len()), validators));
        Snapshots::<T>::insert((run, epoch), snapshot);
    }

    /// Drops what is older than the history kept.
    fn prune(run: RunId, params: &RunParams, epoch: Epoch) {
        if let Some(old) = epoch.0.checked_sub(T::HistoryDepth::get()).map(Epoch) {
            for stage in stages(params) {
                Merges::<T>::remove((run, old, stage));
                Shards::<T>::remove((run, old, stage));
            }
            Snapshots::<T>::remove((run, old));
            Seeds::<T>::remove((run, old));
            Self::drop_transcripts(run, old);
            // All fit one pass: no more validators have a permit.
            let _ = Scores::<T>::clear_prefix((run, old), MAX_VALIDATORS, None);
        }
        if let Some(old) = epoch.0.checked_sub(T::EpochHistory::get()).map(Epoch) {
            Reports::<T>::remove((run, old));
            Payouts::<T>::remove((run, old));
        }
    }
}

/// What each paid miner's pay stands for among those paid in its stage.
fn paid_work(snapshot: &Snapshot, payments: &[Payment]) -> PaidWork {
    let amounts: BTreeMap<(Uid, Incarnation), u128> =
        payments.iter().map(|payment| ((payment.uid, payment.incarnation), payment.amount)).collect();
    let mut by_stage = BTreeMap::<Stage, Vec<((Uid, Incarnation), u128)>>::new();
    for miner in &snapshot.miners {
        let member = (miner.uid, miner.incarnation);
        if let Some(amount) = amounts.get(&member) {
            by_stage.entry(miner.stage).or_default().push((member, *amount));
        }
    }
    by_stage.into_values().flat_map(|paid| shares_of_pay(&paid)).collect()
}

/// `DEFAULT_WEIGHT` times each amount over the mean amount, rounded down.
fn shares_of_pay(paid: &[((Uid, Incarnation), u128)]) -> PaidWork {
    let total = paid.iter().fold(0u128, |sum, (_, amount)| sum.saturating_add(*amount));
    let count = u128::try_from(paid.len()).unwrap_or(u128::MAX);
    let all = count.saturating_mul(u128::from(DEFAULT_WEIGHT));
    let weight = |amount| mul_div(all, amount, total).unwrap_or(0);
    paid.iter()
        .map(|(member, amount)| (*member, u32::try_from(weight(*amount)).unwrap_or(u32::MAX)))
        .collect()
}

/// The root reported by more than half of the committers.
fn majority_root(merge: &Merge) -> Option<Hash> {
    let mut votes = BTreeMap::<Hash, usize>::new();
    for root in merge.commits.iter().filter_map(|commit| commit.root) {
        let count = votes.entry(root).or_default();
        *count = count.saturating_add(1);
    }
    votes.into_iter().find(|(_, count)| count.saturating_mul(2) > merge.commits.len()).map(|(root, _)| root)
}

/// Adds the stage-0 commits to tokens and data positions.
fn count_work(params: &RunParams, clock: &mut Clock, merge: &Merge) {
    let started: Vec<u32> = merge.commits.iter().map(|commit| commit.work.started).collect();
    clock.data_base = next_base(clock.data_base, clock.stage0, &started);
    let samples: Vec<u32> = merge.commits.iter().map(|commit| commit.work.samples).collect();
    let tokens = counted_tokens(&samples, params.tokens_per_sample());
    clock.tokens = clock.tokens.saturating_add(tokens);
}
