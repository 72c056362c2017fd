//! What a node answers about runs: the only way in which workers and explorer read the pallet, so
//! that storage may change without them.

use alloc::vec::Vec;
use iota_protocol::{
    consensus::bonds::BondRow,
    court::CourtView,
    ids::{AccountKey, Epoch, RunId, Stage},
    params::RunParams,
    view::{
        AgreementView, ClockView, EpochReportView, MemberView, MergeView, Payout, ScoreView, SnapshotView,
    },
};
use polkadot_sdk::sp_api;

sp_api::decl_runtime_apis! {
    /// Reads of `pallet-iota`. Amounts are in the smallest unit.
    pub trait IotaApi {
        /// Version of this interface; workers refuse another.
        fn api_version() -> u32;
        /// Parameters of a run.
        fn run(run: RunId) -> Option<RunParams>;
        /// The clock of a run.
        fn clock(run: RunId) -> Option<ClockView>;
        /// Members of a run in uid order.
        fn members(run: RunId) -> Vec<MemberView>;
        /// The merge of one stage in one epoch, for the last few epochs.
        fn merge(run: RunId, epoch: Epoch, stage: Stage) -> Option<MergeView>;
        /// Which pairs of a stage's committers agreed in one epoch, for the last few epochs.
        fn agreement(run: RunId, epoch: Epoch, stage: Stage) -> Option<AgreementView>;
        /// Pay of an epoch that waits for evidence.
        fn held(run: RunId, epoch: Epoch) -> Vec<Payout>;
        /// Accusations, votes, gates, requests for evidence and transcripts about one epoch.
        fn court(run: RunId, epoch: Epoch) -> CourtView;
        /// Whether a validator's hotkey lost its permit by missing reveals and may `resume`.
        fn may_resume(run: RunId, hotkey: AccountKey) -> bool;
        /// Everyone who may be paid for an epoch, for the last few epochs.
        fn snapshot(run: RunId, epoch: Epoch) -> Option<SnapshotView>;
        /// Commits and reveals for a scored epoch in uid order, for the last few epochs.
        fn scores(run: RunId, epoch: Epoch) -> Vec<ScoreView>;
        /// What a scored epoch minted and paid.
        fn report(run: RunId, epoch: Epoch) -> Option<EpochReportView>;
        /// Bonds of a run after its last settled epoch, in uid order of the validators.
        fn bonds(run: RunId) -> Vec<BondRow>;
        /// What an account may claim.
        fn owed(account: AccountKey) -> u128;
        /// What a registration burns now.
        fn registration_price() -> u128;
        /// The account that takes remainders and unattributed shares.
        fn treasury() -> AccountKey;
        /// Everything that exists, in circulation or not.
        fn issuance() -> u128;
    }
}
