//! Judging beside scoring: accuses miners whose audit was `Invalid`, re-checks what others accuse and
//! votes, asks on chain for evidence that a miner withholds, and asks for a permit that was lost.
//!
//! A task of its own follows the chain, so that the windows of the score rows are never missed for it.
//! What it says on chain stands in the docket first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codec::Decode;
use iota_chain::{Call, SubmitError, Submitter};
use iota_compute::data::Dataset;
use iota_compute::Device;
use iota_network::Network;
use iota_protocol::case::{self, Case, CASE_VERSION};
use iota_protocol::court::{AccusationView, CourtView, RequestView};
use iota_protocol::ids::{Epoch, Hash, Incarnation, Stage, Uid, Version};
use iota_protocol::phase::Phase;
use iota_protocol::report::Verdict;
use iota_protocol::view::{CommitView, MemberView, SnapshotView};
use iota_protocol::wire::FetchRequest;
use iota_worker::fetch::list_root;
use iota_worker::session::{RunSnapshot, Session};

use crate::audit::{Auditor, Subject, Which};
use crate::docket::{case_path, Docket, Dockets, Judgement};
use crate::evaluate;
use crate::exhibits::{self, Exhibits, Probe};
use crate::gather;
use crate::starts::Starts;
use crate::witness::Witness;

/// How often one accusation is re-checked before this validator leaves it to others: evidence that is
/// on its way comes within a few blocks.
const RECHECKS: u8 = 4;
/// How often a miner is asked again before this validator says on chain that it cannot get something.
/// Twice, a block apart: one lost connection is no refusal.
const PROBES: u8 = 2;
/// Wait for one part of another validator's case.
const CASE_TIME: Duration = Duration::from_secs(5);

/// Everything that judging needs.
pub struct Court {
    /// The followed run, a handle of our own.
    pub session: Session,
    /// Peers.
    pub network: Network,
    /// Submits with our hotkey.
    pub submitter: Arc<Submitter>,
    /// Ourselves.
    pub member: MemberView,
    /// Findings.
    pub dockets: Arc<Dockets>,
    /// Tokens.
    pub dataset: Arc<Dataset>,
    /// Device.
    pub device: Device,
    /// States that epochs start with.
    pub starts: Starts,
}

/// What is counted between blocks; lost at a restart, which only costs a few tries more.
#[derive(Default)]
struct Tries {
    rechecks: BTreeMap<(Epoch, Uid, u32), u8>,
    probes: BTreeMap<(Epoch, Uid, bool), u8>,
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
            self.dockets.forget_before(view.epoch());
            tries.forget_before(view.epoch());
            if let Err(error) = self.keep_permit(&view, &mut tries).await {
                tracing::warn!(error = %format!("{error:#}"), "permit not asked for; trying again at the next block");
            }
            let last = view.epoch().previous();
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
        let docket = self.dockets.recall(epoch);
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
        self.accuse(&sitting, &docket).await?;
        self.vote(&sitting, tries).await?;
        self.ask(&sitting, &docket, tries).await
    }

    /// Accuses where our own audit found a miner guilty and nobody else has accused it. A second
    /// accusation waits for `Train` to be over: one verdict is enough.
    async fn accuse(&self, sitting: &Sitting<'_>, docket: &Docket) -> anyhow::Result<()> {
        for judgement in docket.judgements.iter().filter(|own| own.own && own.guilty) {
            let Judgement { uid, incarnation, segment, .. } = *judgement;
            let gated = sitting.court.gated.contains(&(uid, incarnation));
            let others = sitting.court.accusations.iter().any(|own| own.uid == uid && own.verdict.is_none());
            let wait = others && sitting.view.phase() == Phase::Train;
            if gated || wait || sitting.court.accusation(uid, segment).is_some() {
                continue;
            }
            let path = case_path(self.dockets.dir(), sitting.epoch, uid, segment);
            let case = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let call = Call::accuse(
                self.session.run,
                sitting.epoch,
                (uid, incarnation),
                segment,
                case::root_of(&case),
            );
            self.say(&call).await?;
            tracing::warn!(%uid, epoch = %sitting.epoch, segment, "accused");
        }
        Ok(())
    }

    async fn vote(&self, sitting: &Sitting<'_>, tries: &mut Tries) -> anyhow::Result<()> {
        let me = self.member.uid;
        let open = sitting.court.accusations.iter().filter(|own| own.verdict.is_none());
        for accusation in open.filter(|own| !own.votes.iter().any(|(voter, _)| *voter == me)) {
            let (uid, segment) = (accusation.uid, accusation.segment);
            let known = self.dockets.recall(sitting.epoch).find(uid, segment).copied();
            let judgement = match known {
                Some(known) => Some(known),
                None => self.recheck(sitting, accusation, tries).await?,
            };
            let Some(judgement) = judgement else { continue };
            let call = Call::vote(self.session.run, sitting.epoch, uid, segment, judgement.guilty);
            self.say(&call).await?;
            tracing::info!(%uid, epoch = %sitting.epoch, segment, guilty = judgement.guilty, "voted");
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
        let Some(witness) = Witness::recall(self.dockets.dir(), epoch) else { return Ok(None) };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(None) };
        let Some(member) = gather::latest(&self.session, &witness, uid) else { return Ok(None) };
        let case = self.case(sitting, accusation).await;
        let mut exhibits = Exhibits::of(&self.network, &member, self.session.run, epoch);
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
        let auditor = Auditor {
            params: &witness.params,
            epoch,
            seed: Hash::ZERO,
            secret: [0; 32],
            data_base: witness.clock.data_base,
            tokens: witness.clock.tokens,
            dataset: &self.dataset,
            device: self.device,
        };
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
        self.dockets.judge(epoch, found).map(Some)
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
        match exhibits::parts(&self.network, accuser, CASE_TIME, request).await {
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
        if let Some(known) = self.starts.of(epoch, stage) {
            return Some(known);
        }
        let fetched = evaluate::stage_state(&self.session, &self.network, epoch, stage).await;
        fetched.inspect_err(|error| tracing::debug!(%epoch, %stage, %error, "no start state")).ok()
    }

    /// Says on chain which evidence we cannot get: what our audits missed, and what others say that
    /// they miss and we cannot get either.
    async fn ask(&self, sitting: &Sitting<'_>, docket: &Docket, tries: &mut Tries) -> anyhow::Result<()> {
        for Wanted { uid, incarnation, wanted } in wanted(sitting, docket) {
            let request = sitting.current_request(uid);
            if !sitting.may_ask(self.member.uid, uid, request) {
                continue;
            }
            // After an answer the miner is asked anew.
            let answered = request.is_some_and(|own| own.answer.is_some());
            let count = tries.probes.entry((sitting.epoch, uid, answered)).or_default();
            if *count >= PROBES.saturating_mul(8) {
                continue;
            }
            *count += 1;
            let count = *count;
            if self.probe(sitting, uid, wanted).await? != Probe::Missing || count < PROBES {
                continue;
            }
            let call = Call::request_evidence(self.session.run, sitting.epoch, (uid, incarnation), wanted);
            self.say(&call).await?;
            tracing::warn!(%uid, epoch = %sitting.epoch, %wanted, answered, "asked for evidence on chain");
        }
        Ok(())
    }

    async fn probe(&self, sitting: &Sitting<'_>, uid: Uid, wanted: Hash) -> anyhow::Result<Probe> {
        let Some(witness) = Witness::recall(self.dockets.dir(), sitting.epoch) else {
            return Ok(Probe::Unknown);
        };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(Probe::Unknown) };
        let Some(member) = gather::latest(&self.session, &witness, uid) else { return Ok(Probe::Unknown) };
        let mut exhibits = Exhibits::of(&self.network, &member, self.session.run, sitting.epoch);
        Ok(exhibits.probe(wanted, &commit.work, stage == Stage(0)).await)
    }

    /// Submits a call. That the chain refuses it is no error: somebody was faster, or the window closed.
    async fn say(&self, call: &Call) -> anyhow::Result<()> {
        match self.submitter.submit_finalized(call).await {
            Ok(_) => Ok(()),
            Err(error @ SubmitError::Dispatch { .. }) => {
                tracing::info!(call = call.name(), %error, "not needed any more");
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("submitting {}", call.name())),
        }
    }
}

impl Tries {
    fn forget_before(&mut self, current: Epoch) {
        let judged = |epoch: &Epoch| epoch.0.saturating_add(2) >= current.0;
        self.rechecks.retain(|(epoch, _, _), _| judged(epoch));
        self.probes.retain(|(epoch, _, _), _| judged(epoch));
    }
}

/// Evidence that somebody misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    uid: Uid,
    incarnation: Incarnation,
    wanted: Hash,
}

/// Our own findings first, then what others ask for; one piece for each miner. In the second epoch
/// only miners whose pay is held.
fn wanted(sitting: &Sitting<'_>, docket: &Docket) -> Vec<Wanted> {
    let own = docket.missing.iter().map(|own| Wanted {
        uid: own.uid,
        incarnation: own.incarnation,
        wanted: own.wanted,
    });
    let others = sitting.court.requests.iter().map(|own| Wanted {
        uid: own.uid,
        incarnation: own.incarnation,
        wanted: own.wanted,
    });
    let mut all: BTreeMap<Uid, Wanted> = BTreeMap::new();
    for one in own.chain(others) {
        let held =
            sitting.court.held.iter().any(|pay| pay.uid == one.uid && pay.incarnation == one.incarnation);
        if sitting.first || held {
            all.entry(one.uid).or_insert(one);
        }
    }
    all.into_values().collect()
}

impl Sitting<'_> {
    /// The request about a miner that counts in this epoch; one of the epoch before does not.
    fn current_request(&self, uid: Uid) -> Option<&RequestView> {
        self.court.request(uid).filter(|own| own.again != self.first)
    }

    fn may_ask(&self, me: Uid, uid: Uid, request: Option<&RequestView>) -> bool {
        let asked = request.is_some_and(|own| own.askers.contains(&me));
        let answered = request.is_some_and(|own| own.answer.is_some());
        let gated = self.court.gated.iter().any(|(own, _)| *own == uid);
        !asked && !gated && (answered || self.view.phase() == Phase::Train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docket::Missing;
    use iota_chain::Head;
    use iota_compute::presets::run_params;
    use iota_protocol::ids::{AccountKey, RunId};
    use iota_protocol::params::DataParams;
    use iota_protocol::view::{ClockView, Payout, RunState};

    fn view(block: u32) -> RunSnapshot {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        let params = Arc::new(run_params("nano", 2, 1, 5, 2, data).unwrap());
        let clock = ClockView {
            run: RunId(0),
            state: RunState::Running,
            epoch: Epoch(3),
            start: 100,
            extensions: 0,
            train_seed: Hash::ZERO,
            seed: None,
            data_base: 0,
            tokens: 0,
        };
        let schedule = clock.schedule(&params);
        let head = Head { number: block, hash: Hash::ZERO };
        RunSnapshot { head, clock, members: Arc::default(), schedule, params }
    }

    fn request(uid: u16, again: bool, askers: &[u16], answer: Option<Hash>) -> RequestView {
        RequestView {
            uid: Uid(uid),
            incarnation: Incarnation(0),
            again,
            wanted: Hash([uid as u8; 32]),
            askers: askers.iter().map(|uid| Uid(*uid)).collect(),
            quorum: false,
            answer,
        }
    }

    fn sitting(view: &RunSnapshot, requests: Vec<RequestView>, first: bool) -> Sitting<'_> {
        let epoch = Epoch(if first { 2 } else { 1 });
        let court = CourtView { requests, ..CourtView::default() };
        Sitting { view, epoch, court, snapshot: SnapshotView::default(), first }
    }

    #[test]
    fn one_asks_in_train_once_and_once_more_after_an_answer() {
        let (train, late) = (view(101), view(100 + 400));
        let me = Uid(9);
        let may = |view: &RunSnapshot, requests: Vec<RequestView>| {
            let sitting = sitting(view, requests, true);
            sitting.may_ask(me, Uid(4), sitting.current_request(Uid(4)))
        };
        assert!(may(&train, vec![]));
        assert!(may(&train, vec![request(4, false, &[8], None)]));
        assert!(!may(&train, vec![request(4, false, &[8, 9], None)]), "asked already");
        assert!(!may(&late, vec![request(4, false, &[8], None)]), "after train only about an answer");
        assert!(may(&late, vec![request(4, false, &[8], Some(Hash::ZERO))]));
        assert!(!may(&late, vec![request(4, false, &[9], Some(Hash::ZERO))]));
    }

    #[test]
    fn a_request_of_the_epoch_before_does_not_count_when_pay_is_held() {
        let view = view(101);
        let old = sitting(&view, vec![request(4, false, &[9], None)], false);
        assert_eq!(old.current_request(Uid(4)), None);
        assert!(old.may_ask(Uid(9), Uid(4), None));
    }

    #[test]
    fn what_is_wanted_is_one_piece_of_each_miner_and_later_only_of_those_whose_pay_is_held() {
        let view = view(101);
        let mine = Missing { uid: Uid(4), incarnation: Incarnation(0), wanted: Hash([77; 32]) };
        let docket = Docket { missing: vec![mine], ..Docket::default() };
        let requests = vec![request(4, false, &[], None), request(5, false, &[], None)];
        let now = wanted(&sitting(&view, requests.clone(), true), &docket);
        let said: Vec<_> = now.iter().map(|own| (own.uid.0, own.wanted)).collect();
        assert_eq!(said, [(4, Hash([77; 32])), (5, Hash([5; 32]))], "our own finding goes first");
        let mut later = sitting(&view, requests, false);
        assert_eq!(wanted(&later, &docket), []);
        let pay =
            Payout { uid: Uid(5), incarnation: Incarnation(0), coldkey: AccountKey([0; 32]), amount: 1 };
        later.court.held = vec![pay];
        assert_eq!(wanted(&later, &docket).iter().map(|own| own.uid.0).collect::<Vec<_>>(), [5]);
    }
}
