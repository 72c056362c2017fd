//! IOTA's on-chain rules: who is a member, which window of which epoch is open, what members
//! committed, and who is paid.
//!
//! The pallet sees roots, counters, bitmaps and scores, never a tensor. Everything that two parties
//! must agree on is computed by `iota-protocol`; this crate stores, checks and pays. Calls stand
//! here and are thin, their bodies are in [`membership`], [`seats`], [`bonds`], [`keys`], [`work`] and
//! [`scores`], the clock is in [`epoch`] and [`close`], money in [`rewards`] and [`vesting`].
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
//! equivocation does the same without a vote, whoever brings it.
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
//! **Weights.** Calls are charged by the lengths of their arguments and otherwise at their worst, hooks for
//! what they did, both by functions that `scripts/weights` measures over a runtime ([`weights`]). On the
//! machine that the runtime's weights name, at their largest and of the 500 ms of a block: settling 192
//! miners from the full rows of 64 validators takes 64 ms, 48 of them the database's prices; recording
//! commits and changing 64 hotkeys 33 ms; 256 members of whom 64 leave and 32 newcomers 63 ms; assigning
//! 256 stages and pruning 36 ms; deciding 192 held payments and 64 accusations 92 ms; ending a run with all
//! of that 121 ms; a quarter of the block is 125 ms. The ordinary `Close` of a full run takes 140 ms in two
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
//! **Storage versions.** 3: the states that a run can go back to are recorded. 2: ended runs are queued, requests for evidence name what is wanted ([`migrations`]).
//! 1: they were kept, and did not. States of the first
//! version of the chain, which had other members and merges under version 1, are not migrated if they hold
//! runs; no chain is known that does.
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
mod supports;
#[cfg(test)]
mod tests;
mod vesting;
mod views;
mod work;

pub use pallet::*;

use polkadot_sdk::frame_support;

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
        rollback::{Ballot, Checkpoint},
        runs::Control,
        transcripts::AuditWork,
        types::{
            Arrival, Clock, Handover, Member, Merge, Payment, Payouts as PayoutTable, Report, Score,
            Shards as ShardTable, Snapshot, Support, Swap, Unbonding, Vesting,
        },
        verdicts::Accusation,
        weights::{count, WeightInfo},
    };

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(3);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<AccountId = AccountId32> {
        /// The token: the one source of issuance.
        type Currency: Inspect<AccountId32, Balance = u128>
            + Mutate<AccountId32>
            + Balanced<AccountId32>
            + InspectHold<AccountId32, Reason = Self::RuntimeHoldReason>
            + MutateHold<AccountId32>;
        /// Reasons for holds of the whole runtime.
        type RuntimeHoldReason: From<HoldReason>;
        /// May start a run.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Names the account that holds rewards until they are claimed.
        #[pallet::constant]
        type PotId: Get<PalletId>;
        /// Names the account that takes remainders and unattributed shares.
        #[pallet::constant]
        type TreasuryId: Get<PalletId>;
        /// Price of a registration at genesis, smallest units.
        #[pallet::constant]
        type InitialRegistrationPrice: Get<u128>;
        /// How the price of a registration moves.
        #[pallet::constant]
        type RegistrationPricing: Get<PriceParams>;
        /// Epochs over which a miner's pay vests, 1 to `iota_protocol::vesting::MAX_VEST`.
        #[pallet::constant]
        type VestEpochs: Get<u32>;
        /// Least probability, in millionths, with which a miner is audited in an epoch: what the
        /// number of validators and miners has to give for `VestEpochs` to deter.
        #[pallet::constant]
        type MinAuditRate: Get<u32>;
        /// Blocks after taking its seat in which nobody can take it from a member; longer than the
        /// time until a newcomer's first pay: the rest of an epoch, one of work, one of scoring.
        #[pallet::constant]
        type ImmunityPeriod: Get<u32>;
        /// Blocks for which what was unbonded stays on hold.
        #[pallet::constant]
        type UnbondDelay: Get<u32>;
        /// Scored epochs in a row without a reveal after which a validator loses its permit.
        #[pallet::constant]
        type MaxMissedReveals: Get<u8>;
        /// Blocks between two changes of one member's hotkey.
        #[pallet::constant]
        type SwapCooldown: Get<u32>;
        /// Blocks between the announcement of a change of coldkey and the change.
        #[pallet::constant]
        type ColdkeyDelay: Get<u32>;
        /// Least bond of a validator, smallest units.
        #[pallet::constant]
        type MinValidatorBond: Get<u128>;
        /// Most runs that have not ended; each costs reads in every block.
        #[pallet::constant]
        type MaxRuns: Get<u32>;
        // Verdicts and runs.
        /// What an accusation puts on hold out of the accuser's bond, smallest units.
        #[pallet::constant]
        type AccusationDeposit: Get<u128>;
        /// What a run made by anybody puts on hold on its maker until it ends, smallest units.
        #[pallet::constant]
        type RunDeposit: Get<u128>;
        /// Reports and payout tables kept for each run, in epochs.
        #[pallet::constant]
        type EpochHistory: Get<u32>;
        /// Commits, merges, snapshots and scores kept for each run, in epochs.
        #[pallet::constant]
        type HistoryDepth: Get<u32>;
        /// Blocks for which the state of a run that ended stays as it is, to be read and audited.
        #[pallet::constant]
        type EndedRetention: Get<u32>;
        /// What calls and hooks cost.
        type WeightInfo: WeightInfo;
    }

    /// Why funds are on hold.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The bond of a validator.
        Bond,
        /// What a newcomer has to lose before it was paid.
        Entry,
        /// The deposit behind an accusation.
        Accusation,
        /// The deposit behind a run.
        Run,
    }

    /// Id of the next run.
    #[pallet::storage]
    pub type NextRun<T> = StorageValue<_, RunId, ValueQuery>;

    /// Runs that have not ended, ascending.
    #[pallet::storage]
    pub type ActiveRuns<T: Config> = StorageValue<_, BoundedVec<RunId, T::MaxRuns>, ValueQuery>;

    /// What defines a run; written once.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Runs<T> = StorageMap<_, Twox64Concat, RunId, RunParams>;

    /// Where a run stands.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Clocks<T> = StorageMap<_, Twox64Concat, RunId, Clock>;

    /// Uids given out so far in a run; those below it that are not in use are in `FreeUids`.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type NextUid<T> = StorageMap<_, Twox64Concat, RunId, u16, ValueQuery>;

    /// Uids of members that left, ascending; the lowest is given out first.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type FreeUids<T> =
        StorageMap<_, Twox64Concat, RunId, BoundedVec<Uid, ConstU32<MAX_MEMBERS>>, ValueQuery>;

    /// Incarnation of the next registration in a run.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type NextIncarnation<T> = StorageMap<_, Twox64Concat, RunId, Incarnation, ValueQuery>;

    /// Members of a run, at most `MAX_MEMBERS`.
    // Twox: run ids and uids are counted by the pallet.
    #[pallet::storage]
    pub type Members<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Uid, Member>;

    /// Where members can be reached.
    // Twox: run ids and uids are counted by the pallet.
    #[pallet::storage]
    pub type Endpoints<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Uid, Endpoint>;

    /// The uid of a hotkey in a run.
    // Blake2: hotkeys are chosen by users.
    #[pallet::storage]
    pub type UidOf<T> = StorageDoubleMap<_, Twox64Concat, RunId, Blake2_128Concat, AccountId32, Uid>;

    /// Commits of a stage in an epoch; kept for `HistoryDepth` epochs.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type Merges<T> = StorageMap<_, Twox64Concat, (RunId, Epoch, Stage), Merge>;

    /// Shard statuses of a stage in an epoch; kept for `HistoryDepth` epochs.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type Shards<T> = StorageMap<_, Twox64Concat, (RunId, Epoch, Stage), ShardTable, ValueQuery>;

    /// Everyone who may be paid for an epoch; kept for `HistoryDepth` epochs.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Snapshots<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), Snapshot>;

    /// Commits and reveals of validators for a scored epoch, at most `MAX_VALIDATORS`; kept for
    /// `HistoryDepth` epochs.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type Scores<T> = StorageDoubleMap<_, Twox64Concat, (RunId, Epoch), Twox64Concat, Uid, Score>;

    /// Who holds which part of which miner after the last settled epoch, by validator: at most
    /// `MAX_VALIDATORS` rows for each run; rows of validators without a permit go at `Close`.
    // Twox: run ids and uids are counted by the pallet.
    #[pallet::storage]
    pub type Supports<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Uid, Support>;

    // ---- Verdicts, evidence, transcripts and runs ----

    /// Accusations about an epoch, by miner and segment: at most `MAX_ACCUSATIONS`, gone with the
    /// `Close` of the second epoch after it.
    // Twox: run and epoch are counted by the pallet; uid and segment by a validator with a deposit, and
    // the entries under one prefix are few.
    #[pallet::storage]
    pub type Accusations<T> =
        StorageDoubleMap<_, Twox64Concat, (RunId, Epoch), Twox64Concat, (Uid, u32), Accusation>;

    /// Miners that are not paid for an epoch, ascending; gone with the accusations.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Gated<T> = StorageMap<
        _,
        Twox64Concat,
        (RunId, Epoch),
        BoundedVec<(Uid, Incarnation), ConstU32<MAX_MEMBERS>>,
        ValueQuery,
    >;

    /// Requests for evidence about miners of an epoch, at most `MAX_MEMBERS`; gone like accusations.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type EvidenceRequests<T> =
        StorageDoubleMap<_, Twox64Concat, (RunId, Epoch), Twox64Concat, Uid, EvidenceRequest>;

    /// Pay that waits for evidence, at most `MAX_MEMBERS` for an epoch; decided one epoch later.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type HeldPay<T> = StorageDoubleMap<_, Twox64Concat, (RunId, Epoch), Twox64Concat, Uid, Payment>;

    /// Sum of `HeldPay`, which lies in the pot beside what is owed.
    #[pallet::storage]
    pub type TotalHeld<T> = StorageValue<_, u128, ValueQuery>;

    /// Audit transcripts of an epoch by validator, at most `MAX_VALIDATORS`; kept like scores.
    // Twox: all parts are counted by the pallet.
    #[pallet::storage]
    pub type AuditWorks<T> = StorageDoubleMap<_, Twox64Concat, (RunId, Epoch), Twox64Concat, Uid, AuditWork>;

    /// Who may change a run, its share of the emission and what changes next; gone when it ends.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Controls<T> = StorageMap<_, Twox64Concat, RunId, Control, ValueQuery>;

    /// Parameters that a run has from its next epoch on.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Pending<T> = StorageMap<_, Twox64Concat, RunId, RunParams>;

    /// Seeds of epochs, which name the owners of each shard; kept for `HistoryDepth` epochs.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Seeds<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), Hash>;

    /// The state of all stages after each of the last `CHECKPOINT_EPOCHS` epochs, which a run can go back to.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Checkpoints<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), Checkpoint>;

    /// Roots that validators attest for stages of the current epoch while `Root` is open; gone at `Close`.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type RootVotes<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Stage, Ballot<Hash>>;

    /// The epoch to whose states a run goes back at the next `Close`, and who wants that; gone then.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Rollbacks<T> = StorageMap<_, Twox64Concat, RunId, Ballot<Epoch>>;

    /// Runs that ended and whose state has not gone, by their place in the queue.
    // Twox: places are counted by the pallet. Unbounded, but an entry goes with its run's state.
    #[pallet::storage]
    pub type EndedRuns<T> = StorageMap<_, Twox64Concat, u32, Ended>;

    /// The first place of the queue that is taken, and the first behind all that are.
    #[pallet::storage]
    pub type EndedQueue<T> = StorageValue<_, (u32, u32), ValueQuery>;

    /// What is left of a `Close` that did not fit into one block.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Closing<T> = StorageMap<_, Twox64Concat, RunId, CloseStep>;

    /// What scored epochs minted; kept for `EpochHistory` epochs.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Reports<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), Report>;

    /// Whom scored epochs paid; kept for `EpochHistory` epochs.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type Payouts<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), PayoutTable, ValueQuery>;

    /// What accounts may claim; one entry for each coldkey ever paid and not yet claimed.
    // Blake2: accounts are chosen by users. Unbounded, but each entry was paid for by work.
    #[pallet::storage]
    pub type Rewards<T> = StorageMap<_, Blake2_128Concat, AccountId32, u128, ValueQuery>;

    /// Pay that has not vested, and the hold that a newcomer started with, by member; an entry goes
    /// when both are gone.
    // Twox: both parts are counted by the pallet. Unbounded, but each entry was paid for by work, or
    // by a price and a hold.
    #[pallet::storage]
    pub type Vestings<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Incarnation, Vesting>;

    /// What a paid miner of a run got on average in the last epoch that paid miners.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type MeanPay<T> = StorageMap<_, Twox64Concat, RunId, u128, ValueQuery>;

    /// Newcomers who take the seats of leaving members at the next `Close`.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Arrivals<T> = StorageMap<
        _,
        Twox64Concat,
        RunId,
        BoundedVec<Arrival, ConstU32<{ crate::seats::MAX_ARRIVALS }>>,
        ValueQuery,
    >;

    /// Changes of hotkeys at the next `Close`.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Swaps<T> =
        StorageMap<_, Twox64Concat, RunId, BoundedVec<Swap, crate::keys::SwapBound>, ValueQuery>;

    /// Announced changes of coldkeys, at most one for each member.
    // Twox: run ids and uids are counted by the pallet.
    #[pallet::storage]
    pub type Handovers<T> = StorageDoubleMap<_, Twox64Concat, RunId, Twox64Concat, Uid, Handover>;

    /// What was unbonded, by member and owner, until it is withdrawn.
    // Twox: ids are counted by the pallet. Blake2: accounts are chosen by users. Unbounded, but each
    // entry stands for a registration and a bond.
    #[pallet::storage]
    pub type Unbondings<T> =
        StorageDoubleMap<_, Twox64Concat, (RunId, Incarnation), Blake2_128Concat, AccountId32, Unbonding>;

    /// Sum of `Rewards` and of what is in `Vestings`; the pot holds at least as much.
    #[pallet::storage]
    pub type TotalOwed<T> = StorageValue<_, u128, ValueQuery>;

    /// Minted by all runs since genesis; what the emission schedule and its cap go by.
    #[pallet::storage]
    pub type TotalMinted<T> = StorageValue<_, u128, ValueQuery>;

    /// Burned by registrations in a run since its last report.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Burned<T> = StorageMap<_, Twox64Concat, RunId, u128, ValueQuery>;

    /// The price at genesis.
    #[pallet::type_value]
    pub fn InitialPrice<T: Config>() -> Quote {
        Quote { price: T::InitialRegistrationPrice::get(), block: 0 }
    }

    /// What a registration burned last, and when; one price for all runs, so that none is a cheap
    /// way to raise another's.
    #[pallet::storage]
    pub type RegistrationPrice<T: Config> = StorageValue<_, Quote, ValueQuery, InitialPrice<T>>;

    /// Runs that exist from the first block, in the order of their ids.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Parameters of each run.
        pub runs: Vec<RunParams>,
        /// Ties the configuration to the runtime.
        #[serde(skip)]
        pub marker: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Pallet::<T>::fund_own_accounts();
            for params in &self.runs {
                let created = Pallet::<T>::do_create_own_run(params.clone());
                assert!(
                    created.is_ok(),
                    "genesis run {}: {created:?}",
                    String::from_utf8_lossy(&params.preset)
                );
            }
        }
    }

    /// What changed, with every id that an indexer needs.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A run exists and waits for miners.
        RunCreated { run: RunId },
        /// A hotkey became a member.
        Registered {
            run: RunId,
            uid: Uid,
            incarnation: Incarnation,
            hotkey: AccountId32,
            coldkey: AccountId32,
            role: Role,
            price: u128,
        },
        /// A member will leave at the next `Close`.
        Leaving { run: RunId, uid: Uid, incarnation: Incarnation },
        /// A member left.
        Left { run: RunId, uid: Uid, incarnation: Incarnation },
        /// A validator's bond grew.
        Bonded { run: RunId, uid: Uid, amount: u128, total: u128 },
        /// A member published where it can be reached.
        Served { run: RunId, uid: Uid, peer: [u8; 32] },
        /// An epoch started.
        EpochStarted { run: RunId, epoch: Epoch, start: u32 },
        /// `Train` goes on because some stage had no commit.
        TrainExtended { run: RunId, epoch: Epoch, extensions: u8, stage: Stage },
        /// The seed of the epoch is known.
        SeedFixed { run: RunId, epoch: Epoch, seed: Hash },
        /// A miner committed its work.
        WorkCommitted {
            run: RunId,
            epoch: Epoch,
            stage: Stage,
            uid: Uid,
            incarnation: Incarnation,
            work: WorkCommit,
        },
        /// An owner attested whose entries it holds.
        Attested { run: RunId, epoch: Epoch, stage: Stage, uid: Uid, entries: Bitmap },
        /// The entries to merge are fixed.
        EntriesFixed { run: RunId, epoch: Epoch, stage: Stage, entries: Bitmap },
        /// An owner committed to its shard hashes.
        MergeBlinded { run: RunId, epoch: Epoch, stage: Stage, uid: Uid, hash: Hash },
        /// An owner opened its shard hashes; `differing` of them contradict its partners.
        MergeOpened { run: RunId, epoch: Epoch, stage: Stage, uid: Uid, shards: u32, differing: u32 },
        /// A miner reported the root of its weights and outer momentum.
        RootCommitted { run: RunId, epoch: Epoch, stage: Stage, uid: Uid, root: Hash },
        /// The root of a stage's state at the start of the next epoch; `None` without a majority.
        RootFixed { run: RunId, epoch: Epoch, stage: Stage, root: Option<Hash> },
        /// A validator committed to a row of scores.
        ScoresCommitted { run: RunId, epoch: Epoch, uid: Uid, hash: Hash },
        /// A row of scores was revealed.
        ScoresRevealed { run: RunId, epoch: Epoch, uid: Uid, entries: u32, report_root: Hash },
        /// A scored epoch was paid, or is void.
        EpochSettled {
            run: RunId,
            epoch: Epoch,
            void: bool,
            minted: u128,
            miners: u128,
            validators: u128,
            treasury: u128,
            burned: u128,
            payouts_root: Hash,
        },
        /// A member was credited for an epoch.
        Rewarded {
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            coldkey: AccountId32,
            amount: u128,
        },
        /// A miner holds a stage from the next epoch on.
        Assigned { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, stage: Stage },
        /// The settling epoch closed.
        RunEnded { run: RunId },
        /// A miner missed too many commits; it lost its stage and must serve again.
        Unassigned { run: RunId, uid: Uid, incarnation: Incarnation },
        /// An account took what it was owed.
        Claimed { account: AccountId32, amount: u128 },

        // Membership and money.
        /// Pay of a member vested and may be claimed; `entry` came off hold.
        Released { run: RunId, incarnation: Incarnation, coldkey: AccountId32, vested: u128, entry: u128 },
        /// A member lost what had not vested and the hold that it started with, to the treasury.
        Forfeited {
            run: RunId,
            uid: Uid,
            incarnation: Incarnation,
            coldkey: AccountId32,
            unvested: u128,
            entry: u128,
        },
        /// A newcomer took the seat that was left for it.
        Seated { run: RunId, uid: Uid, incarnation: Incarnation },
        /// So much of a bond comes off hold in a block from `free_at` on.
        Unbonding { run: RunId, uid: Uid, incarnation: Incarnation, amount: u128, free_at: u32 },
        /// What was unbonded is its owner's again.
        Withdrawn { run: RunId, incarnation: Incarnation, coldkey: AccountId32, amount: u128 },
        /// A validator missed too many reveals; its stake no longer counts.
        PermitLost { run: RunId, uid: Uid, incarnation: Incarnation },
        /// A validator asked for its permit again.
        PermitRegained { run: RunId, uid: Uid, incarnation: Incarnation },
        /// A member has another hotkey from the next epoch on.
        SwapScheduled { run: RunId, uid: Uid, incarnation: Incarnation, hotkey: AccountId32 },
        /// A member has another hotkey.
        HotkeySwapped { run: RunId, uid: Uid, incarnation: Incarnation, old: AccountId32, new: AccountId32 },
        /// An account may take a member over from block `ready_at` on.
        ColdkeyAnnounced { run: RunId, uid: Uid, incarnation: Incarnation, to: AccountId32, ready_at: u32 },
        /// The owner thought better of it.
        ColdkeyCanceled { run: RunId, uid: Uid, incarnation: Incarnation },
        /// A member has another owner.
        ColdkeyChanged { run: RunId, uid: Uid, incarnation: Incarnation, from: AccountId32, to: AccountId32 },
        // ---- Verdicts, evidence, transcripts and runs ----
        /// A validator accuses a miner behind a deposit.
        Accused {
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            segment: u32,
            accuser: Uid,
            evidence: Hash,
        },
        /// A validator voted on an accusation.
        Voted { run: RunId, epoch: Epoch, uid: Uid, segment: u32, voter: Uid, guilty: bool },
        /// Two thirds of the permitted stake agree: guilty, the miner is not paid; or not, and the
        /// deposit went to the treasury.
        VerdictReached {
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            segment: u32,
            guilty: bool,
        },
        /// An accusation ended without a verdict; its deposit returned.
        AccusationLapsed { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, segment: u32 },
        /// Somebody proved that a miner signed two bodies for one key; it is not paid for the epoch.
        Equivocated { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation },
        /// A validator asks for evidence that it cannot get; `quorum` of the stake has asked by now.
        EvidenceRequested {
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            asker: Uid,
            wanted: Hash,
            quorum: bool,
        },
        /// A miner answered with the root of what it serves.
        EvidenceAnswered { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, root: Hash },
        /// Pay waits for evidence.
        PayHeld { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, amount: u128 },
        /// Held pay went to the treasury.
        PayLapsed { run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, amount: u128 },
        /// A validator committed to audit transcripts.
        TranscriptsCommitted { run: RunId, epoch: Epoch, uid: Uid, hash: Hash },
        /// A validator opened audit transcripts.
        TranscriptsOpened { run: RunId, epoch: Epoch, uid: Uid, transcripts: Transcripts },
        /// Somebody made a run behind a deposit.
        RunSponsored { run: RunId, owner: AccountId32, deposit: u128 },
        /// A run's share of the emission changes at its next `Close`.
        RunShareScheduled { run: RunId, share_ppm: u32 },
        /// A run's parameters change at its next `Close`.
        ParamsScheduled { run: RunId },
        /// A run has new parameters.
        ParamsApplied { run: RunId },
        /// A run pauses at its next `Close`.
        RunPausing { run: RunId },
        /// A run paused before `epoch`.
        RunPaused { run: RunId, epoch: Epoch },
        /// A run goes on, or will not pause.
        RunResumed { run: RunId },
        /// A run ends after `last` has been settled.
        RunEnding { run: RunId, last: Epoch },
        /// The state of a run that ended is gone, but for what its members are still owed.
        RunDropped { run: RunId },
        // ---- Roots that validators attest, and the way back ----
        /// A validator attests the root that a stage's merge leaves; `decided` once two thirds of the stake
        /// name one root, which is then canonical at `Close`.
        RootAttested { run: RunId, epoch: Epoch, stage: Stage, uid: Uid, root: Hash, decided: bool },
        /// A validator wants all stages to go back to the states after `to`; `decided` once two thirds of
        /// the stake do.
        RollbackVoted { run: RunId, epoch: Epoch, uid: Uid, to: Epoch, decided: bool },
        /// The admin origin lets all stages go back at the next `Close`.
        RollbackOrdered { run: RunId, epoch: Epoch, to: Epoch },
        /// All stages left `epoch` with the states after `to`, and the run has the tokens of then.
        RolledBack { run: RunId, epoch: Epoch, to: Epoch, tokens: u64 },
    }

    /// Why a call was refused. Variants are only ever added at the end: workers know them by index.
    #[pallet::error]
    #[derive(PartialEq, Eq)]
    pub enum Error<T> {
        /// No run has this id.
        UnknownRun,
        /// The parameters contradict each other.
        InvalidParams,
        /// As many runs are active as may be.
        TooManyRuns,
        /// The run has not started or has ended.
        NotRunning,
        /// The call names another epoch than the current one, or than the one being scored.
        WrongEpoch,
        /// The window of this call is not open.
        WrongPhase,
        /// The hotkey is a member of this run already.
        AlreadyRegistered,
        /// All uids are taken.
        RunFull,
        /// The signature does not bind the key to its owner on this chain.
        BadProof,
        /// A registration costs more than the caller would pay.
        PriceTooHigh,
        /// The hotkey or uid is not a member of this run.
        NotMember,
        /// The coldkey does not own this member.
        NotOwner,
        /// The member is not a miner.
        NotMiner,
        /// The member is not a validator, or had no permit when the epoch closed.
        NotValidator,
        /// The bond would stay below the least bond.
        BondTooLow,
        /// The member asked to leave already.
        AlreadyLeaving,
        /// An endpoint needs at least one address.
        NoAddress,
        /// The miner holds no stage yet.
        NotAssigned,
        /// A count in the commit is beyond what the run allows.
        BadCounts,
        /// This member committed in this epoch already.
        AlreadyCommitted,
        /// As many miners of the stage have committed as can merge.
        StageFull,
        /// The miner has no commit in this epoch.
        NotCommitted,
        /// The bitmap names no committer, or lacks the sender's own entry.
        BadBitmap,
        /// This owner attested already.
        AlreadyAttested,
        /// This owner blinded already.
        AlreadyBlinded,
        /// This owner has no blinded hash to open.
        NotBlinded,
        /// This owner opened already.
        AlreadyOpened,
        /// The hashes are not those that were blinded.
        BlindMismatch,
        /// The shards are not exactly those that this owner holds, in ascending order.
        WrongShards,
        /// This miner reported a root already.
        AlreadyRooted,
        /// The validator committed to no scores for this epoch.
        NoCommit,
        /// The scores are not those that were committed.
        HashMismatch,
        /// The row is not strictly ascending by uid.
        Unsorted,
        /// The row scores somebody who is no miner of that epoch.
        UnknownMiner,
        /// The row was revealed already.
        AlreadyRevealed,
        /// The account is owed nothing.
        NothingOwed,

        // Membership and money.
        /// Nothing of this member has vested since it was last released.
        NothingVested,
        /// The amount is nothing, or more than the bond.
        BadAmount,
        /// Nothing of this member and owner is unbonding.
        NotUnbonding,
        /// The delay of what was unbonded is not over.
        StillBonded,
        /// The validator has not lost its permit.
        HasPermit,
        /// The member's hotkey was changed too short a time ago.
        SwapTooSoon,
        /// As many hotkeys change at this epoch's end as may.
        TooManySwaps,
        /// The account owns the member already.
        SameColdkey,
        /// No change of this member's coldkey was announced.
        NotAnnounced,
        /// The delay of the announcement is not over.
        TooEarly,
        // ---- Verdicts, evidence, transcripts and runs ----
        /// The window for commits of this epoch's scores has closed.
        CommitTooLate,
        /// Rows are revealed only after the window for commits.
        RevealTooEarly,
        /// The window for reveals has closed; the author counts as silent for this epoch.
        RevealTooLate,
        /// The author committed another validator's hash, which nothing of its own opens.
        CopiedCommit,
        /// This segment of this miner has been accused already.
        AlreadyAccused,
        /// As many accusations of this epoch are open as are judged at once.
        TooManyAccusations,
        /// Nobody accused this miner of this segment.
        NoAccusation,
        /// There is a verdict already.
        AlreadyDecided,
        /// This validator voted already.
        AlreadyVoted,
        /// The two headers do not contradict each other.
        NoEquivocation,
        /// The miner is not paid for this epoch already.
        AlreadyGated,
        /// This validator asked already.
        AlreadyAsked,
        /// Evidence is asked for a second time only where pay is held.
        NothingHeld,
        /// Nobody asked this miner for evidence of this epoch.
        NoRequest,
        /// The miner answered already.
        AlreadyAnswered,
        /// A submission without any transcript.
        NoTranscript,
        /// The next epoch's parameters and shares are fixed from `Attest` on.
        Frozen,
        /// Other runs have more of the emission than this would leave.
        ShareTaken,
        /// The run is not paused.
        NotPaused,
        // ---- Roots that validators attest, and the way back ----
        /// The run has no such stage.
        UnknownStage,
        /// The state after that epoch was not recorded, or is kept by nobody any more.
        NoCheckpoint,
    }

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

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Starts a run, which waits until enough miners have registered and served.
        ///
        /// # Errors
        /// `InvalidParams`, `TooManyRuns`.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::create_run(count(params.stages.len())))]
        pub fn create_run(origin: OriginFor<T>, params: RunParams) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_create_own_run(params)?;
            Ok(())
        }

        /// Makes `hotkey` a member owned by the sender; burns the price. `proof` is the hotkey's
        /// sr25519 signature of `iota_protocol::hash::register_payload`.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `AlreadyRegistered`, `RunFull`, `PriceTooHigh`,
        /// `BadProof`, or what the token answers when the price cannot be paid.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register())]
        pub fn register(
            origin: OriginFor<T>,
            run: RunId,
            hotkey: AccountId32,
            role: Role,
            proof: [u8; 64],
            max_price: u128,
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_register(run, coldkey, hotkey, role, &proof, max_price)
        }

        /// Adds to the bond of a validator; `amount` goes on hold on the sender, its coldkey.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `NotMember`, `NotOwner`, `NotValidator`, `BondTooLow`, or
        /// what the token answers when the coldkey has less.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::bond())]
        pub fn bond(origin: OriginFor<T>, run: RunId, uid: Uid, amount: u128) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_bond(run, uid, &coldkey, amount)
        }

        /// Publishes where the sender, a hotkey, can be reached. `peer_signature` is the ed25519
        /// signature of `iota_protocol::hash::serve_payload` by `endpoint.peer`. Free once an epoch.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NoAddress`, `BadProof`.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::serve(count(endpoint.addresses.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, endpoint: &Endpoint, peer_signature: &[u8; 64]| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::serves_for_free(&who, *run, endpoint, peer_signature))
        })]
        pub fn serve(
            origin: OriginFor<T>,
            run: RunId,
            endpoint: Endpoint,
            peer_signature: [u8; 64],
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_serve(&hotkey, run, endpoint, &peer_signature)
        }

        /// Asks to leave at the next `Close`; sent by the hotkey or the coldkey of a member. A
        /// validator's bond then unbonds.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `AlreadyLeaving`.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::leave())]
        pub fn leave(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_leave(run, uid, &who)
        }

        /// Commits to everything that the sender did in the current epoch. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotMiner`,
        /// `NotAssigned`, `BadCounts`, `AlreadyCommitted`, `StageFull`.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::commit_work())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, work: &WorkCommit| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_work(&who, *run, *epoch, work).is_ok())
        })]
        pub fn commit_work(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            work: WorkCommit,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_work(&hotkey, run, epoch, work)
        }

        /// Attests whose entries the sender holds and has verified, by position among the stage's
        /// commits in uid order, its own included. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `BadBitmap`, `AlreadyAttested`.
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::attest())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, entries: &Bitmap| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_attest(&who, *run, *epoch, *entries).is_ok())
        })]
        pub fn attest(origin: OriginFor<T>, run: RunId, epoch: Epoch, entries: Bitmap) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_attest(&hotkey, run, epoch, entries)
        }

        /// Commits to the sender's merged shard hashes (`iota_protocol::work::blind_hash`), so that
        /// nobody copies its partner. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `AlreadyBlinded`.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::blind_merge())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_blind_merge(&who, *run, *epoch).is_ok())
        })]
        pub fn blind_merge(origin: OriginFor<T>, run: RunId, epoch: Epoch, hash: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_blind_merge(&hotkey, run, epoch, hash)
        }

        /// Opens the sender's shard hashes and compares them with those of its partners. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `NotBlinded`, `AlreadyOpened`,
        /// `BlindMismatch`, `WrongShards`.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::open_merge(count(hashes.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, salt: &[u8; 32], hashes: &ShardHashes| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_open_merge(&who, *run, *epoch, salt, hashes).is_ok())
        })]
        pub fn open_merge(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            salt: [u8; 32],
            hashes: ShardHashes,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_open_merge(&hotkey, run, epoch, &salt, &hashes)
        }

        /// Reports the root of weights and outer momentum after the outer step: the state at the
        /// start of the next epoch. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `AlreadyRooted`.
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::commit_root())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_root(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_root(origin: OriginFor<T>, run: RunId, epoch: Epoch, root: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_root(&hotkey, run, epoch, root)
        }

        /// Commits to a row of scores for `epoch`, the one before the current
        /// (`iota_protocol::work::scores_hash`). Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `CommitTooLate`, `NotMember`, `NotValidator`,
        /// `AlreadyCommitted`.
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::commit_scores())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_scores(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_scores(origin: OriginFor<T>, run: RunId, epoch: Epoch, hash: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_scores(&hotkey, run, epoch, hash)
        }

        /// Reveals the row that `author` committed to; anyone may send it. Free when it matches.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `RevealTooEarly`, `RevealTooLate`, `NoCommit`,
        /// `AlreadyRevealed`, `NotMember`, `CopiedCommit`, `HashMismatch`, `Unsorted`, `UnknownMiner`.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::reveal_scores(count(reveal.entries.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, author: &Uid, reveal: &ScoreReveal| -> bool {
            Pallet::<T>::signer(origin).is_some()
                && Pallet::<T>::check_reveal_scores(*run, *epoch, *author, reveal).is_ok()
        })]
        pub fn reveal_scores(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            author: Uid,
            reveal: ScoreReveal,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_reveal_scores(run, epoch, author, reveal)
        }

        /// Pays `account` what it is owed; anyone may send it.
        ///
        /// # Errors
        /// `NothingOwed`, or what the token answers when the account cannot take it.
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, account: AccountId32) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_claim(account)
        }

        // Membership and money: indices 20 to 39.

        /// Makes claimable what has vested of a member's pay, and frees the hold that it started with
        /// once that is over; anyone may send it. Members who are paid need it only at the end.
        ///
        /// # Errors
        /// `NothingVested`, or what the token answers when the hold cannot be released.
        #[pallet::call_index(20)]
        #[pallet::weight(T::WeightInfo::release())]
        pub fn release(origin: OriginFor<T>, run: RunId, incarnation: Incarnation) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_release(run, incarnation)
        }

        /// Takes from a validator's bond; sent by its coldkey. What is left must be nothing or at
        /// least the least bond. The amount stays on hold for `UnbondDelay` blocks.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `NotValidator`, `BadAmount`, `BondTooLow`.
        #[pallet::call_index(21)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>, run: RunId, uid: Uid, amount: u128) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_unbond(run, uid, &coldkey, amount)
        }

        /// Takes off hold what `coldkey` unbonded from a member, once the delay is over; anyone may
        /// send it.
        ///
        /// # Errors
        /// `NotUnbonding`, `StillBonded`, or what the token answers.
        #[pallet::call_index(22)]
        #[pallet::weight(T::WeightInfo::withdraw())]
        pub fn withdraw(
            origin: OriginFor<T>,
            run: RunId,
            incarnation: Incarnation,
            coldkey: AccountId32,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_withdraw(run, incarnation, coldkey)
        }

        /// Asks for the permit that the sender, a validator's hotkey, lost by missing reveals. The
        /// next miss takes it again. Free.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `NotMember`, `NotValidator`, `HasPermit`.
        #[pallet::call_index(23)]
        #[pallet::weight(T::WeightInfo::resume())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId| -> bool {
            Pallet::<T>::signer(origin).is_some_and(|who| Pallet::<T>::check_resume(*run, &who).is_ok())
        })]
        pub fn resume(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_resume(run, &hotkey)
        }

        /// Gives a member another hotkey from the next epoch on; sent by its coldkey. `proof` is the
        /// new hotkey's consent, as in `register`.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `NotMember`, `NotOwner`, `AlreadyLeaving`,
        /// `AlreadyRegistered`, `SwapTooSoon`, `BadProof`, `TooManySwaps`.
        #[pallet::call_index(24)]
        #[pallet::weight(T::WeightInfo::swap_hotkey())]
        pub fn swap_hotkey(
            origin: OriginFor<T>,
            run: RunId,
            uid: Uid,
            hotkey: AccountId32,
            proof: [u8; 64],
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_swap_hotkey(run, uid, &coldkey, hotkey, &proof)
        }

        /// Announces who may take a member over after `ColdkeyDelay` blocks; sent by its coldkey.
        /// Replaces an earlier announcement.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `SameColdkey`.
        #[pallet::call_index(25)]
        #[pallet::weight(T::WeightInfo::announce_coldkey())]
        pub fn announce_coldkey(
            origin: OriginFor<T>,
            run: RunId,
            uid: Uid,
            to: AccountId32,
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_announce_coldkey(run, uid, &coldkey, to)
        }

        /// Takes an announcement back; sent by the member's coldkey.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `NotAnnounced`.
        #[pallet::call_index(26)]
        #[pallet::weight(T::WeightInfo::cancel_coldkey())]
        pub fn cancel_coldkey(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_cancel_coldkey(run, uid, &coldkey)
        }

        /// Takes over a member; sent by the account that was announced, once the delay is over.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotAnnounced`, `NotOwner`, `TooEarly`, or what the token
        /// answers when holds cannot be moved.
        #[pallet::call_index(27)]
        #[pallet::weight(T::WeightInfo::take_over())]
        pub fn take_over(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_take_over(run, uid, &who)
        }

        // ---- Verdicts, evidence, transcripts and runs: 40 to 59 ----

        /// Accuses a miner of one segment of an epoch that closed, behind a deposit out of the sender's
        /// bond. The sender, a validator that had a permit in that epoch, votes guilty by it. Free of
        /// fees: the deposit is the price.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NotValidator`, `UnknownMiner`,
        /// `AlreadyAccused`, `TooManyAccusations`, `BondTooLow`.
        #[pallet::call_index(40)]
        #[pallet::weight(T::WeightInfo::accuse())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, incarnation: &Incarnation, segment: &u32, _evidence: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_accuse(&who, *run, *epoch, (*uid, *incarnation), *segment).is_ok())
        })]
        pub fn accuse(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            segment: u32,
            evidence: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_accuse(&hotkey, run, epoch, (uid, incarnation), segment, evidence)
        }

        /// Votes on an accusation; sent by a validator that had a permit in the accused epoch. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NotValidator`, `NoAccusation`,
        /// `AlreadyDecided`, `AlreadyVoted`.
        #[pallet::call_index(41)]
        #[pallet::weight(T::WeightInfo::vote())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, segment: &u32, _guilty: &bool| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_vote(&who, *run, *epoch, *uid, *segment).is_ok())
        })]
        pub fn vote(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            segment: u32,
            guilty: bool,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_vote(&hotkey, run, epoch, uid, segment, guilty)
        }

        /// Asks a miner for evidence of an epoch that closed; `wanted` names it. In `Train`, and after the
        /// miner's answer until `Close`. Free once for each miner, and once more after its answer.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotValidator`,
        /// `UnknownMiner`, `NothingHeld`, `AlreadyAsked`.
        #[pallet::call_index(42)]
        #[pallet::weight(T::WeightInfo::request_evidence())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, incarnation: &Incarnation, wanted: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| {
                    let miner = (*uid, *incarnation);
                    Pallet::<T>::check_request_evidence(&who, *run, *epoch, miner, *wanted).is_ok()
                })
        })]
        pub fn request_evidence(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            wanted: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_request_evidence(&hotkey, run, epoch, (uid, incarnation), wanted)
        }

        /// Answers all requests about the sender, a miner, with the root of what it serves; before `Blind`.
        /// Who still cannot get it has to ask again. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NoRequest`, `AlreadyAnswered`,
        /// `WrongPhase`.
        #[pallet::call_index(43)]
        #[pallet::weight(T::WeightInfo::answer_evidence())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_answer_evidence(&who, *run, *epoch).is_ok())
        })]
        pub fn answer_evidence(origin: OriginFor<T>, run: RunId, epoch: Epoch, root: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_answer_evidence(&hotkey, run, epoch, root)
        }

        /// Commits to audit transcripts of the epoch before the current
        /// (`iota_protocol::work::transcripts_hash`), while score rows are committed. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `CommitTooLate`, `NotMember`, `NotValidator`,
        /// `AlreadyCommitted`.
        #[pallet::call_index(44)]
        #[pallet::weight(T::WeightInfo::commit_transcripts())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_transcripts(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_transcripts(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            hash: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_transcripts(&hotkey, run, epoch, hash)
        }

        /// Opens the sender's transcripts, while score rows are revealed. Free when they match.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `RevealTooEarly`, `RevealTooLate`, `NotMember`,
        /// `NoCommit`, `AlreadyRevealed`, `HashMismatch`, `NoTranscript`, `Unsorted`, `UnknownMiner`.
        #[pallet::call_index(45)]
        #[pallet::weight(T::WeightInfo::submit_transcripts(count(transcripts.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, salt: &[u8; 32], transcripts: &Transcripts| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_submit_transcripts(&who, *run, *epoch, salt, transcripts).is_ok())
        })]
        pub fn submit_transcripts(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            salt: [u8; 32],
            transcripts: Transcripts,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_submit_transcripts(&hotkey, run, epoch, &salt, transcripts)
        }

        /// Proves that a miner signed two contradicting headers; anyone may send it, and who is right
        /// needs no funds and pays no fee.
        ///
        /// # Errors
        /// `NoEquivocation`, `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `BadProof`,
        /// `AlreadyGated`.
        #[pallet::call_index(46)]
        #[pallet::weight(T::WeightInfo::report_equivocation())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, proof: &Equivocation| -> bool {
            Pallet::<T>::signer(origin).is_some() && Pallet::<T>::check_equivocation(proof).is_ok()
        })]
        pub fn report_equivocation(origin: OriginFor<T>, proof: Equivocation) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_report_equivocation(&proof)?;
            Ok(Pays::No.into())
        }

        /// Makes a run behind a deposit, without a share of the emission.
        ///
        /// # Errors
        /// `InvalidParams`, `TooManyRuns`, or what the token answers when the sender has less.
        #[pallet::call_index(47)]
        #[pallet::weight(T::WeightInfo::sponsor_run(count(params.stages.len())))]
        pub fn sponsor_run(origin: OriginFor<T>, params: RunParams) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_sponsor_run(&owner, params)
        }

        /// Gives a run a share of the chain's emission from its next `Close` on; the admin origin's.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `Frozen`, `ShareTaken`.
        #[pallet::call_index(48)]
        #[pallet::weight(T::WeightInfo::set_run_share())]
        pub fn set_run_share(origin: OriginFor<T>, run: RunId, share_ppm: u32) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_set_run_share(run, share_ppm)
        }

        /// Sets parameters that the run has from its next epoch on; the admin origin's or the owner's.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning` (ended), `Frozen`, `InvalidParams`.
        #[pallet::call_index(49)]
        #[pallet::weight(T::WeightInfo::schedule_params(count(params.stages.len())))]
        pub fn schedule_params(origin: OriginFor<T>, run: RunId, params: RunParams) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_schedule_params(run, params)
        }

        /// Pauses a run after its current epoch; the admin origin's or the owner's.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning`, `Frozen`.
        #[pallet::call_index(50)]
        #[pallet::weight(T::WeightInfo::pause_run())]
        pub fn pause_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_pause_run(run)
        }

        /// Starts the next epoch of a paused run in the next block, or takes a pause back.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotPaused`.
        #[pallet::call_index(51)]
        #[pallet::weight(T::WeightInfo::resume_run())]
        pub fn resume_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_resume_run(run)
        }

        /// Makes the current epoch the last that trains; it is settled and the run ends.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning` (ended), `Frozen`.
        #[pallet::call_index(52)]
        #[pallet::weight(T::WeightInfo::end_run())]
        pub fn end_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_end_run(run)
        }

        // ---- Roots that validators attest, and the way back: 53 to 55 ----

        /// Attests the root of weights and outer momentum that the agreed shards leave in a stage, while
        /// roots are reported; sent by a validator that had a permit in the epoch before. Two thirds of
        /// the stake overrule the committers. Free once for each stage.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotValidator`,
        /// `UnknownStage`, `AlreadyVoted`.
        #[pallet::call_index(53)]
        #[pallet::weight(T::WeightInfo::attest_root())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, stage: &Stage, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_attest_root(&who, *run, *epoch, *stage).is_ok())
        })]
        pub fn attest_root(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            stage: Stage,
            root: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_attest_root(&hotkey, run, epoch, stage, root)
        }

        /// Wants all stages to go back, at the next `Close`, to the states after epoch `to`; sent in
        /// `epoch`, the current one, by a validator that had a permit in the one before. Two thirds of the
        /// stake decide. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase` (settling or closing), `NotMember`,
        /// `NotValidator`, `NoCheckpoint`, `AlreadyDecided`, `AlreadyVoted`.
        #[pallet::call_index(54)]
        #[pallet::weight(T::WeightInfo::vote_rollback())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, to: &Epoch| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_vote_rollback(&who, *run, *epoch, *to).is_ok())
        })]
        pub fn vote_rollback(origin: OriginFor<T>, run: RunId, epoch: Epoch, to: Epoch) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_vote_rollback(&hotkey, run, epoch, to)
        }

        /// Lets all stages go back, at the next `Close`, to the states after epoch `to`; the admin
        /// origin's, over any votes.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongPhase` (settling or closing), `NoCheckpoint`.
        #[pallet::call_index(55)]
        #[pallet::weight(T::WeightInfo::roll_back())]
        pub fn roll_back(origin: OriginFor<T>, run: RunId, to: Epoch) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_roll_back(run, to)
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
