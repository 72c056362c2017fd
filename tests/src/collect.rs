//! What an observer keeps of a run while it goes on: the chain forgets old commits and snapshots
//! after a few epochs, the audit at the end needs all of them.

use std::collections::BTreeMap;
use std::time::Instant;

use iota_protocol::court::CourtView;
use iota_protocol::ids::{Epoch, Stage};
use iota_protocol::view::{
    ClockView, EpochReportView, MemberView, MergeView, RunState, ScoreView, SnapshotView,
};

use crate::network::{Devnet, RUN};

/// One epoch as the observer saw it.
#[derive(Clone, Debug, Default)]
pub struct EpochRecord {
    /// When its first block was seen.
    pub started: Option<Instant>,
    /// When the next epoch's first block was seen.
    pub ended: Option<Instant>,
    /// Merge of each stage, in stage order.
    pub merges: Vec<MergeView>,
    /// Who may be paid.
    pub snapshot: Option<SnapshotView>,
    /// Commits and reveals.
    pub scores: Vec<ScoreView>,
    /// Accusations, gates, requests and transcripts as they stood before they were forgotten; held pay
    /// as it was last seen.
    pub court: CourtView,
    /// Emission.
    pub report: Option<EpochReportView>,
    /// Training tokens recorded by its end.
    pub tokens_after: Option<u64>,
}

/// Takes what is seen, unless nothing is left of it: nothing is withdrawn while it is judged, so that a
/// list is empty again only because a `Close`, which may take several blocks, is settling it.
fn keep<T>(kept: &mut Vec<T>, seen: Vec<T>) {
    if !seen.is_empty() {
        *kept = seen;
    }
}

/// Everything the observer keeps.
#[derive(Debug, Default)]
pub struct Records {
    /// By epoch.
    pub epochs: BTreeMap<Epoch, EpochRecord>,
    /// Members as last seen.
    pub members: Vec<MemberView>,
    /// The clock as last seen.
    pub clock: Option<ClockView>,
    /// Finalized block of the last look.
    pub block: u32,
    /// Issuance at genesis.
    pub issuance_before: u128,
    /// Issuance at the last look.
    pub issuance_after: u128,
}

impl Records {
    /// Looks at the newest finalized block and keeps what is new. Returns whether the run has ended.
    ///
    /// # Errors
    /// When the node does not answer; nothing is lost, look again.
    pub async fn look(&mut self, devnet: &Devnet) -> anyhow::Result<bool> {
        let at = devnet.chain.at_finalized().await?;
        let Some(clock) = at.clock(RUN).await? else { return Ok(false) };
        self.block = at.head().number;
        self.members = at.members(RUN).await?;
        self.issuance_after = at.issuance().await?;
        if clock.state != RunState::Waiting {
            let epoch = clock.epoch;
            self.epochs.entry(epoch).or_default().started.get_or_insert_with(Instant::now);
            for stage in 0..devnet.params.n_stages() {
                self.keep_merge(&at, devnet, epoch, Stage(stage)).await?;
            }
            let mut recent = Some(epoch);
            for _ in 0..3 {
                let Some(epoch) = recent else { break };
                self.keep_closed(&at, &clock, epoch).await?;
                recent = epoch.previous();
            }
        }
        let ended = clock.state == RunState::Ended;
        self.clock = Some(clock);
        Ok(ended)
    }

    async fn keep_merge(
        &mut self,
        at: &iota_chain::At,
        devnet: &Devnet,
        epoch: Epoch,
        stage: Stage,
    ) -> anyhow::Result<()> {
        let merge = at.merge(RUN, epoch, stage).await?;
        let record = self.epochs.entry(epoch).or_default();
        record.merges.resize(usize::from(devnet.params.n_stages()), MergeView::default());
        if let (Some(slot), Some(merge)) = (record.merges.get_mut(usize::from(stage.0)), merge) {
            *slot = merge;
        }
        Ok(())
    }

    /// The judging of an epoch, while the chain has it: the blocks of `Close` forget what they settle.
    async fn keep_court(
        &mut self,
        at: &iota_chain::At,
        clock: &ClockView,
        epoch: Epoch,
    ) -> anyhow::Result<()> {
        let judged = clock.epoch.0.checked_sub(epoch.0).is_some_and(|age| (1..=2).contains(&age));
        if !judged || clock.state != RunState::Running {
            return Ok(());
        }
        let seen = at.court(RUN, epoch).await?;
        let court = &mut self.epochs.entry(epoch).or_default().court;
        keep(&mut court.accusations, seen.accusations);
        keep(&mut court.gated, seen.gated);
        keep(&mut court.requests, seen.requests);
        keep(&mut court.held, seen.held);
        keep(&mut court.audits, seen.audits);
        Ok(())
    }

    /// Snapshot, scores and report of an epoch, and its merges as they stood at `Close`.
    async fn keep_closed(
        &mut self,
        at: &iota_chain::At,
        clock: &ClockView,
        epoch: Epoch,
    ) -> anyhow::Result<()> {
        let record = self.epochs.entry(epoch).or_default();
        if clock.epoch > epoch {
            record.ended.get_or_insert_with(Instant::now);
            if clock.epoch == epoch.next() {
                record.tokens_after = Some(clock.tokens);
            }
            for (number, slot) in (0u16..).zip(record.merges.iter_mut()) {
                if let Some(merge) = at.merge(RUN, epoch, Stage(number)).await? {
                    *slot = merge;
                }
            }
        }
        self.keep_court(at, clock, epoch).await?;
        let record = self.epochs.entry(epoch).or_default();
        // A void report is replaced when the next epoch's rows have scored it.
        if record.report.as_ref().is_none_or(|report| report.void) {
            if let Some(snapshot) = at.snapshot(RUN, epoch).await? {
                record.snapshot = Some(snapshot);
            }
            let scores = at.scores(RUN, epoch).await?;
            if !scores.is_empty() {
                record.scores = scores;
            }
            record.report = at.report(RUN, epoch).await?;
        }
        Ok(())
    }
}
