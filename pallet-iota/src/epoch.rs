//! The clock: what happens at which block without anybody calling (design.md, section 5).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use iota_protocol::{
    emission::{carried, Settlement, Terms},
    fixed::mul_div,
    hash::{hash_of, Domain},
    ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid},
    merge::entry_set,
    params::RunParams,
    pathway::DEFAULT_WEIGHT,
    phase::{Phase, Schedule},
    position::next_base,
    seed::run_seed,
    shard::Shards as ShardMap,
    work::{counted_tokens, Bitmap, ShardStatus},
};
use polkadot_sdk::{
    frame_support::{defensive, traits::Get, weights::Weight, BoundedVec},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::traits::SaturatedConversion,
};

use crate::{
    pallet::{
        ActiveRuns, Clocks, Config, Controls, Event, Gated, Merges, Pallet, Payouts, Reports, Runs, Scores,
        Seeds, Shards, Snapshots, TotalMinted,
    },
    types::{Clock, Merge, MinerRecord, Snapshot, State, MAX_VALIDATORS},
    verdicts::VERDICT_EPOCHS,
    weights::Meter,
    work::chunks,
};

/// Members that were just paid, with the pathway weight that their pay stands for: `DEFAULT_WEIGHT`
/// for the mean pay of their stage. Pay, not reported samples, so that no claim buys traffic.
pub(crate) type PaidWork = BTreeMap<(Uid, Incarnation), u32>;
/// Members that committed in an epoch.
pub(crate) type Committers = BTreeSet<(Uid, Incarnation)>;

fn stages(params: &RunParams) -> impl Iterator<Item = Stage> {
    (0..params.n_stages()).map(Stage)
}

impl<T: Config> Pallet<T> {
    /// Moves every active run to the state in which this block's calls find it.
    pub(crate) fn advance_runs(now: u32) -> Weight {
        let mut meter = Meter::default();
        meter.read(1);
        for run in ActiveRuns::<T>::get() {
            meter.read(2);
            let (Some(params), Some(clock)) = (Runs::<T>::get(run), Clocks::<T>::get(run)) else {
                defensive!("an active run lacks parameters or clock");
                continue;
            };
            match clock.state {
                State::Waiting => Self::try_start(run, &params, clock, now, &mut meter),
                State::Running => Self::step(run, &params, clock, now, &mut meter),
                State::Paused | State::Ended => {}
            }
        }
        meter.weight::<T>()
    }

    fn hash_of_block(number: u32) -> Hash {
        let hash = frame_system::Pallet::<T>::block_hash(number.saturated_into::<BlockNumberFor<T>>());
        let mut bytes = [0u8; 32];
        for (byte, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *byte = *from;
        }
        Hash(bytes)
    }

    /// Starts epoch 0 in this block once enough miners can be reached.
    fn try_start(run: RunId, params: &RunParams, mut clock: Clock, now: u32, meter: &mut Meter) {
        let wanted = u32::from(params.start_replicas).saturating_mul(u32::from(params.n_stages()));
        if Self::reachable_miners(run, meter) < wanted {
            return;
        }
        clock.state = State::Running;
        clock.start = now;
        // The parent's hash keeps the first assignment from being known when the run is made.
        let parent = Self::hash_of_block(now.saturating_sub(1));
        clock.train_seed = hash_of(Domain::Seed, &(b"start", run_seed(params), parent));
        let seed = clock.train_seed;
        clock.stage0 = Self::assign_stages(run, params, &seed, Epoch(0), now, None, meter);
        Self::start_epoch(run, clock, meter);
    }

    fn start_epoch(run: RunId, clock: Clock, meter: &mut Meter) {
        Self::deposit_event(Event::EpochStarted { run, epoch: clock.epoch, start: clock.start });
        Clocks::<T>::insert(run, clock);
        meter.write(1);
    }

    fn step(run: RunId, params: &RunParams, clock: Clock, now: u32, meter: &mut Meter) {
        let schedule = clock.schedule(params);
        if now >= schedule.close() {
            Self::close(run, params, clock, &schedule, meter);
        } else if params.is_settling(clock.epoch) {
            // Only the score windows, which need no hook.
        } else if now == schedule.window(Phase::Attest).start {
            Self::extend_if_empty(run, params, clock, meter);
        } else if now == schedule.seed_block().saturating_add(1) {
            Self::fix_seed(run, clock, &schedule, meter);
        } else if now == schedule.window(Phase::Blind).start {
            Self::fix_entries(run, params, clock.epoch, meter);
        } else if now == schedule.window(Phase::Open).start {
            Self::open_shards(run, params, &clock, meter);
        }
    }

    /// `Train` goes on, with all commits kept, when a stage has none and extensions are left.
    fn extend_if_empty(run: RunId, params: &RunParams, mut clock: Clock, meter: &mut Meter) {
        if clock.extensions >= params.phases.max_extensions {
            return;
        }
        meter.read(params.stages.len());
        let epoch = clock.epoch;
        let empty = stages(params).find(|stage| {
            Merges::<T>::get((run, epoch, *stage)).is_none_or(|merge| merge.commits.is_empty())
        });
        let Some(stage) = empty else { return };
        clock.extensions = clock.extensions.saturating_add(1);
        Self::deposit_event(Event::TrainExtended { run, epoch, extensions: clock.extensions, stage });
        Clocks::<T>::insert(run, clock);
        meter.write(1);
    }

    fn fix_seed(run: RunId, mut clock: Clock, schedule: &Schedule, meter: &mut Meter) {
        let seed = Self::hash_of_block(schedule.seed_block());
        clock.seed = Some(seed);
        Seeds::<T>::insert((run, clock.epoch), seed);
        Self::deposit_event(Event::SeedFixed { run, epoch: clock.epoch, seed });
        Clocks::<T>::insert(run, clock);
        meter.read(1);
        meter.write(2);
    }

    fn fix_entries(run: RunId, params: &RunParams, epoch: Epoch, meter: &mut Meter) {
        for stage in stages(params) {
            let Some(mut merge) = Merges::<T>::get((run, epoch, stage)) else { continue };
            let attested: Vec<Option<Bitmap>> = merge.commits.iter().map(|commit| commit.attested).collect();
            let entries = entry_set(&attested);
            merge.entry_set = Some(entries);
            Merges::<T>::insert((run, epoch, stage), merge);
            Self::deposit_event(Event::EntriesFixed { run, epoch, stage, entries });
        }
        meter.merges(params.stages.len());
    }

    fn open_shards(run: RunId, params: &RunParams, clock: &Clock, meter: &mut Meter) {
        let Some(seed) = clock.seed else {
            defensive!("shards open before the seed is known");
            return;
        };
        for stage in stages(params) {
            let committers =
                Merges::<T>::get((run, clock.epoch, stage)).map_or(0, |merge| merge.commits.len());
            let Some(map) = ShardMap::new(&seed, stage, committers, chunks(params, stage)) else { continue };
            let missing = (0..map.count()).map(|_| ShardStatus::Missing).collect();
            Shards::<T>::insert((run, clock.epoch, stage), BoundedVec::truncate_from(missing));
        }
        meter.merges(params.stages.len());
    }

    /// The one block of `Close`: pays the epoch before, records this one, starts the next.
    fn close(run: RunId, params: &RunParams, mut clock: Clock, schedule: &Schedule, meter: &mut Meter) {
        let epoch = clock.epoch;
        if let Some(judged) = epoch.0.checked_sub(VERDICT_EPOCHS).map(Epoch) {
            Self::forget_judged(run, judged, meter);
        }
        let paid = epoch.previous().and_then(|scored| Self::pay(run, params, &mut clock, scored, meter));
        if params.is_settling(epoch) {
            Self::end(run, clock, meter);
            return;
        }
        let seed = clock.seed.unwrap_or(clock.train_seed);
        // Before the snapshot, so that validators score under the keys that they then have.
        Self::apply_swaps(run, meter);
        let committers = Self::record(run, params, &mut clock, meter);
        Self::retire_members(run, &committers, meter);
        let next = epoch.next();
        let known_before = schedule.seed_block();
        clock.stage0 = Self::assign_stages(run, params, &seed, next, known_before, paid, meter);
        Self::prune(run, params, epoch, meter);
        clock.epoch = next;
        clock.start = schedule.next_start();
        clock.extensions = 0;
        clock.train_seed = seed;
        clock.seed = None;
        meter.read(2);
        meter.write(3);
        if Self::apply_changes(run) {
            clock.state = State::Paused;
            Self::deposit_event(Event::RunPaused { run, epoch: next });
            Clocks::<T>::insert(run, clock);
        } else {
            Self::start_epoch(run, clock, meter);
        }
    }

    /// Ends everything that is still open about an epoch: held pay first, because a gate decides it.
    fn forget_judged(run: RunId, epoch: Epoch, meter: &mut Meter) {
        Self::close_evidence(run, epoch, meter);
        Self::close_verdicts(run, epoch, meter);
    }

    /// Settles `scored`; what its members were paid for, unless the epoch is void.
    fn pay(
        run: RunId,
        params: &RunParams,
        clock: &mut Clock,
        scored: Epoch,
        meter: &mut Meter,
    ) -> Option<PaidWork> {
        let snapshot = Snapshots::<T>::get((run, scored)).unwrap_or_default();
        meter.read(2);
        if let Some(void) = Self::waits_for_second_scoring(run, scored) {
            let old = Snapshots::<T>::get((run, void)).unwrap_or_default();
            let terms = Self::terms(run, void, scored, meter);
            let both = carried(&old.view(), &snapshot.view());
            Self::settle_epoch(run, params, clock, void, &both, terms, meter);
        }
        let terms = Self::terms(run, scored, scored, meter);
        let settlement = Self::settle_epoch(run, params, clock, scored, &snapshot.view(), terms, meter);
        (!settlement.void).then(|| paid_work(&snapshot, &settlement))
    }

    /// The epoch before `scored` if it was void and has not been scored a second time.
    pub(crate) fn waits_for_second_scoring(run: RunId, scored: Epoch) -> Option<Epoch> {
        let before = scored.previous()?;
        let report = Reports::<T>::get((run, before))?;
        (report.void && report.terms.scored_by == before).then_some(before)
    }

    /// What besides snapshot, rows and bonds decides how `epoch` is settled now.
    fn terms(run: RunId, epoch: Epoch, scored_by: Epoch, meter: &mut Meter) -> Terms {
        meter.read(3);
        // Transcripts are paid with the epoch whose rows they came with.
        let transcripts = if epoch == scored_by {
            Self::opened_transcripts(run, epoch, meter)
        } else {
            BoundedVec::default()
        };
        Terms {
            minted_before: TotalMinted::<T>::get(),
            share_ppm: Controls::<T>::get(run).share_ppm,
            scored_by,
            gated: Gated::<T>::get((run, epoch)),
            transcripts,
        }
    }

    fn end(run: RunId, mut clock: Clock, meter: &mut Meter) {
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
        meter.read(1);
        meter.write(2);
    }

    /// Fixes roots, counts work and keeps the snapshot of the epoch that closes.
    fn record(run: RunId, params: &RunParams, clock: &mut Clock, meter: &mut Meter) -> Committers {
        let epoch = clock.epoch;
        let mut snapshot = Snapshot::default();
        for stage in stages(params) {
            let Some(mut merge) = Merges::<T>::get((run, epoch, stage)) else { continue };
            merge.canonical_root = majority_root(&merge);
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
        snapshot.miners.sort_by_key(|miner| miner.uid);
        snapshot.validators = Self::permitted_validators(run, meter);
        let committers = snapshot.miners.iter().map(|miner| (miner.uid, miner.incarnation)).collect();
        Snapshots::<T>::insert((run, epoch), snapshot);
        meter.merges(params.stages.len());
        meter.write(1);
        committers
    }

    /// Drops what is older than the history kept.
    fn prune(run: RunId, params: &RunParams, epoch: Epoch, meter: &mut Meter) {
        if let Some(old) = epoch.0.checked_sub(T::HistoryDepth::get()).map(Epoch) {
            for stage in stages(params) {
                Merges::<T>::remove((run, old, stage));
                Shards::<T>::remove((run, old, stage));
            }
            Snapshots::<T>::remove((run, old));
            Seeds::<T>::remove((run, old));
            Self::drop_transcripts(run, old, meter);
            let removed = Scores::<T>::clear_prefix((run, old), MAX_VALIDATORS, None);
            meter.read(usize::try_from(removed.loops).unwrap_or(usize::MAX));
            let writes = params.stages.len().saturating_mul(2).saturating_add(2);
            meter.write(writes.saturating_add(usize::try_from(removed.unique).unwrap_or(usize::MAX)));
        }
        if let Some(old) = epoch.0.checked_sub(T::EpochHistory::get()).map(Epoch) {
            Reports::<T>::remove((run, old));
            Payouts::<T>::remove((run, old));
            meter.write(2);
        }
    }

    /// Relations between constants that the rules rely on.
    pub(crate) fn check_constants() {
        assert!(T::HistoryDepth::get() >= 2, "scores of an epoch are paid one epoch later");
        assert!(T::HistoryDepth::get() > VERDICT_EPOCHS, "an epoch is judged by its snapshot");
        assert!(T::AccusationDeposit::get() > 0, "an accusation without a deposit costs nothing");
        assert!(T::EpochHistory::get() >= T::HistoryDepth::get(), "reports outlive what they were made from");
        assert!(T::MaxRuns::get() >= 1, "at least one run must fit");
        assert!(T::MinValidatorBond::get() > 0, "a validator without a bond has nothing to lose");
        assert!(T::PotId::get() != T::TreasuryId::get(), "rewards and treasury must not mix");
        Self::check_money_constants();
    }
}

/// What each paid miner's pay stands for among those paid in its stage.
fn paid_work(snapshot: &Snapshot, settlement: &Settlement) -> PaidWork {
    let amounts: BTreeMap<(Uid, Incarnation), u128> =
        settlement.payouts.iter().map(|payout| ((payout.uid, payout.incarnation), payout.amount)).collect();
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
