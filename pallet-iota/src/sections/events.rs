//! What the pallet tells: each event with every id that an indexer needs.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod events {
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
}
