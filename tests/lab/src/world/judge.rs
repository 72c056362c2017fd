//! Validators at the end of an epoch: evidence, CLASP, audits, rows, consensus, pay.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::clasp::{self, skip_tests, Config, MinerEffect, Observation, Offers};
use iota_protocol::duty;
use iota_protocol::emission::{settle, Terms, UNIT};
use iota_protocol::evidence::{self, Pathways};
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, Uid};
use iota_protocol::routes::Routing;
use iota_protocol::score::{self, Scored};
use iota_protocol::seed::audit_choices;
use iota_protocol::view::{ScoreView, SnapshotEntry, SnapshotValidator, SnapshotView};
use iota_protocol::work::ScoreEntry;

use super::fault::ValidatorFault;
use super::samples::Trained;
use super::{Sign, World};

/// Uid of the first validator, above every miner.
const FIRST_VALIDATOR: u16 = 1_000;
/// Bond of each validator.
const STAKE: u128 = 1_000 * UNIT;

/// The row that was last revealed by an honest validator.
pub(super) type LastRows = Vec<ScoreEntry>;

impl World {
    /// Scores an epoch and pays it; verdicts come from audits and from agreement.
    pub(super) fn judge(
        &mut self,
        epoch: u32,
        trained: &Trained,
        named: &BTreeSet<Uid>,
        undelivered: &BTreeMap<Uid, u32>,
    ) {
        let stages: Vec<Vec<Uid>> = (0..self.setup.stages).map(|stage| self.members(stage)).collect();
        let mut found = evidence::read(&trained.fetched(self), &self.routing(), self.setup.rounds);
        for (uid, verified) in &mut found.verified {
            *verified = duty::after_merge(*verified, undelivered.get(uid).copied().unwrap_or(0));
        }
        let seen = observations(trained, &found);
        let effects = clasp::estimate(&stages, &seen, &Config::default());
        let caught = self.audits(epoch, &effects);
        self.take_notes(epoch, &effects, &found, &caught, named);
        let verdicts: BTreeSet<Uid> = caught.union(named).copied().collect();
        let honest = self.row(trained, &found, &effects, &verdicts);
        let scores = self.reveals(&honest);
        let snapshot = self.snapshot(trained);
        let terms = Terms::plain(Epoch(epoch), self.minted);
        let settled = settle(&self.params, &snapshot, &scores, &self.bonds, &terms);
        self.minted += settled.split.minted;
        self.bonds.clone_from(&settled.bonds);
        self.story.void += u32::from(settled.void);
        let tokens = |amount: u128| amount as f64 / UNIT as f64;
        let paid: BTreeMap<Uid, f64> = settled.payouts.iter().map(|p| (p.uid, tokens(p.amount))).collect();
        let out: u128 = settled.payouts.iter().map(|p| p.amount).sum::<u128>() + settled.split.treasury;
        self.story.minted.0 += tokens(settled.split.minted);
        self.story.minted.1 += tokens(out);
        self.pay(epoch, &paid, &verdicts);
        self.rows = honest;
    }

    fn routing(&self) -> Routing {
        let weighted =
            |stage| self.members(stage).iter().map(|uid| (*uid, self.miners[uid].weight)).collect();
        Routing { seed: self.seed, stages: (0..self.setup.stages).map(weighted).collect() }
    }

    fn pay(&mut self, epoch: u32, paid: &BTreeMap<Uid, f64>, verdicts: &BTreeSet<Uid>) {
        let mut total = 0.0;
        for (uid, miner) in &mut self.miners {
            // A verdict sets the gate of the epoch to zero.
            let amount = paid.get(uid).copied().filter(|_| !verdicts.contains(uid)).unwrap_or(0.0);
            total += amount;
            if verdicts.contains(uid) {
                miner.ledger.forfeit(epoch);
            }
            miner.ledger.paid.push(amount);
        }
        self.story.emission.push(total);
        for (index, sum) in self.story.validators.iter_mut().enumerate() {
            *sum += paid.get(&Uid(FIRST_VALIDATOR + index as u16)).copied().unwrap_or(0.0);
        }
    }

    /// Each honest validator replays one segment of each miner that seed and secret choose, and one of
    /// the worst significant effect.
    fn audits(&mut self, epoch: u32, effects: &[MinerEffect]) -> BTreeSet<Uid> {
        let uids: Vec<Uid> = self.miners.keys().copied().collect();
        let worst = effects
            .iter()
            .filter(|effect| effect.significant && effect.effect > 0.0)
            .max_by(|a, b| a.effect.total_cmp(&b.effect).then(b.uid.cmp(&a.uid)));
        let mut subjects: Vec<Uid> = worst.map(|effect| effect.uid).into_iter().collect();
        for validator in (0..usize::from(self.setup.validators)).filter(|own| self.is_honest(*own)) {
            let secret = self.secret(validator, epoch);
            subjects.extend(audit_choices(&self.seed, &secret, &uids, self.setup.audits));
        }
        let shown = |uid: &Uid, world: &mut Self| {
            let chance = world.fault(*uid).map_or(0.0, |fault| fault.shown_by_replay());
            world.noise.chance(chance)
        };
        subjects.into_iter().filter(|uid| shown(uid, self)).collect()
    }

    fn take_notes(
        &mut self,
        epoch: u32,
        effects: &[MinerEffect],
        found: &Pathways,
        caught: &BTreeSet<Uid>,
        named: &BTreeSet<Uid>,
    ) {
        for (uid, excess) in &found.excess {
            self.story.unpaid_skips += if self.fault(*uid).is_none() { *excess } else { 0 };
        }
        for (uid, verified) in &found.verified {
            let not = found.uncounted.get(uid).copied().unwrap_or(0);
            let (stood, uncounted) = self.story.uncounted.entry(*uid).or_default();
            *stood += verified + not + found.excess.get(uid).copied().unwrap_or(0);
            *uncounted += not;
        }
        for uid in caught {
            self.story.point(*uid, epoch, Sign::Audit);
        }
        for uid in named {
            self.story.point(*uid, epoch, Sign::Agreement);
        }
        for uid in caught.union(named) {
            *self.story.accused.entry(*uid).or_default() += 1;
        }
        for effect in effects.iter().filter(|effect| effect.factor_ppm < 1_000_000) {
            *self.story.cut.entry(effect.uid).or_default() += 1;
            self.story.point(effect.uid, epoch, Sign::Clasp);
        }
        for sender in stand_out(found) {
            self.story.point(sender, epoch, Sign::Skips);
        }
    }

    fn row(
        &mut self,
        trained: &Trained,
        found: &Pathways,
        effects: &[MinerEffect],
        verdicts: &BTreeSet<Uid>,
    ) -> Vec<ScoreEntry> {
        let mut scored = Vec::new();
        for effect in effects {
            let done = trained.backward.get(&effect.uid).copied().unwrap_or(0);
            let claimed = self.fault(effect.uid).map_or(done, |fault| fault.claims(done));
            let stands = found.verified.get(&effect.uid).copied().unwrap_or(0).min(claimed);
            scored.push(Scored {
                uid: effect.uid,
                incarnation: Incarnation(u32::from(effect.uid.0)),
                stage: effect.stage,
                samples: if verdicts.contains(&effect.uid) { 0 } else { stands },
                factor_ppm: effect.factor_ppm,
            });
        }
        score::row(&scored)
    }

    fn reveals(&self, honest: &[ScoreEntry]) -> Vec<ScoreView> {
        let bent = |keep: &dyn Fn(Uid) -> bool| -> Vec<ScoreEntry> {
            let one = |e: &ScoreEntry| ScoreEntry { score: if keep(e.uid) { u16::MAX } else { 0 }, ..*e };
            honest.iter().map(one).collect()
        };
        let row = |index: usize| match self.setup.validator_faults.get(&index) {
            None | Some(ValidatorFault::WithholdsReports) => Some(honest.to_vec()),
            Some(ValidatorFault::CopiesScores) => (!self.rows.is_empty()).then(|| self.rows.clone()),
            Some(ValidatorFault::ScoresFriends) => Some(bent(&|uid| uid.0.is_multiple_of(2))),
            Some(ValidatorFault::SelfDeals) => Some(bent(&|uid| uid.0 == 0)),
            Some(ValidatorFault::NotRevealing) => None,
            Some(ValidatorFault::AccusesFalsely) => Some(
                honest
                    .iter()
                    .map(|e| if e.uid == Uid(1) { ScoreEntry { score: 0, ..*e } } else { *e })
                    .collect(),
            ),
        };
        let view = |index: u16| ScoreView {
            uid: Uid(FIRST_VALIDATOR + index),
            incarnation: Incarnation(u32::from(FIRST_VALIDATOR + index)),
            commit: Hash::ZERO,
            entries: row(usize::from(index)),
            report_root: None,
        };
        (0..self.setup.validators).map(view).collect()
    }

    fn snapshot(&self, trained: &Trained) -> SnapshotView {
        let key = |uid: u16| AccountKey([uid as u8; 32]);
        let miners = self.miners.iter().map(|(uid, miner)| SnapshotEntry {
            uid: *uid,
            incarnation: Incarnation(u32::from(uid.0)),
            stage: miner.stage,
            coldkey: key(uid.0),
            samples: trained.backward.get(uid).copied().unwrap_or(0),
        });
        let validators = (0..self.setup.validators).map(|index| SnapshotValidator {
            uid: Uid(FIRST_VALIDATOR + index),
            incarnation: Incarnation(u32::from(FIRST_VALIDATOR + index)),
            hotkey: key(index),
            coldkey: key(index),
            stake: STAKE,
        });
        SnapshotView { miners: miners.collect(), validators: validators.collect() }
    }
}

/// What CLASP is told: losses that receipts stand behind, on the samples' first preferences.
fn observations(trained: &Trained, found: &Pathways) -> Vec<Observation> {
    let one = |loss: &evidence::ReportedLoss| {
        let seen = trained.seen.get(&loss.sample)?;
        Some(Observation { reporter: loss.reporter, loss_micro: loss.loss_micro, ..seen.clone() })
    };
    found.losses.iter().filter_map(one).collect()
}

/// Senders with a pair that stands out.
fn stand_out(found: &Pathways) -> BTreeSet<Uid> {
    let offers: Vec<Offers> = found
        .offers
        .iter()
        .map(|((sender, target), (offered, skipped))| Offers {
            sender: *sender,
            target: *target,
            offered: *offered,
            skipped: *skipped,
        })
        .collect();
    let tests = skip_tests(&offers, Config::default().false_discovery_rate);
    tests.iter().filter(|test| test.significant).map(|test| test.offers.sender).collect()
}
