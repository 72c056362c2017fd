//! The clock: what happens at which block without anybody calling (design.md, section 5).

use alloc::vec::Vec;
use iota_protocol::{
    hash::{hash_of, Domain},
    ids::{Epoch, Hash, RunId, Stage},
    merge::entry_set,
    params::RunParams,
    phase::{Phase, Schedule},
    seed::run_seed,
    shard::Shards as ShardMap,
    work::{Bitmap, ShardStatus},
};
use polkadot_sdk::{
    frame_support::{defensive, traits::Get, weights::Weight, BoundedVec},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::traits::SaturatedConversion,
};

use crate::{
    close::budget,
    pallet::{ActiveRuns, Clocks, Config, Event, Merges, Pallet, Runs, Seeds, Shards},
    types::{Clock, State},
    verdicts::VERDICT_EPOCHS,
    weights::{count, heaviest_close, heaviest_step, Meter, WeightInfo},
    work::chunks,
};

pub(crate) fn stages(params: &RunParams) -> impl Iterator<Item = Stage> {
    (0..params.n_stages()).map(Stage)
}

impl<T: Config> Pallet<T> {
    /// Moves every active run to the state in which this block's calls find it.
    ///
    /// One run closes in a block, so that the heaviest block is one `Close`; another that is due waits for
    /// the next block. Nothing is open to its members meanwhile, and its next epoch starts later.
    pub(crate) fn advance_runs(now: u32) -> Weight {
        let active = ActiveRuns::<T>::get();
        let mut meter = Meter::default();
        meter.add(T::WeightInfo::hook_idle(count(active.len())));
        let mut closed = false;
        for run in active {
            let (Some(params), Some(clock)) = (Runs::<T>::get(run), Clocks::<T>::get(run)) else {
                defensive!("an active run lacks parameters or clock");
                continue;
            };
            match clock.state {
                State::Waiting => Self::try_start(run, &params, clock, now, &mut meter),
                State::Running => {
                    let schedule = clock.schedule(&params);
                    if now < schedule.close() {
                        Self::step(run, &params, clock, &schedule, now, &mut meter);
                    } else if !core::mem::replace(&mut closed, true) {
                        Self::close(run, &params, clock, now, &mut meter);
                    }
                }
                State::Paused | State::Ended => {}
            }
        }
        meter.used()
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
        let (reachable, members) = Self::reachable_miners(run);
        meter.add(T::WeightInfo::hook_waiting(members));
        if reachable < wanted {
            return;
        }
        clock.state = State::Running;
        clock.start = now;
        // The parent's hash keeps the first assignment from being known when the run is made.
        let parent = Self::hash_of_block(now.saturating_sub(1));
        clock.train_seed = hash_of(Domain::Seed, &(b"start", run_seed(params), parent));
        let seed = clock.train_seed;
        clock.stage0 = Self::assign_stages(run, params, &seed, Epoch(0), now, None);
        meter.add(T::WeightInfo::hook_start(members, count(params.stages.len())));
        Self::start_epoch(run, clock);
    }

    pub(crate) fn start_epoch(run: RunId, clock: Clock) {
        Self::deposit_event(Event::EpochStarted { run, epoch: clock.epoch, start: clock.start });
        Clocks::<T>::insert(run, clock);
    }

    fn step(run: RunId, params: &RunParams, clock: Clock, schedule: &Schedule, now: u32, meter: &mut Meter) {
        if params.is_settling(clock.epoch) {
            // Only the score windows, which need no hook.
        } else if now == schedule.window(Phase::Attest).start {
            Self::extend_if_empty(run, params, clock, meter);
        } else if now == schedule.seed_block().saturating_add(1) {
            Self::fix_seed(run, clock, schedule, meter);
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
        let epoch = clock.epoch;
        let mut commits = 0usize;
        let empty = stages(params).find(|stage| {
            let found = Merges::<T>::get((run, epoch, *stage)).map_or(0, |merge| merge.commits.len());
            commits = commits.saturating_add(found);
            found == 0
        });
        meter.add(T::WeightInfo::hook_extend(count(commits), count(params.stages.len())));
        let Some(stage) = empty else { return };
        clock.extensions = clock.extensions.saturating_add(1);
        Self::deposit_event(Event::TrainExtended { run, epoch, extensions: clock.extensions, stage });
        Clocks::<T>::insert(run, clock);
    }

    fn fix_seed(run: RunId, mut clock: Clock, schedule: &Schedule, meter: &mut Meter) {
        let seed = Self::hash_of_block(schedule.seed_block());
        clock.seed = Some(seed);
        Seeds::<T>::insert((run, clock.epoch), seed);
        Self::deposit_event(Event::SeedFixed { run, epoch: clock.epoch, seed });
        Clocks::<T>::insert(run, clock);
        meter.add(T::WeightInfo::hook_seed());
    }

    fn fix_entries(run: RunId, params: &RunParams, epoch: Epoch, meter: &mut Meter) {
        let mut commits = 0usize;
        for stage in stages(params) {
            let Some(mut merge) = Merges::<T>::get((run, epoch, stage)) else { continue };
            let attested: Vec<Option<Bitmap>> = merge.commits.iter().map(|commit| commit.attested).collect();
            commits = commits.saturating_add(attested.len());
            let entries = entry_set(&attested);
            merge.entry_set = Some(entries);
            Merges::<T>::insert((run, epoch, stage), merge);
            Self::deposit_event(Event::EntriesFixed { run, epoch, stage, entries });
        }
        meter.add(T::WeightInfo::hook_entries(count(commits), count(params.stages.len())));
    }

    fn open_shards(run: RunId, params: &RunParams, clock: &Clock, meter: &mut Meter) {
        let Some(seed) = clock.seed else {
            defensive!("shards open before the seed is known");
            return;
        };
        let mut pairs = 0u32;
        for stage in stages(params) {
            let committers =
                Merges::<T>::get((run, clock.epoch, stage)).map_or(0, |merge| merge.commits.len());
            let Some(map) = ShardMap::new(&seed, stage, committers, chunks(params, stage)) else { continue };
            let missing: Vec<_> = (0..map.count()).map(|_| ShardStatus::Missing).collect();
            pairs = pairs.saturating_add(count(missing.len()));
            Shards::<T>::insert((run, clock.epoch, stage), BoundedVec::truncate_from(missing));
        }
        meter.add(T::WeightInfo::hook_shards(pairs, count(params.stages.len())));
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
        let heaviest = heaviest_close::<T>().max(heaviest_step::<T>()).ref_time();
        assert!(heaviest <= budget::<T>(), "no step of a hook may take more than a quarter of a block");
        Self::check_money_constants();
    }
}
