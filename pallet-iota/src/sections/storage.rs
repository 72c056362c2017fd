//! Everything that the pallet stores, with the reason for each hasher and the bound of each item.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod storage {
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

    /// Hotkeys that members gave up after an epoch, by a change or by leaving; gone with the accusations.
    // Twox: both parts are counted by the pallet.
    #[pallet::storage]
    pub type FormerSigners<T> = StorageMap<_, Twox64Concat, (RunId, Epoch), Signers, ValueQuery>;

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
    pub type Arrivals<T> =
        StorageMap<_, Twox64Concat, RunId, BoundedVec<Arrival, ConstU32<MAX_ARRIVALS>>, ValueQuery>;

    /// Changes of hotkeys at the next `Close`.
    // Twox: ids are counted by the pallet.
    #[pallet::storage]
    pub type Swaps<T> = StorageMap<_, Twox64Concat, RunId, BoundedVec<Swap, SwapBound>, ValueQuery>;

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
}
