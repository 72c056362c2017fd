//! What validators find out about an epoch, and what they say of it: rows, audits and their transcripts. What comes
//! of it before the court is in `hearing`.
//!
//! Rows are made by CLASP from what the toy stages lost. A replay shows a cheat with the probability that the
//! calibration of audits gives at least, and never shows anything on honest work: none of its honest segments was
//! rejected.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::{
    clasp::{estimate, Config, MinerEffect},
    court::Accused,
    deterrence::{audits_needed, LEAST_AUDIT_PPM},
    duty,
    equivocation::{Equivocation, SignedHeader},
    hash::{hash_of, Domain},
    ids::{Attempt, Epoch, Hash as Hash32, Incarnation, Sample, Stage, Uid},
    params::WireCodec,
    receipt::Direction,
    score::{self, Scored},
    seed::audit_choices,
    wire::{HopHeader, WIRE_VERSION},
    work::{scores_hash, transcripts_hash, ScoreEntry, ScoreReveal, Transcript, Transcripts},
};
use pallet_iota::Call;

use super::super::{genesis_hash, AccountKey, Iota, Runtime, RUN};
use super::{
    chain::{clock, schedule, snapshot},
    fault::{Fault, ValidatorFault},
    merge::truth,
    stage::uniform,
    story::Sign,
    world::World,
};

/// Probability that a replay shows a cheat: one less the worst upper bound of the calibration's false accepts
/// (docs/results/audit.md), which the threat model names.
const SHOWN: f64 = 0.97;
const SALT: [u8; 32] = [9; 32];

/// A miner and one incarnation of it.
type Who = (Uid, Incarnation);

/// What an epoch's judging has to do with.
#[derive(Default)]
pub struct Case {
    /// The row that honest validators have for the epoch before.
    row: Vec<ScoreEntry>,
    /// The one that they had before that.
    last: Vec<ScoreEntry>,
    /// What each validator committed to.
    sent: BTreeMap<usize, ScoreReveal>,
    /// Transcripts of each.
    transcripts: BTreeMap<usize, Transcripts>,
    /// Accusations yet to be sent.
    pub(super) accusations: Vec<(usize, Who, Accused)>,
    /// Shards that were opened wrong, by owner, in the epochs that are judged.
    pub(super) wrong: BTreeSet<(Epoch, Uid, u16)>,
    /// Votes, questions and answers that are on their way.
    pub(super) under_way: BTreeSet<(usize, Epoch, Uid, u32)>,
}

impl World {
    /// Finds out at the beginning of an epoch what there is to judge about the one before.
    pub(super) fn prepare_case(&mut self, epoch: Epoch) {
        let last = std::mem::take(&mut self.case.row);
        let mut wrong = std::mem::take(&mut self.case.wrong);
        wrong.retain(|(own, ..)| own.0 + 2 >= epoch.0);
        self.case = Case { last, wrong, ..Case::default() };
        let Some(scored) = epoch.previous() else { return };
        let Some(trained) = self.trained.get(&scored) else { return };
        let effects = estimate(&trained.stages, &trained.seen, &Config::default());
        self.note_effects(epoch, scored, &effects);
        self.case.row = self.honest_row(scored, &effects);
        self.audit(scored, &effects);
        self.recompute(scored);
        self.compare_headers(scored);
    }

    /// Whoever was sent two bodies for one hop compares them with another, and proves it.
    fn compare_headers(&mut self, epoch: Epoch) {
        let cheats: Vec<usize> = snapshot(epoch)
            .miners
            .iter()
            .filter_map(|own| self.of.get(&(own.uid, own.incarnation)).copied())
            .filter(|index| self.actors[*index].fault == Some(Fault::Equivocates))
            .collect();
        let Some(honest) = self.validators().find(|own| self.actors[*own].is_honest()) else { return };
        for index in cheats {
            let [first, second] = [1, 2].map(|codes| self.signed_header(index, epoch, codes));
            let call = Call::report_equivocation { proof: Equivocation { first, second } };
            self.post(honest, call, schedule().close());
        }
    }

    fn signed_header(&self, index: usize, epoch: Epoch, codes: u8) -> SignedHeader {
        let own = &self.actors[index];
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RUN,
            epoch,
            sample: Sample(3),
            attempt: Attempt(0),
            stage: Stage(1),
            direction: Direction::Forward,
            from: own.uid,
            values: 64,
            codec: WireCodec::Int8,
            codes_hash: Hash32([codes; 32]),
            parent: Hash32::ZERO,
        };
        let unsigned = SignedHeader { header, signature: [0; 64] };
        let signature = own.keys.sign(&unsigned.signed_bytes(&genesis_hash()).0);
        SignedHeader { signature, ..unsigned }
    }

    fn note_effects(&mut self, epoch: Epoch, scored: Epoch, effects: &[MinerEffect]) {
        let trained = &self.trained[&scored];
        for effect in effects.iter().filter(|effect| effect.factor_ppm < 1_000_000) {
            let index = self.of[&(effect.uid, trained.incarnations[&effect.uid])];
            *self.story.cut.entry(index).or_default() += 1;
            self.story.point(index, epoch, Sign::Clasp);
        }
    }

    fn honest_row(&self, scored: Epoch, effects: &[MinerEffect]) -> Vec<ScoreEntry> {
        let trained = &self.trained[&scored];
        let snapshot = snapshot(scored);
        let undelivered = undelivered(scored, &trained.stages);
        let one = |effect: &MinerEffect| {
            let incarnation = trained.incarnations[&effect.uid];
            let committed =
                snapshot.miners.iter().find(|own| (own.uid, own.incarnation) == (effect.uid, incarnation))?;
            let stands = trained.verified.get(&effect.uid).copied().unwrap_or(0);
            let owes = undelivered.get(&effect.uid).copied().unwrap_or(0);
            let samples = duty::after_merge(stands.min(committed.samples), owes);
            let MinerEffect { uid, stage, factor_ppm, .. } = *effect;
            Some(Scored { uid, incarnation, stage, samples, factor_ppm })
        };
        score::row(&effects.iter().filter_map(one).collect::<Vec<_>>())
    }

    /// Each validator's choice by seed and secret, and the miner of the worst significant effect.
    fn audit(&mut self, scored: Epoch, effects: &[MinerEffect]) {
        let Some(seed) = pallet_iota::Seeds::<Runtime>::get((RUN, scored)) else { return };
        let snapshot = snapshot(scored);
        let miners: Vec<Who> = snapshot.miners.iter().map(|own| (own.uid, own.incarnation)).collect();
        let worst = effects.iter().filter(|own| own.significant && own.effect > 0.0);
        let worst = worst.max_by(|a, b| a.effect.total_cmp(&b.effect)).map(|own| own.uid);
        let each = audits_needed(
            u32::from(self.setup.shape.validators),
            u32::try_from(miners.len()).unwrap(),
            LEAST_AUDIT_PPM,
        );
        let honest: Vec<usize> = self.validators().filter(|own| self.actors[*own].is_honest()).collect();
        for validator in honest {
            let secret = hash_of(Domain::Audit, &(self.setup.seed, validator as u32, scored)).0;
            let mut subjects = audit_choices(&seed, &secret, &miners, each);
            let more = miners.iter().find(|own| Some(own.0) == worst && !subjects.contains(own));
            subjects.extend(more.copied());
            self.replay(validator, scored, &subjects);
        }
    }

    fn replay(&mut self, validator: usize, scored: Epoch, subjects: &[Who]) {
        let mut transcripts = Vec::new();
        for who in subjects {
            let fault = self.of.get(who).and_then(|index| self.actors[*index].fault);
            let hidden = fault.is_some_and(Fault::hides_evidence);
            let cheats = fault.is_some_and(Fault::shows_in_replay);
            let seen = cheats && uniform(&mut self.draw) < SHOWN;
            if seen {
                self.case.accusations.push((validator, *who, Accused::Segment(0)));
            }
            if !hidden {
                let root = hash_of(Domain::Seed, &(b"replay", scored, who));
                transcripts.push(Transcript {
                    uid: who.0,
                    incarnation: who.1,
                    segment: 0,
                    root,
                    agrees: !seen,
                });
            }
        }
        // As many as are paid.
        transcripts.truncate(2);
        transcripts.sort_unstable_by_key(|own| own.uid);
        transcripts.dedup_by_key(|own| own.uid);
        if !transcripts.is_empty() {
            self.case.transcripts.insert(validator, transcripts.try_into().unwrap());
        }
    }

    /// Shards on which owners differ and lone ones, recomputed by everybody; of the agreed ones each honest
    /// validator's choice. An owner is accused of one shard, the lowest.
    fn recompute(&mut self, scored: Epoch) {
        let seed = pallet_iota::Seeds::<Runtime>::get((RUN, scored)).unwrap_or_default();
        let honest: Vec<usize> = self.validators().filter(|own| self.actors[*own].is_honest()).collect();
        let mut found: BTreeMap<Who, (usize, u16)> = BTreeMap::new();
        for stage in (0..self.setup.shape.stages).map(Stage) {
            let Some(view) = Iota::agreement_view(RUN, scored, stage) else { continue };
            let merge = pallet_iota::Merges::<Runtime>::get((RUN, scored, stage)).unwrap();
            let set = merge.entry_set.unwrap_or_default();
            let opened = |uid: Uid| merge.commits.iter().any(|own| own.uid == uid && own.opened);
            let (doubtful, agreed): (Vec<_>, Vec<_>) =
                view.cells.iter().copied().partition(|cell| cell.is_doubtful());
            let mut looked: Vec<_> = doubtful.into_iter().zip(honest.iter().copied().cycle()).collect();
            for validator in &honest {
                let secret = hash_of(Domain::Audit, &(self.setup.seed, *validator as u32, scored, stage)).0;
                looked.extend(
                    audit_choices(&seed, &secret, &agreed, 1).into_iter().map(|own| (own, *validator)),
                );
            }
            for (cell, validator) in looked {
                for uid in [cell.low, cell.high] {
                    let hash = cell.opened_by(uid, opened);
                    if hash.is_some_and(|hash| hash != truth(scored, stage, cell.shard, set)) {
                        self.case.wrong.insert((scored, uid, cell.shard));
                        let who = *view.members.iter().find(|own| own.0 == uid).unwrap();
                        let known = found.entry(who).or_insert((validator, cell.shard));
                        *known = (*known).min((known.0, cell.shard));
                    }
                }
            }
        }
        let accused =
            found.into_iter().map(|(who, (validator, shard))| (validator, who, Accused::Shard(shard)));
        self.case.accusations.extend(accused);
    }

    pub(super) fn commit_scores(&mut self, until: u32) {
        let (run, Some(epoch)) = (RUN, clock().epoch.previous()) else { return };
        for validator in self.validators().collect::<Vec<_>>() {
            let Some(reveal) = self.reveal_of(validator, epoch) else { continue };
            let (author, incarnation) = self.author(validator);
            let hash = scores_hash(&genesis_hash(), run, &author, incarnation, epoch, &reveal);
            self.case.sent.insert(validator, reveal);
            self.post(validator, Call::commit_scores { run, epoch, hash }, until);
            if let Some(own) = self.case.transcripts.get(&validator) {
                let hash = transcripts_hash(&genesis_hash(), run, &author, epoch, &SALT, own);
                self.post(validator, Call::commit_transcripts { run, epoch, hash }, until);
            }
        }
    }

    fn author(&self, validator: usize) -> (AccountKey, Incarnation) {
        let own = &self.actors[validator];
        (AccountKey(own.keys.hotkey.clone().into()), own.incarnation)
    }

    /// What a validator reveals, honest or not.
    fn reveal_of(&self, validator: usize, epoch: Epoch) -> Option<ScoreReveal> {
        let bent = |keep: &dyn Fn(Uid) -> bool| -> Vec<ScoreEntry> {
            let one = |e: &ScoreEntry| ScoreEntry { score: if keep(e.uid) { u16::MAX } else { 0 }, ..*e };
            self.case.row.iter().map(one).collect()
        };
        let first = self.case.row.first().map(|own| own.uid);
        let victim = self.victim(epoch).map(|own| own.0);
        let entries = match self.actors[validator].bends {
            None | Some(ValidatorFault::WithholdsReports | ValidatorFault::AsksForNothing) => {
                self.case.row.clone()
            }
            Some(ValidatorFault::CopiesScores) => self.case.last.clone(),
            Some(ValidatorFault::ScoresFriends) => bent(&|uid| uid.0.is_multiple_of(2)),
            Some(ValidatorFault::SelfDeals) => bent(&|uid| Some(uid) == first),
            Some(ValidatorFault::NotRevealing) => return None,
            Some(ValidatorFault::AccusesFalsely) => {
                let one = |e: &ScoreEntry| ScoreEntry {
                    score: if Some(e.uid) == victim { 0 } else { e.score },
                    ..*e
                };
                self.case.row.iter().map(one).collect()
            }
        };
        let known = snapshot(epoch);
        let stands = |e: &ScoreEntry| {
            known.miners.iter().any(|own| (own.uid, own.incarnation) == (e.uid, e.incarnation))
        };
        let entries: Vec<_> = entries.into_iter().filter(stands).collect();
        let report_root = hash_of(Domain::Seed, &(b"report", epoch));
        Some(ScoreReveal { entries: entries.try_into().unwrap(), salt: SALT, report_root })
    }

    /// Whom false accusations are about: the honest miner of the lowest uid.
    pub(super) fn victim(&self, epoch: Epoch) -> Option<Who> {
        let honest = |who: &Who| self.of.get(who).is_some_and(|index| self.actors[*index].fault.is_none());
        snapshot(epoch).miners.iter().map(|own| (own.uid, own.incarnation)).find(honest)
    }

    pub(super) fn reveal_scores(&mut self, until: u32) {
        let (run, Some(epoch)) = (RUN, clock().epoch.previous()) else { return };
        for (validator, reveal) in std::mem::take(&mut self.case.sent) {
            let author = self.actors[validator].uid;
            // Whose commit came to no block in time has nothing to reveal.
            if !pallet_iota::Scores::<Runtime>::contains_key((RUN, epoch), author) {
                continue;
            }
            self.post(validator, Call::reveal_scores { run, epoch, author, reveal }, until);
        }
        for (validator, transcripts) in std::mem::take(&mut self.case.transcripts) {
            if !pallet_iota::AuditWorks::<Runtime>::contains_key((RUN, epoch), self.actors[validator].uid) {
                continue;
            }
            self.post(validator, Call::submit_transcripts { run, epoch, salt: SALT, transcripts }, until);
        }
    }
}

/// What the owners of an epoch's shards owe, by what the chain shows.
fn undelivered(epoch: Epoch, stages: &[Vec<Uid>]) -> BTreeMap<Uid, u32> {
    let one = |stage: Stage| {
        let merge = Iota::merge_view(RUN, epoch, stage)?;
        Some(duty::undelivered(&merge, &Iota::agreement_view(RUN, epoch, stage)?))
    };
    (0u16..).zip(stages).filter_map(|(stage, _)| one(Stage(stage))).flatten().collect()
}
