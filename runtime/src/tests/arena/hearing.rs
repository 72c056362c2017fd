//! What goes on before the court: accusations and votes, requests for evidence and answers.
//!
//! Whoever votes replays the segment that was accused, which shows the cheat.

use std::collections::BTreeSet;

use iota_protocol::{
    court::Accused,
    hash::{hash_of, Domain},
    ids::{Epoch, Hash as Hash32, Uid},
};
use pallet_iota::Call;

use super::super::{Iota, Runtime, RUN};
use super::{
    chain::{clock, member, snapshot},
    fault::{Fault, ValidatorFault},
    world::World,
};

/// Epochs of reveals that a validator may miss before it loses its permit, as in the runtime.
const MISSED: u8 = 3;

impl World {
    /// What validators and the accused do besides, every other block.
    pub(super) fn judge(&mut self, until: u32) {
        let now = clock().epoch;
        let Some(scored) = now.previous() else { return };
        for (validator, (uid, incarnation), accused) in std::mem::take(&mut self.case.accusations) {
            let evidence = hash_of(Domain::Seed, &(b"evidence", scored, uid));
            let segment = accused.number();
            let call = Call::accuse { run: RUN, epoch: scored, uid, incarnation, segment, evidence };
            self.post(validator, call, until);
        }
        for epoch in [Some(scored), scored.previous()].into_iter().flatten() {
            self.vote(epoch, until);
            self.ask(epoch, until);
            self.answer(epoch, until);
        }
        self.bend_the_court(scored, until);
        for validator in self.validators().collect::<Vec<_>>() {
            let missed = member(self.actors[validator].uid).map_or(0, |own| own.missed_reveals);
            let silent = self.actors[validator].bends == Some(ValidatorFault::NotRevealing);
            if missed >= MISSED && !silent && self.once(validator, now, Uid(0), u32::MAX) {
                self.post(validator, Call::resume { run: RUN }, until);
            }
        }
    }

    /// Whether this was not sent yet in this epoch.
    fn once(&mut self, who: usize, epoch: Epoch, about: Uid, what: u32) -> bool {
        self.case.under_way.insert((who, epoch, about, what))
    }

    fn vote(&mut self, epoch: Epoch, until: u32) {
        let open: Vec<_> = pallet_iota::Accusations::<Runtime>::iter_prefix((RUN, epoch)).collect();
        for ((uid, segment), accusation) in open {
            if accusation.verdict.is_some() {
                continue;
            }
            let index = self.of.get(&(uid, accusation.incarnation)).copied();
            let fault = index.and_then(|index| self.actors[index].fault);
            let truth = match Accused::of(segment) {
                Accused::Segment(_) => fault.is_some_and(Fault::shows_in_replay),
                Accused::Shard(shard) => self.case.wrong.contains(&(epoch, uid, shard)),
            };
            for validator in self.validators().collect::<Vec<_>>() {
                let guilty = match self.actors[validator].bends {
                    Some(ValidatorFault::NotRevealing | ValidatorFault::CopiesScores) => continue,
                    Some(ValidatorFault::AccusesFalsely) => true,
                    _ => truth,
                };
                let voted = accusation.votes.iter().any(|(own, _)| *own == self.actors[validator].uid);
                if !voted && self.once(validator, epoch, uid, segment) {
                    self.post(validator, Call::vote { run: RUN, epoch, uid, segment, guilty }, until);
                }
            }
        }
    }

    /// Honest validators ask for what they cannot get, and again where an answer was a lie.
    fn ask(&mut self, epoch: Epoch, until: u32) {
        let again = clock().epoch.previous() != Some(epoch);
        let held: BTreeSet<Uid> = Iota::held_view(RUN, epoch).iter().map(|own| own.uid).collect();
        for miner in snapshot(epoch).miners {
            let fault = self.of.get(&(miner.uid, miner.incarnation)).and_then(|own| self.actors[*own].fault);
            if !fault.is_some_and(Fault::hides_evidence) || (again && !held.contains(&miner.uid)) {
                continue;
            }
            let request = pallet_iota::EvidenceRequests::<Runtime>::get((RUN, epoch), miner.uid);
            let answered = request.as_ref().is_some_and(|own| own.again == again && own.answer.is_some());
            let wanted = hash_of(Domain::Seed, &(b"wanted", epoch, miner.uid));
            for validator in self.validators().filter(|own| self.actors[*own].is_honest()).collect::<Vec<_>>()
            {
                let what = (1 << 30) | u32::from(again) << 1 | u32::from(answered);
                if self.once(validator, epoch, miner.uid, what) {
                    let (uid, incarnation) = (miner.uid, miner.incarnation);
                    let call = Call::request_evidence { run: RUN, epoch, uid, incarnation, wanted };
                    self.post(validator, call, until);
                }
            }
        }
    }

    /// Who is asked answers, but for those who refuse.
    fn answer(&mut self, epoch: Epoch, until: u32) {
        let asked: Vec<_> = pallet_iota::EvidenceRequests::<Runtime>::iter_prefix((RUN, epoch)).collect();
        for (uid, request) in asked {
            let Some(index) = self.of.get(&(uid, request.incarnation)).copied() else { continue };
            let refuses = self.actors[index].fault == Some(Fault::RefusesEvidence);
            let what = (1 << 29) | u32::from(request.again);
            if request.answer.is_none() && !refuses && self.once(index, epoch, uid, what) {
                let root: Hash32 = hash_of(Domain::Seed, &(b"answer", epoch, uid));
                self.post(index, Call::answer_evidence { run: RUN, epoch, root }, until);
            }
        }
    }

    /// False accusations, and questions about what is there.
    fn bend_the_court(&mut self, scored: Epoch, until: u32) {
        let Some((uid, incarnation)) = self.victim(scored) else { return };
        let (run, epoch) = (RUN, scored);
        for validator in self.validators().collect::<Vec<_>>() {
            let evidence = hash_of(Domain::Seed, &(b"invented", scored));
            let call = match self.actors[validator].bends {
                Some(ValidatorFault::AccusesFalsely) => {
                    Call::accuse { run, epoch, uid, incarnation, segment: 0, evidence }
                }
                Some(ValidatorFault::AsksForNothing) => {
                    Call::request_evidence { run, epoch, uid, incarnation, wanted: evidence }
                }
                _ => continue,
            };
            if self.once(validator, scored, uid, 1 << 28) {
                self.post(validator, call, until);
            }
        }
    }
}
