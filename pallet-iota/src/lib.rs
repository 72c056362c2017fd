//! IOTA's on-chain rules: who is a member, which window of which epoch is open, what members
//! committed, and who is paid.
//!
//! The pallet sees roots, counters, bitmaps and scores, never a tensor. Everything that two parties
//! must agree on is computed by `iota-protocol`; this crate stores, checks and pays. What FRAME wants in
//! one module is in `sections`, a file each: configuration, storage, genesis, events, errors and calls, which
//! are thin. Their bodies are in [`membership`], [`seats`], [`bonds`], [`keys`], [`work`], [`scores`],
//! [`verdicts`], [`evidence`], [`transcripts`], [`rollback`] and [`runs`], the clock is in [`epoch`] and
//! [`close`], money in [`rewards`] and [`vesting`].
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
//! `bonds_root` in each report checks them. Without a quorum the epoch is void; the next epoch's rows and
//! validators settle it once more, and the older of the two is paid first.
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
//! quorum in the next epoch once more, it lapses to the treasury; otherwise it is credited. The last
//! epoch of a run is not held.
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
//! **Weights.** Calls are charged by the lengths of their arguments and otherwise at their worst, but that a
//! registration gets back the search of a full run where a seat was free; hooks are charged for what they did, both by functions that `scripts/weights` measures over a runtime ([`weights`]). On the
//! machine that the runtime's weights name, at their largest and of the 500 ms of a block: settling 192
//! miners from the full rows of 64 validators takes 67 ms, 48 of them the database's prices; recording
//! commits and changing 64 hotkeys 39 ms; 256 members of whom 64 leave and 32 newcomers 64 ms; assigning
//! 256 stages and pruning 36 ms; deciding 192 held payments and 64 accusations 90 ms; ending a run with all
//! of that 119 ms; a quarter of the block is 125 ms. The ordinary `Close` of a full run takes 133 ms in two
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
//! **Storage versions.** 4: keys that members gave up are kept. 3: the states that a run can go back to are
//! recorded. 2: ended runs are queued, requests for evidence name what is wanted ([`migrations`]). 1: they were
//! kept, and did not. The first version of the chain had other members and merges under version 1: a run that
//! holds such members is paused and left as it is; no chain is known that has one.
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
        seats::MAX_ARRIVALS,
        signers::Signers,
        transcripts::AuditWork,
        types::{
            Arrival, Clock, Handover, Member, Merge, Payment, Payouts as PayoutTable, Report, Score,
            Shards as ShardTable, Snapshot, Support, Swap, Unbonding, Vesting,
        },
        verdicts::Accusation,
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
