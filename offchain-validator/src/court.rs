//! Judging beside scoring: accuses miners whose audit was `Invalid`, re-checks what others accuse and
//! votes, recomputes merge shards, asks on chain for evidence that a miner withholds, and asks for a permit
//! that was lost.
//!
//! A task of its own follows the chain, so that the windows of the score rows are never missed for it.
//! What it says on chain stands in the docket first.

mod asking;
mod shards;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codec::Decode;
use iota_chain::{Call, Submitter};
use iota_compute::data::Dataset;
use iota_compute::Device;
use iota_protocol::case::{self, Case, CASE_VERSION};
use iota_protocol::court::{AccusationView, Accused, CourtView};
use iota_protocol::ids::{Epoch, Hash, Stage, Uid, Version};
use iota_protocol::phase::Phase;
use iota_protocol::report::Verdict;
use iota_protocol::view::{CommitView, MemberView, SnapshotView};
use iota_protocol::wire::FetchRequest;
use iota_worker::fetch::list_root;
use iota_worker::session::{RunSnapshot, Session};

use crate::audit::{Auditor, Subject, Which};
use crate::docket::{case_path, Docket, Judgement};
use crate::evaluate;
use crate::examine::Examiner;
use crate::exhibits::{self, Exhibits};
use crate::gather;
use crate::witness::Witness;

/// Blocks between the turns of two judges: what it takes for an accusation to be seen in a finalized block.
const TURN_BLOCKS: u8 = 4;
/// Turns that are waited for at most, so that a judge that is silent costs little of the time to judge.
const MAX_TURNS: usize = 3;
/// How often one accusation is re-checked before this validator leaves it to others: evidence that is
/// on its way comes within a few blocks.
const RECHECKS: u8 = 4;
/// Wait for one part of another validator's case.
const CASE_TIME: Duration = Duration::from_secs(5);

/// Everything that judging needs.
pub struct Court {
    /// The followed run, a handle of our own.
    pub session: Session,
    /// Submits with our hotkey.
    pub submitter: Arc<Submitter>,
    /// Ourselves.
    pub member: MemberView,
    /// What our secrets are derived from.
    pub hotkey_secret: Hash,
    /// Peers, findings, and states that epochs start with.
    pub examiner: Examiner,
    /// Tokens.
    pub dataset: Arc<Dataset>,
    /// Device.
    pub device: Device,
}

/// What is counted between blocks; lost at a restart, which only costs a few tries more.
#[derive(Default)]
struct Tries {
    /// Blocks for which a finding of ours has waited for its turn.
    found: BTreeMap<(Epoch, Uid, u32), u8>,
    rechecks: BTreeMap<(Epoch, Uid, u32), u8>,
    probes: BTreeMap<(Epoch, Uid, bool), u8>,
    /// Passes over the shards of an epoch's merges.
    merges: BTreeMap<Epoch, u8>,
    resumed: Option<Epoch>,
}

/// One epoch under judgement at one block.
struct Sitting<'a> {
    view: &'a RunSnapshot,
    epoch: Epoch,
    court: CourtView,
    snapshot: SnapshotView,
    /// The epoch is the one before the current: pay can still be held, not only lapse.
    first: bool,
}

impl Court {
    /// Judges until the run ends or the program does.
    pub async fn run(mut self) {
        let mut tries = Tries::default();
        while let Ok(view) = self.session.next().await {
            if !view.is_running() {
                continue;
            }
            self.examiner.dockets.forget_before(view.epoch());
            tries.forget_before(view.epoch());
            if let Err(error) = self.keep_permit(&view, &mut tries).await {
                tracing::warn!(error = %format!("{error:#}"), "permit not asked for; trying again at the next block");
            }
            let last = view.epoch().previous();
            if let Some(epoch) = last {
                if let Err(error) = self.check_merges(&view, epoch, &mut tries).await {
                    tracing::warn!(%epoch, error = %format!("{error:#}"), "merges not recomputed; trying again at the next block");
                }
            }
            for epoch in [last, last.and_then(Epoch::previous)].into_iter().flatten() {
                if let Err(error) = self.attend(&view, epoch, &mut tries).await {
                    tracing::warn!(%epoch, error = %format!("{error:#}"), "judging goes on at the next block");
                }
            }
        }
    }

    /// A validator that missed reveals asks for its permit again, once in an epoch: it is alive, or
    /// it would not be here.
    async fn keep_permit(&self, view: &RunSnapshot, tries: &mut Tries) -> anyhow::Result<()> {
        if tries.resumed == Some(view.epoch()) {
            return Ok(());
        }
        let run = self.session.run;
        if self.session.chain.at_finalized().await?.may_resume(run, self.member.hotkey).await? {
            self.submitter.submit_finalized(&Call::resume(run)).await?;
            tracing::info!(
                "the permit was lost for missed reveals; it is ours again from the next snapshot on"
            );
        }
        tries.resumed = Some(view.epoch());
        Ok(())
    }

    async fn attend(&self, view: &RunSnapshot, epoch: Epoch, tries: &mut Tries) -> anyhow::Result<()> {
        let at = self.session.chain.at_finalized().await?;
        let court = at.court(self.session.run, epoch).await?;
        let docket = self.examiner.dockets.recall(epoch);
        if court.is_empty() && docket == Docket::default() {
            return Ok(());
        }
        let snapshot = at.snapshot(self.session.run, epoch).await?.unwrap_or_default();
        let ours = |judge: &iota_protocol::view::SnapshotValidator| {
            judge.uid == self.member.uid && judge.incarnation == self.member.incarnation
        };
        if !snapshot.validators.iter().any(ours) {
            return Ok(());
        }
        let first = view.epoch() == epoch.next();
        let sitting = Sitting { view, epoch, court, snapshot, first };
        self.accuse(&sitting, &docket, tries).await?;
        self.vote(&sitting, tries).await?;
        self.ask(&sitting, &docket, tries).await
    }

    /// Accuses where our own audit found a miner guilty and nobody else has accused it. Judges take
    /// turns, and a second accusation waits for `Train` to be over: one verdict is enough.
    async fn accuse(&self, sitting: &Sitting<'_>, docket: &Docket, tries: &mut Tries) -> anyhow::Result<()> {
        for judgement in docket.judgements.iter().filter(|own| own.own && own.guilty) {
            let Judgement { uid, incarnation, segment, .. } = *judgement;
            let gated = sitting.court.gated.contains(&(uid, incarnation));
            let others = sitting.court.accusations.iter().any(|own| own.uid == uid && own.verdict.is_none());
            let wait = others && sitting.view.phase() == Phase::Train;
            if gated || wait || sitting.court.accusation(uid, segment).is_some() {
                continue;
            }
            let seen = tries.found.entry((sitting.epoch, uid, segment)).or_default();
            if *seen < patience(&sitting.snapshot, self.member.uid, uid) {
                *seen += 1;
                continue;
            }
            let path = case_path(self.examiner.dockets.dir(), sitting.epoch, uid, segment);
            let case = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let call = Call::accuse(
                self.session.run,
                sitting.epoch,
                (uid, incarnation),
                segment,
                case::root_of(&case),
            );
            if self.say(&call).await {
                tracing::warn!(%uid, epoch = %sitting.epoch, segment, "accused");
            }
        }
        Ok(())
    }

    async fn vote(&self, sitting: &Sitting<'_>, tries: &mut Tries) -> anyhow::Result<()> {
        let me = self.member.uid;
        let open = sitting.court.accusations.iter().filter(|own| own.verdict.is_none());
        for accusation in open.filter(|own| !own.votes.iter().any(|(voter, _)| *voter == me)) {
            let (uid, segment) = (accusation.uid, accusation.segment);
            let known = self.examiner.dockets.recall(sitting.epoch).find(uid, segment).copied();
            let judgement = match known {
                Some(known) => Some(known),
                None => self.recheck(sitting, accusation, tries).await?,
            };
            let Some(judgement) = judgement else { continue };
            let call = Call::vote(self.session.run, sitting.epoch, uid, segment, judgement.guilty);
            if self.say(&call).await {
                tracing::info!(%uid, epoch = %sitting.epoch, segment, guilty = judgement.guilty, "voted");
            }
        }
        Ok(())
    }

    /// Replays the accused segment. What is found is in the docket before it is returned; nothing
    /// where it cannot be decided here.
    async fn recheck(
        &self,
        sitting: &Sitting<'_>,
        accusation: &AccusationView,
        tries: &mut Tries,
    ) -> anyhow::Result<Option<Judgement>> {
        let (epoch, uid, segment) = (sitting.epoch, accusation.uid, accusation.segment);
        let count = tries.rechecks.entry((epoch, uid, segment)).or_default();
        if *count >= RECHECKS {
            return Ok(None);
        }
        *count += 1;
        if let Accused::Shard(number) = Accused::of(segment) {
            return self.recheck_shard(sitting, accusation, number).await;
        }
        let Some(witness) = Witness::recall(self.examiner.dockets.dir(), epoch) else { return Ok(None) };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(None) };
        let Some(member) = gather::latest(&self.session, &witness, uid) else { return Ok(None) };
        let case = self.case(sitting, accusation).await;
        let mut exhibits = Exhibits::of(&self.examiner.network, &member, self.session.run, epoch);
        let root = commit.work.receipts_root;
        let receipts = match case.as_ref().filter(|case| list_root(&case.receipts) == root) {
            Some(case) => case.receipts.clone(),
            None => match exhibits.receipts(root).await {
                Ok(receipts) => receipts,
                Err(_) => return Ok(None),
            },
        };
        if let Some(case) = case {
            exhibits = exhibits.with(case);
        }
        let start = self.start_state(epoch, stage).await;
        // The segment is named, so that seed and secret choose nothing.
        let auditor = self.auditor(epoch, &witness, Hash::ZERO, [0; 32]);
        let subject = Subject { member: &member, stage, work: &commit.work, receipts: &receipts };
        let which = Which::Segment(Version(segment));
        let audit = auditor.audit(&subject, start.as_ref(), which, &mut exhibits).await;
        let guilty = match audit.verdict {
            Verdict::Sound => false,
            Verdict::Invalid => true,
            Verdict::Undecided => return Ok(None),
        };
        let incarnation = commit.incarnation;
        let found = Judgement { uid, incarnation, segment, guilty, root: audit.root, own: false };
        self.examiner.dockets.judge(epoch, found).map(Some)
    }

    /// The commit of a miner in an epoch, and its stage.
    async fn commit_of(
        &self,
        sitting: &Sitting<'_>,
        uid: Uid,
    ) -> anyhow::Result<Option<(Stage, CommitView)>> {
        let Some(miner) = sitting.snapshot.miners.iter().find(|miner| miner.uid == uid) else {
            return Ok(None);
        };
        let at = self.session.chain.at_finalized().await?;
        let merge = at.merge(self.session.run, sitting.epoch, miner.stage).await?.unwrap_or_default();
        let found =
            merge.commits.into_iter().find(|own| own.uid == uid && own.incarnation == miner.incarnation);
        Ok(found.map(|commit| (miner.stage, commit)))
    }

    /// The accuser's evidence, if it serves what it put its name to.
    async fn case(&self, sitting: &Sitting<'_>, accusation: &AccusationView) -> Option<Case> {
        let accuser = sitting.view.member(accusation.accuser)?;
        let (run, epoch, uid, segment) =
            (self.session.run, sitting.epoch, accusation.uid, accusation.segment);
        let request = |part| FetchRequest::Case { run, epoch, uid, segment, part };
        match exhibits::parts(&self.examiner.network, accuser, CASE_TIME, request).await {
            Ok(bytes) if case::root_of(&bytes) == accusation.evidence => {
                let case = Case::decode(&mut bytes.as_slice()).ok()?;
                let same = (case.version, case.run, case.epoch, case.uid, case.segment)
                    == (CASE_VERSION, run, epoch, uid, segment);
                same.then_some(case)
            }
            Ok(_) => {
                tracing::warn!(%uid, %epoch, accuser = %accuser.uid, "the accuser serves other evidence than it accused with");
                None
            }
            Err(error) => {
                tracing::debug!(%uid, %epoch, error, "no evidence from the accuser; asking the miner");
                None
            }
        }
    }

    async fn start_state(&self, epoch: Epoch, stage: Stage) -> Option<iota_compute::outer::OuterState> {
        if let Some(known) = self.examiner.starts.of(epoch, stage) {
            return Some(known);
        }
        let fetched = evaluate::stage_state(&self.session, &self.examiner.network, epoch, stage).await;
        fetched.inspect_err(|error| tracing::debug!(%epoch, %stage, %error, "no start state")).ok()
    }

    fn auditor<'a>(
        &'a self,
        epoch: Epoch,
        witness: &'a Witness,
        seed: Hash,
        secret: [u8; 32],
    ) -> Auditor<'a> {
        Auditor {
            params: &witness.params,
            epoch,
            seed,
            secret,
            data_base: witness.clock.data_base,
            tokens: witness.clock.tokens,
            dataset: &self.dataset,
            device: self.device,
        }
    }

    /// Submits a call; returns whether it took effect. Whether it is still needed is read from the chain
    /// at the next block, so nothing else has to be done about one that did not: somebody was faster, or
    /// the window closed.
    async fn say(&self, call: &Call) -> bool {
        match self.submitter.submit_finalized(call).await {
            Ok(_) => true,
            Err(error) => {
                tracing::info!(call = call.name(), %error, "not taken; looking again at the next block");
                false
            }
        }
    }
}

impl Tries {
    fn forget_before(&mut self, current: Epoch) {
        let judged = |epoch: &Epoch| epoch.0.saturating_add(2) >= current.0;
        self.found.retain(|(epoch, _, _), _| judged(epoch));
        self.rechecks.retain(|(epoch, _, _), _| judged(epoch));
        self.probes.retain(|(epoch, _, _), _| judged(epoch));
        self.merges.retain(|epoch, _| judged(epoch));
    }
}

/// Blocks that a judge waits before it accuses a miner, so that the one whose turn it is goes first.
/// The order of the judges starts at another one for each miner.
fn patience(snapshot: &SnapshotView, me: Uid, accused: Uid) -> u8 {
    let judges = snapshot.validators.len().max(1);
    let place = snapshot.validators.iter().position(|judge| judge.uid == me).unwrap_or(0);
    let first = usize::from(accused.0) % judges;
    let turn = (place + judges - first) % judges;
    u8::try_from(turn.min(MAX_TURNS)).unwrap_or(u8::MAX).saturating_mul(TURN_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::ids::{AccountKey, Incarnation};
    use iota_protocol::view::SnapshotValidator;

    #[test]
    fn judges_take_turns_and_nobody_waits_for_long() {
        let judge = |uid: u16| SnapshotValidator {
            uid: Uid(uid),
            incarnation: Incarnation(0),
            hotkey: AccountKey([0; 32]),
            coldkey: AccountKey([0; 32]),
            stake: 1,
        };
        let snapshot = |count: u16| SnapshotView {
            miners: Vec::new(),
            validators: (10..10 + count).map(judge).collect(),
        };
        let of = |count: u16, accused: u16| {
            let snapshot = snapshot(count);
            (10..10 + count).map(|me| patience(&snapshot, Uid(me), Uid(accused))).collect::<Vec<_>>()
        };
        assert_eq!(of(3, 0), [0, 4, 8]);
        assert_eq!(of(3, 4), [8, 0, 4], "another one is first for another miner");
        assert_eq!(of(1, 7), [0]);
        assert_eq!(of(6, 0), [0, 4, 8, 12, 12, 12]);
    }
}
