//! Where the explorer reads the chain: a trait, so that the indexer can be stopped at every step by a
//! source that fails on purpose, and its one real implementation over `iota-chain`.
//!
//! Everything is read at a given finalized block.

use std::future::Future;
use std::sync::Arc;

use iota_chain::{AccountFunds, Block, Chain, ChainError, Funds, Head, Vesting};
use iota_protocol::court::CourtView;
use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::view::{ClockView, EpochReportView, MemberView, MergeView, ScoreView, SnapshotView};

/// What one read gives.
pub type Read<T> = Result<T, ChainError>;

/// Reads of a chain at one block. Amounts are in the smallest unit.
///
/// *Cancel safety*: every method only reads.
pub trait Source: Send + Sync + 'static {
    /// Hash of block 0.
    fn genesis(&self) -> Hash;
    /// A finalized block.
    fn block(&self, number: u32) -> impl Future<Output = Read<Block>> + Send;
    /// Parameters of a run.
    fn run(&self, at: Head, run: RunId) -> impl Future<Output = Read<Option<RunParams>>> + Send;
    /// Clock of a run.
    fn clock(&self, at: Head, run: RunId) -> impl Future<Output = Read<Option<ClockView>>> + Send;
    /// Members in uid order.
    fn members(&self, at: Head, run: RunId) -> impl Future<Output = Read<Vec<MemberView>>> + Send;
    /// Merge of one stage.
    fn merge(
        &self,
        at: Head,
        run: RunId,
        epoch: Epoch,
        stage: Stage,
    ) -> impl Future<Output = Read<Option<MergeView>>> + Send;
    /// Who may be paid for an epoch.
    fn snapshot(
        &self,
        at: Head,
        run: RunId,
        epoch: Epoch,
    ) -> impl Future<Output = Read<Option<SnapshotView>>> + Send;
    /// Commits and reveals for a scored epoch.
    fn scores(&self, at: Head, run: RunId, epoch: Epoch)
        -> impl Future<Output = Read<Vec<ScoreView>>> + Send;
    /// What a scored epoch minted and paid.
    fn report(
        &self,
        at: Head,
        run: RunId,
        epoch: Epoch,
    ) -> impl Future<Output = Read<Option<EpochReportView>>> + Send;
    /// Accusations, requests for evidence and held pay of an epoch.
    fn court(&self, at: Head, run: RunId, epoch: Epoch) -> impl Future<Output = Read<CourtView>> + Send;
    /// What members of a run have to lose, those that left included.
    fn vestings(&self, at: Head, run: RunId) -> impl Future<Output = Read<Vec<Vesting>>> + Send;
    /// What each of these accounts has, in their order.
    fn accounts(
        &self,
        at: Head,
        accounts: &[AccountKey],
    ) -> impl Future<Output = Read<Vec<AccountFunds>>> + Send;
    /// Everything that exists.
    fn issuance(&self, at: Head) -> impl Future<Output = Read<u128>> + Send;
    /// Sums over accounts.
    fn funds(&self, at: Head) -> impl Future<Output = Read<Funds>> + Send;
    /// The votes on a block, where the node keeps them.
    fn justification(&self, at: Head) -> impl Future<Output = Read<Option<Vec<u8>>>> + Send;
    /// Trie nodes that prove the values under `keys`.
    fn proof(&self, at: Head, keys: Vec<Vec<u8>>) -> impl Future<Output = Read<Vec<Vec<u8>>>> + Send;
}

/// The account that holds rewards until they are claimed: the chain derives it from the pallet's id
/// `iota/pot`, by the rule `modl`, id, zeros.
pub const POT: AccountKey = AccountKey(*b"modliota/pot\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

/// A node.
pub struct Node(pub Arc<Chain>);

impl Source for Node {
    fn genesis(&self) -> Hash {
        self.0.genesis()
    }

    async fn block(&self, number: u32) -> Read<Block> {
        self.0.block(number).await
    }

    async fn run(&self, at: Head, run: RunId) -> Read<Option<RunParams>> {
        self.0.at(at).await.run(run).await
    }

    async fn clock(&self, at: Head, run: RunId) -> Read<Option<ClockView>> {
        self.0.at(at).await.clock(run).await
    }

    async fn members(&self, at: Head, run: RunId) -> Read<Vec<MemberView>> {
        self.0.at(at).await.members(run).await
    }

    async fn merge(&self, at: Head, run: RunId, epoch: Epoch, stage: Stage) -> Read<Option<MergeView>> {
        self.0.at(at).await.merge(run, epoch, stage).await
    }

    async fn snapshot(&self, at: Head, run: RunId, epoch: Epoch) -> Read<Option<SnapshotView>> {
        self.0.at(at).await.snapshot(run, epoch).await
    }

    async fn scores(&self, at: Head, run: RunId, epoch: Epoch) -> Read<Vec<ScoreView>> {
        self.0.at(at).await.scores(run, epoch).await
    }

    async fn report(&self, at: Head, run: RunId, epoch: Epoch) -> Read<Option<EpochReportView>> {
        self.0.at(at).await.report(run, epoch).await
    }

    async fn court(&self, at: Head, run: RunId, epoch: Epoch) -> Read<CourtView> {
        self.0.at(at).await.court(run, epoch).await
    }

    async fn vestings(&self, at: Head, run: RunId) -> Read<Vec<Vesting>> {
        self.0.at(at).await.vestings(run).await
    }

    async fn accounts(&self, at: Head, accounts: &[AccountKey]) -> Read<Vec<AccountFunds>> {
        self.0.at(at).await.accounts(accounts).await
    }

    async fn issuance(&self, at: Head) -> Read<u128> {
        self.0.at(at).await.issuance().await
    }

    async fn funds(&self, at: Head) -> Read<Funds> {
        self.0.at(at).await.funds(POT).await
    }

    async fn justification(&self, at: Head) -> Read<Option<Vec<u8>>> {
        self.0.justification(at.hash).await
    }

    async fn proof(&self, at: Head, keys: Vec<Vec<u8>>) -> Read<Vec<Vec<u8>>> {
        Ok(self.0.storage_proof(at.hash, &keys).await?.nodes)
    }
}
