//! Asking on chain for evidence that a miner withholds: what our own audits missed, and what others say
//! that they miss and we cannot get either.

use std::collections::BTreeMap;

use iota_chain::Call;
use iota_protocol::court::RequestView;
use iota_protocol::ids::{Hash, Incarnation, Stage, Uid};

use super::{Court, Sitting, Tries};
use crate::audit::Subject;
use crate::docket::Docket;
use crate::examine;
use crate::exhibits::{Exhibits, Probe};
use crate::gather;
use crate::witness::Witness;

/// How often a miner is asked again before this validator says on chain that it cannot get something.
/// Twice, a block apart: one lost connection is no refusal.
const PROBES: u8 = 2;
/// How often a miner is asked at all: a stalled one must not keep the court from its other work.
const MAX_PROBES: u8 = 16;
impl Court {
    /// Says on chain which evidence we cannot get: what our audits missed, and what others say that
    /// they miss and we cannot get either.
    pub(super) async fn ask(
        &self,
        sitting: &Sitting<'_>,
        docket: &Docket,
        tries: &mut Tries,
    ) -> anyhow::Result<()> {
        for Wanted { uid, incarnation, wanted } in wanted(sitting, docket) {
            let request = sitting.current_request(uid);
            if !sitting.may_ask(self.member.uid, uid, request) {
                continue;
            }
            // After an answer the miner is asked anew.
            let answered = request.is_some_and(|own| own.answer.is_some());
            let count = tries.probes.entry((sitting.epoch, uid, answered)).or_default();
            if *count >= MAX_PROBES {
                continue;
            }
            *count += 1;
            match self.probe(sitting, uid, wanted).await? {
                Probe::Missing if *count >= PROBES => {}
                Probe::Missing => continue,
                Probe::Served => {
                    *count = MAX_PROBES;
                    self.examine_late(sitting, docket, uid).await?;
                    continue;
                }
                Probe::Unknown => {
                    *count = MAX_PROBES;
                    continue;
                }
            }
            let call = Call::request_evidence(self.session.run, sitting.epoch, (uid, incarnation), wanted);
            if self.say(&call).await {
                tracing::warn!(%uid, epoch = %sitting.epoch, %wanted, answered, "asked for evidence on chain");
            }
        }
        Ok(())
    }

    /// Audits a miner anew that serves now what our audit missed: serving late must not pay better than
    /// serving at once.
    async fn examine_late(&self, sitting: &Sitting<'_>, docket: &Docket, uid: Uid) -> anyhow::Result<()> {
        let ours = docket.missing.iter().any(|own| own.uid == uid) && docket.audited(uid).is_none();
        if !ours || !sitting.first {
            return Ok(());
        }
        let epoch = sitting.epoch;
        let Some(witness) = Witness::recall(self.examiner.dockets.dir(), epoch) else { return Ok(()) };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(()) };
        let Some(member) = gather::latest(&self.session, &witness, uid) else { return Ok(()) };
        let mut exhibits = Exhibits::of(&self.examiner.network, &member, self.session.run, epoch);
        let Ok(receipts) = exhibits.receipts(commit.work.receipts_root).await else { return Ok(()) };
        let secret = examine::secret(&self.hotkey_secret, self.session.run, epoch);
        // The chain keeps an epoch's seed as the next one's pathway seed.
        let auditor = self.auditor(epoch, &witness, sitting.view.clock.train_seed, secret);
        let subject = Subject { member: &member, stage, work: &commit.work, receipts: &receipts };
        self.examiner.examine(&auditor, &subject).await.map(|_| ())
    }

    async fn probe(&self, sitting: &Sitting<'_>, uid: Uid, wanted: Hash) -> anyhow::Result<Probe> {
        let Some(witness) = Witness::recall(self.examiner.dockets.dir(), sitting.epoch) else {
            return Ok(Probe::Unknown);
        };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(Probe::Unknown) };
        let Some(member) = gather::latest(&self.session, &witness, uid) else { return Ok(Probe::Unknown) };
        let mut exhibits = Exhibits::of(&self.examiner.network, &member, self.session.run, sitting.epoch);
        Ok(exhibits.probe(wanted, &commit.work, stage == Stage(0)).await)
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
        let open = self.view.head.number < self.view.schedule.evidence_asked_until();
        !asked && !gated && (answered || open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::docket::Missing;
    use iota_chain::Head;
    use iota_compute::presets::run_params;
    use iota_protocol::court::CourtView;
    use iota_protocol::ids::{AccountKey, Epoch, RunId};
    use iota_protocol::params::DataParams;
    use iota_protocol::view::{ClockView, Payout, RunState, SnapshotView};
    use iota_worker::session::RunSnapshot;

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
