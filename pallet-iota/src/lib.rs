//! IOTA's on-chain rules: who is a member, which window of which epoch is open, what members
//! committed, and who is paid.
//!
//! The pallet sees roots, counters, bitmaps and scores, never a tensor. Everything that two parties
//! must agree on is computed by `iota-protocol`; this crate stores, checks and pays. What FRAME wants in
//! one module is in `sections`, a file each: configuration, storage, genesis, events, errors and calls, which
//! are thin. Their bodies are in `membership`, `seats`, `bonds`, `keys`, `work`, `scores`,
//! [`verdicts`], [`evidence`], [`transcripts`], [`rollback`] and [`runs`], the clock is in `epoch` and
//! [`close`], money in `rewards` and `vesting`. Every body checks first and writes then, or writes in a
//! storage layer of its own: refused, it has changed nothing, also where FRAME takes nothing back.
//!
//! To read it as a specification: this page, [`pallet::Call`] with who may send what when, [`pallet::Error`],
//! [`pallet::Event`], the storage items of [`pallet`], and `invariants` for what always holds.
//!
//! # Membership and money
//!
//! **Price.** A registration burns a price that halves every `half_life` blocks and rises by
//! `bump_ppm` with each registration, between a least and a greatest, computed when asked
//! (`iota_protocol::price`). The caller names the most that it would pay. One price serves all runs.
//!
//! **Seats.** A run has 256. Who registers in a full one takes the seat of the lowest earner that is
//! not immune, at the next `Close`; all immune, or 32 newcomers waiting, is `RunFull` before anything
//! is charged. `next_to_prune` shows whose turn it is. The newcomer has a new incarnation and inherits
//! nothing; who leaves keeps what it was paid, what vests, and the pay of its last epoch.
//!
//! **Bonds.** Holds on the coldkey. What is unbonded counts no longer and is free after `UnbondDelay`
//! blocks. A validator that misses `MaxMissedReveals` reveals in a row has no permit until its hotkey
//! calls `resume`; so a vanished majority of stake voids that many epochs and no more.
//!
//! **Vesting.** Miners' pay vests in equal parts over the `VestEpochs` epochs after it was credited.
//! A newcomer to a run that pays holds half of that many epochs' mean pay from the start. Who is found
//! guilty forfeits both to the treasury ([`Pallet::forfeit`]). `integrity_test` holds
//! `MinAuditRate * (1 + VestEpochs / 2) > 1`.
//!
//! **Claims.** Anybody may `claim` for an account and `release` what has vested of a member; the owner
//! receives. The member's next pay releases too.
//!
//! **Keys.** A hotkey changes at the next `Close`, with the new key's consent, and no more often than
//! every `SwapCooldown` blocks. A coldkey changes `ColdkeyDelay` blocks after its announcement, when the
//! new owner takes over; until then the old one may cancel.
//!
//! # An epoch
//!
//! **Windows.** A run in training goes through epochs, each a sequence of windows whose lengths in blocks are
//! the run's parameters (`iota_protocol::phase::Schedule`): `Train`, `Commit`, `Attest`, `Blind`, `Open`,
//! `Root`, and `Close`, one block or as many as its steps need. No timer lives anywhere else: a window is open
//! where the block number says so, and its first block is open already. A call names its epoch, and is refused in
//! any other (`WrongEpoch`) and in any other window (`WrongPhase`). Work of epoch e is scored in the first
//! blocks of e + 1, in two windows that do not overlap, and settled at the `Close` of e + 1. After the last
//! epoch that trains comes a settling one, of the two score windows and `Close` alone.
//!
//! **Extension.** Where a stage has no commit at the end of `Commit`, `Train` and `Commit` come once more, as
//! often as `max_extensions` allows; what was committed stays. Then the epoch goes on without that stage.
//!
//! **Seed.** The hash of a block shortly after `Commit` (`Schedule::seed_block`) is the epoch's seed: unknown
//! while work is committed, known while entries are attested. It draws the shards' owners and the next epoch's
//! assignment. Its block's author may withhold the block and so draw once more: that is all that chance on
//! this chain can be bent, there is no other randomness.
//!
//! **Assignment.** At `Close` miners keep their stages, and newcomers that could be reached before the seed's
//! block go where replicas are fewest, as far as there is room (`iota_protocol::assignment::assign`); an empty
//! stage takes one from the fullest. Who misses two epochs' commits loses its stage until it serves again. A
//! miner's weight, its part of the traffic, moves towards its pay by a quarter of itself at most.
//!
//! **Merge.** In `Commit` a miner commits once to everything that it did: roots of entries, log and receipts,
//! and two counts within the run's bounds. Committers of a stage, at most 64, stand in uid order. In `Attest` each
//! names, as a bitmap, the entries that it holds and has verified, its own among them; what owners of two thirds
//! hold is the entry set. Two committers own each shard, one for each unordered pair; a lone one owns
//! the only shard. In `Blind` an owner commits to the hashes of all its shards, in `Open` it shows them: they are
//! exactly its shards in ascending order, or the opening is refused. A shard is then missing, opened by one,
//! agreed, or differs (`iota_protocol::work::ShardStatus`). The **agreement matrix** of a stage says so for each
//! pair ([`Pallet::agreement`]); it is kept for `HistoryDepth` epochs. In `Root` committers report the
//! state that they reached.
//!
//! # Scores, consensus, verdicts, runs
//!
//! **Commit and reveal.** A permitted validator of an epoch commits to one hash in the first window of the
//! next and anybody reveals its row in the second (`iota_protocol::work::scores_hash`: chain, run, author,
//! incarnation, epoch, entries, salt and report root under a domain tag). Entries ascend by uid and name
//! incarnations of that epoch. Early, late, copied and replayed reveals have errors of their own.
//!
//! **Consensus** is `iota_protocol::emission::settle` at the next `Close`, from the snapshot, the rows, the
//! bonds between validators and miners ([`Supports`]) and the terms that the report keeps: the run's share
//! of the emission, gated miners, opened transcripts. A replay from epoch 0 has the bonds, and
//! `bonds_root` in each report checks them. Without a quorum, more than half of the permitted stake, the epoch is void
//! and mints nothing; the next epoch's rows and validators settle it once more, and the older of the two is paid
//! first. Void twice is void for good. A pallet cannot see finality: where it stalls, blocks go on, rows that
//! reach them count, and an epoch whose rows do not is void like any other.
//!
//! **Verdicts.** `accuse` puts `AccusationDeposit` of the accuser's bond on hold. Validators that had a permit in the
//! accused epoch vote: two thirds of their stake for gates the miner's epoch and forfeits what has not
//! vested; two thirds against sends the deposit to the treasury; neither by the second `Close` after the
//! accused epoch returns it. What a gated miner would have earned goes to the treasury. A proof of
//! equivocation does the same without a vote, whoever brings it, by the key that signed in the epoch that it is
//! about ([`signers`]): no change of keys and no leaving escapes it.
//!
//! **Evidence.** If at `Close` validators with more than half of the stake say that they cannot get a
//! miner's evidence, its pay is held ([`HeldPay`]). They ask in `Train`; the miner's answer, before
//! `Blind`, takes their requests back, and who still cannot get it asks again until `Close`. Asked by a
//! quorum in the next epoch once more, it lapses to the treasury; otherwise it is credited. A run
//! whose last pay is held, or contested by an open accusation, settles for one epoch more, once.
//!
//! **Transcripts** are committed and opened in the windows of the rows and paid from a tenth of the
//! validators' share, a fixed amount each, at most two for each validator.
//!
//! **Runs.** The admin origin's take what is left of the emission, those behind `RunDeposit` none until they
//! are given a share. Shares and parameters change at `Close` and are frozen from `Attest` on; what
//! defines model, data and messages never changes. A run pauses between two epochs, and ends by making
//! the current epoch its last.
//!
//! **Proof of a payment.** A payment is a leaf under `payouts_root` (`iota_protocol::emission::prove_payout`);
//! the root is in the report, which is the value of [`Reports`] at the key
//! `twox128("Iota") ++ twox128("Reports") ++ twox64concat((run, epoch))`, provable against a header.
//!
//! **What always holds** is listed and checked in `invariants`: after every block and every step of a
//! random sequence in the tests, and by `try-runtime` on a live state.
//!
//! # Blocks, and what is left of a run
//!
//! **Fees.** Free are the calls that a run needs of its members in a window, once each, and those of its
//! judges: `commit_work`, `attest`, `blind_merge`, `open_merge`, `commit_root`, `commit_scores`,
//! `reveal_scores`, `commit_transcripts`, `submit_transcripts`, `request_evidence` and `answer_evidence` once
//! in their epoch, `serve` once an epoch, `resume` while a permit is lost, `accuse` for its deposit, `vote` and
//! `vote_rollback` once, `attest_root` once for each stage, and `report_equivocation` by whoever has the proof. A
//! call is free exactly if it would be accepted now, by the same check that then accepts it, and never inside
//! of another call; the runtime keeps one place in the pool for each. So a hotkey needs no funds. Everything
//! else pays the author of its block, and so does a call of this list that would be refused.
//!
//! **Bounds.** A run has at most 256 members (`MAX_MEMBERS`) in at most 64 stages, 64 committers of a stage merge
//! (`MAX_GROUP`), 64 validators have a permit. With 192 miners in three stages that all
//! merge and 64 validators that all reveal full rows, an epoch puts 694 kB of transactions into blocks and 580 kB
//! into the state: 348 kB of commits, statuses and rows before its `Close`, the snapshot, bonds and report with
//! it. At 48 epochs a day these are 33 MB and 28 MB. An archive keeps them, any other node what the history
//! below says. `runtime/src/tests/worst_case.rs` counts them.
//!
//! **Weights.** Calls are charged by the lengths of their arguments and otherwise at their worst, but that a
//! registration gets back the search of a full run where a seat was free, and an accusation the search of those
//! that are not there; hooks are charged for what they
//! did, both by functions that `scripts/weights` measures over a runtime ([`weights`]). On the
//! machine that the runtime's weights name, at their largest and of the 500 ms of a block: settling 192
//! miners from the full rows of 64 validators takes 62 ms, 48 of them the database's prices; recording
//! commits and changing 64 hotkeys 37 ms; 256 members of whom 64 leave and 32 newcomers 62 ms; assigning
//! 256 stages and pruning 34 ms; deciding 192 held payments and 64 accusations 86 ms; ending a run with all
//! of that 114 ms; a quarter of the block is 125 ms. The ordinary `Close` of a full run takes 126 ms in two
//! blocks.
//!
//! **Close in steps.** One run closes in a block, and takes at most a quarter of it: a `Close` is a list of
//! steps ([`close::CloseStep`]) that goes on in the next block where the next step, at its largest, might
//! not fit. `integrity_test` holds that every single step does. At most [`close::MAX_LEAVING`] members
//! leave at one `Close`; the others at a later one.
//!
//! **Ended runs.** `EndedRetention` blocks after its end a run's state goes, a step in each block with weight to
//! spare ([`ended`]): members leave and their bonds unbond, then what was kept of each epoch. What stays
//! are parameters, clock and the count of incarnations, for vesting; what vests or unbonds and what may be
//! claimed stays until its owner takes it. Whoever wants an older history keeps an archive node or an index.
//!
//! **Roots.** Canonical is what more than half of a stage's committers report, unless validators with two thirds
//! of the stake attest another root while `Root` is open. With as much stake, or by the admin origin, all
//! stages go back at the next `Close` to the states after one of the last epochs ([`rollback`]).
//!
//! **Storage.** Every value has a greatest size, and every map a bound that its comment names: by members,
//! validators and stages of a run, and by the epochs that it keeps, which are `HistoryDepth` for what an epoch
//! was settled from, `EpochHistory` for reports and payouts, two for accusations, evidence and checkpoints. What
//! grows without a bound, pay that nobody claims or that vests and what unbonds, was paid for by work, a price or
//! a bond, one entry each.
//!
//! **Views.** Everything that a client or a stranger needs to check a run is read by the functions of
//! [`runtime_api`] and, for those who know no more than the metadata, by view functions of the same names.
//!
//! **Storage versions.** 4: keys that members gave up are kept. 3: the states that a run can go back to are
//! recorded. 2: ended runs are queued, requests for evidence name what is wanted ([`migrations`]). 1: they were
//! kept, and did not. The first version of the chain had other members and merges under version 1: a run that
//! holds such members ends, and its members take their bonds; no chain is known that has one.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

extern crate alloc;

pub mod close;
pub mod ended;
pub mod evidence;
pub mod migrations;
pub mod rollback;
pub mod runs;
pub mod runtime_api;
pub mod signers;
pub mod transcripts;
pub mod types;
pub mod verdicts;
pub mod weights;

mod assignment;
#[cfg(test)]
mod bare;
#[cfg(any(test, feature = "runtime-benchmarks"))]
#[cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        reason = "never in a runtime that a chain runs: a failure there is a finding"
    )
)]
pub mod benchmarking;
mod bonds;
mod epoch;
#[cfg(any(test, feature = "invariants"))]
#[cfg_attr(
    not(test),
    expect(clippy::arithmetic_side_effects, reason = "off chain: overflow there is a finding")
)]
mod invariants;
mod keys;
mod membership;
#[cfg(test)]
mod mock;
mod rewards;
mod scores;
mod seats;
mod sections;
mod supports;
#[cfg(test)]
mod tests;
mod vesting;
mod views;
mod work;

pub use pallet::*;

use polkadot_sdk::frame_support::{self, pallet_macros::import_section};

#[import_section(sections::config::config)]
#[import_section(sections::storage::storage)]
#[import_section(sections::genesis::genesis)]
#[import_section(sections::events::events)]
#[import_section(sections::errors::errors)]
#[import_section(sections::calls::calls)]
#[frame_support::pallet]
#[cfg_attr(
    not(test),
    expect(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        reason = "generated code: encoders cast variant indices, storage items name their pallet"
    )
)]
pub mod pallet {
    use alloc::{string::String, vec::Vec};
    use iota_protocol::{
        consensus::bonds::BondRow,
        court::CourtView,
        equivocation::Equivocation,
        ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid},
        params::{RunParams, MAX_MEMBERS},
        price::{PriceParams, Quote},
        view::{
            AgreementView, ClockView, EpochReportView, MemberView, MergeView, OwedView, Payout, ScoreView,
            SnapshotView,
        },
        work::{Bitmap, Endpoint, Role, ScoreReveal, ShardHashes, Transcripts, WorkCommit},
    };
    use polkadot_sdk::{
        frame_support::{
            self,
            pallet_prelude::*,
            traits::{
                fungible::{Balanced, Inspect, InspectHold, Mutate, MutateHold},
                EnsureOrigin,
            },
            PalletId,
        },
        frame_system::pallet_prelude::*,
        sp_runtime::{traits::SaturatedConversion, AccountId32},
    };

    use crate::{
        close::CloseStep,
        ended::Ended,
        evidence::EvidenceRequest,
        keys::SwapBound,
        rollback::{Ballot, Checkpoint},
        runs::Control,
        seats::{most_for_a_seat, weight_of_seat, MAX_ARRIVALS},
        signers::Signers,
        transcripts::AuditWork,
        types::{
            Arrival, Clock, Handover, Member, Merge, Payment, Payouts as PayoutTable, Report, Score,
            Shards as ShardTable, Snapshot, Support, Swap, Unbonding, Vesting,
        },
        verdicts::{Accusation, MAX_ACCUSATIONS},
        weights::{count, WeightInfo},
    };

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(4);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            Self::advance_runs(now.saturated_into::<u32>())
        }

        fn on_idle(now: BlockNumberFor<T>, spare: Weight) -> Weight {
            Self::drop_ended(now.saturated_into::<u32>(), spare)
        }

        fn integrity_test() {
            Self::check_constants();
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::check_invariants()
        }
    }

    // View functions: the same reads as the runtime API, described in the metadata, for clients that
    // know nothing of this chain but its metadata.
    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Parameters of a run.
        pub fn run_params(run: RunId) -> Option<RunParams> {
            Self::run_view(run)
        }

        /// The clock of a run: epoch, phase and the seeds that are known.
        pub fn clock(run: RunId) -> Option<ClockView> {
            Self::clock_view(run)
        }

        /// Members of a run in uid order.
        pub fn members(run: RunId) -> Vec<MemberView> {
            Self::members_view(run)
        }

        /// The merge of one stage in one epoch, for the last few epochs.
        pub fn merge(run: RunId, epoch: Epoch, stage: Stage) -> Option<MergeView> {
            Self::merge_view(run, epoch, stage)
        }

        /// Which pairs of a stage's committers agreed in one epoch, for the last few epochs.
        pub fn agreement(run: RunId, epoch: Epoch, stage: Stage) -> Option<AgreementView> {
            Self::agreement_view(run, epoch, stage)
        }

        /// Accusations, votes, gates, requests for evidence and transcripts about one epoch.
        pub fn court(run: RunId, epoch: Epoch) -> CourtView {
            Self::court_view(run, epoch)
        }

        /// Pay of an epoch that waits for evidence.
        pub fn held(run: RunId, epoch: Epoch) -> Vec<Payout> {
            Self::held_view(run, epoch)
        }

        /// Bonds of a run after its last settled epoch, in uid order of the validators.
        pub fn bonds(run: RunId) -> Vec<BondRow> {
            Self::supports_view(run)
        }

        /// Everyone who may be paid for an epoch, for the last few epochs.
        pub fn snapshot(run: RunId, epoch: Epoch) -> Option<SnapshotView> {
            Self::snapshot_view(run, epoch)
        }

        /// Commits and reveals for a scored epoch in uid order, for the last few epochs.
        pub fn scores(run: RunId, epoch: Epoch) -> Vec<ScoreView> {
            Self::scores_view(run, epoch)
        }

        /// What a scored epoch minted and paid.
        pub fn report(run: RunId, epoch: Epoch) -> Option<EpochReportView> {
            Self::report_view(run, epoch)
        }

        /// What an account may claim now, what will be its own, and from which member.
        pub fn owed(account: AccountId32) -> OwedView {
            Self::owed_view(&account)
        }

        /// What a registration burns now, smallest units.
        pub fn registration_price() -> u128 {
            Self::price_now()
        }

        /// Who would give up its seat to the next newcomer if the run were full; `None` if everybody
        /// is immune.
        pub fn next_to_prune(run: RunId) -> Option<Uid> {
            Self::next_seat(run)
        }
    }

    impl<T: Config> Pallet<T> {
        /// The account behind a signed origin; calls of any other origin are never free.
        pub(crate) fn signer(origin: &OriginFor<T>) -> Option<AccountId32> {
            ensure_signed(origin.clone()).ok()
        }

        /// The treasury as a protocol key.
        pub fn treasury_key() -> AccountKey {
            crate::types::key(&Self::treasury())
        }
    }
}
