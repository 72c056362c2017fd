//! Why calls are refused.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod errors {
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
}
