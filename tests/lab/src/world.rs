//! A run of many epochs in memory: simulated miners, links and texts around the real rules.
//!
//! Real are preferences, receipts and what is read from them, CLASP, score rows, consensus, emission,
//! assignment, pathway weights, shards and merging. Simulated are losses (distance of toy weights to an
//! optimum, the text, noise), links, and the audits: a replay finds what a miner did wrong with the
//! probability that the calibration measured for its `Fault`, and never finds anything on an honest miner,
//! because none of the calibration's honest segments was rejected.

pub mod fault;
mod judge;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::assignment::assign;
use iota_protocol::consensus::bonds::BondRow;
use iota_protocol::deterrence::{audits_needed, LEAST_AUDIT_PPM};
use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::{Epoch, Hash, Stage, Uid};
use iota_protocol::params::{
    DataParams, ModelParams, PhaseParams, RunParams, StageParams, TrainParams, WireCodec,
};
use iota_protocol::pathway::{next_weights, DEFAULT_WEIGHT};
use iota_protocol::seed::{audit_choices, derive};
use iota_protocol::work::Bitmap;

use crate::noise::Noise;
use crate::toymerge::{self, encode, everyone, Committer, Owner, Place, CHUNK};
use fault::{Fault, ValidatorFault};

/// Values of a stage's toy weights.
const VALUES: usize = 24 * CHUNK;
/// Loss that no weights get below, in nats.
const FLOOR: f64 = 2.0;
/// Nats per mean square distance of a stage's weights.
const SLOPE: f64 = 0.8;
/// Part of the way to the optimum that one sample moves a replica.
const RATE: f64 = 0.003;
/// Own noise of a replica's update in an epoch.
const SPREAD: f64 = 0.05;
/// Outer rate.
const OUTER: f64 = 0.7;
/// What a miner earns in an epoch vests over so many epochs, as in the runtime.
pub const VEST_EPOCHS: usize = 16;

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Seed of everything.
    pub seed: u64,
    /// Stages.
    pub stages: u16,
    /// Miners of each stage at the start.
    pub replicas: u16,
    /// Samples that each stage-0 miner starts in an epoch.
    pub rounds: u32,
    /// Epochs.
    pub epochs: u32,
    /// Validators with equal stakes.
    pub validators: u16,
    /// Miners that seed and secret choose for each validator's audits in an epoch.
    pub audits: u32,
    /// Who cheats and how.
    pub faults: BTreeMap<Uid, Fault>,
    /// Validators that cheat.
    pub validator_faults: BTreeMap<usize, ValidatorFault>,
    /// Probability per epoch that an honest miner is slow, restarts, or is cut off for a while.
    pub trouble: f64,
}

impl Setup {
    /// Three stages of five, four validators, 375 samples an epoch.
    #[must_use]
    pub fn small(seed: u64, epochs: u32) -> Self {
        Self {
            seed,
            stages: 3,
            replicas: 5,
            rounds: 75,
            epochs,
            validators: 4,
            audits: 1,
            faults: BTreeMap::new(),
            validator_faults: BTreeMap::new(),
            trouble: 0.0,
        }
    }

    /// The same with as many audits as a validator takes by itself.
    #[must_use]
    pub fn with_audits_needed(mut self) -> Self {
        let miners = u32::from(self.stages) * u32::from(self.replicas);
        self.audits = audits_needed(self.validators.into(), miners, LEAST_AUDIT_PPM);
        self
    }

    /// The same with these miners cheating.
    #[must_use]
    pub fn with(mut self, fault: Fault, miners: &[Uid]) -> Self {
        self.faults.extend(miners.iter().map(|uid| (*uid, fault)));
        self
    }

    /// The toy's run parameters.
    #[must_use]
    pub fn params(&self) -> RunParams {
        let share = 1_000_000 / u32::from(self.stages);
        let rest = 1_000_000 - share * u32::from(self.stages);
        let stage = |index: u16| StageParams {
            first_layer: index,
            layers: 1,
            parameters: VALUES as u64,
            share_ppm: share + if index == 0 { rest } else { 0 },
        };
        RunParams {
            preset: Default::default(),
            seed: self.seed,
            model: model(self.stages),
            stages: (0..self.stages).map(stage).collect::<Vec<_>>().try_into().unwrap_or_default(),
            train: train(self.rounds),
            merge: toymerge::params(),
            phases: phases(),
            data: DataParams { manifest_root: Hash::ZERO, train_windows: 1 << 20, heldout_windows: 1 },
            start_replicas: self.replicas,
            epochs: self.epochs,
        }
    }
}

fn model(n_layers: u16) -> ModelParams {
    ModelParams {
        d_model: 32,
        n_layers,
        n_heads: 1,
        n_kv_heads: 1,
        d_ff: 32,
        vocab: 256,
        seq_len: 16,
        bottleneck: 32,
        rope_base: 10_000,
        zero_boundary: false,
    }
}

fn train(rounds: u32) -> TrainParams {
    TrainParams {
        windows_per_sample: 1,
        samples_per_step: 1,
        in_flight: 4,
        lr_ppm: 1_000,
        beta1_ppm: 900_000,
        beta2_ppm: 950_000,
        weight_decay_ppm: 0,
        ramp_steps: 10,
        lr_decay_after_tokens: u64::MAX,
        keep_moments: false,
        wire: WireCodec::Int8,
        max_samples: rounds,
    }
}

fn phases() -> PhaseParams {
    PhaseParams {
        train: 48,
        commit: 7,
        attest: 9,
        blind: 5,
        open: 5,
        root: 7,
        score_commit: 28,
        score_reveal: 12,
        margin: 2,
        max_extensions: 3,
    }
}

/// A miner as the simulation knows it.
struct Miner {
    stage: Stage,
    weight: u32,
    fault: Option<Fault>,
    /// Its weights less the optimum, at the epoch's start the same for the whole stage.
    stale: Vec<f64>,
    /// What it was last paid, which moves its weight.
    ledger: Ledger,
}

/// What a miner earned, and what it still may lose.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Credited, epoch by epoch.
    pub paid: Vec<f64>,
    /// Taken by verdicts.
    pub forfeited: f64,
    /// Work that honest miners would have done and this one did not, in epochs of work.
    pub saved: f64,
    /// Epochs in which a verdict fell.
    pub verdicts: Vec<u32>,
}

impl Ledger {
    /// What is left.
    #[must_use]
    pub fn kept(&self) -> f64 {
        self.paid.iter().sum::<f64>() - self.forfeited
    }

    /// A verdict on the epoch that was just settled: its pay is gated before, the unvested goes.
    fn forfeit(&mut self, epoch: u32) {
        let unvested: f64 = self
            .paid
            .iter()
            .rev()
            .enumerate()
            .map(|(age, paid)| paid * (1.0 - age.min(VEST_EPOCHS) as f64 / VEST_EPOCHS as f64))
            .sum();
        // What an earlier verdict took cannot be taken twice.
        self.forfeited += unvested;
        self.verdicts.push(epoch);
        self.paid.iter_mut().rev().take(VEST_EPOCHS).enumerate().for_each(|(age, paid)| {
            let lost = *paid * (1.0 - age as f64 / VEST_EPOCHS as f64);
            *paid -= lost;
            self.forfeited -= lost;
        });
    }
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// What each miner earned.
    pub ledgers: BTreeMap<Uid, Ledger>,
    /// What each validator was paid.
    pub validators: Vec<f64>,
    /// Held-out loss after each epoch.
    pub heldout: Vec<f64>,
    /// Samples that went all the way, in each epoch.
    pub samples: Vec<u32>,
    /// First epoch in which anything pointed at a miner: a verdict, a significant effect, a name from
    /// agreement, a skip test.
    pub pointed: BTreeMap<Uid, (u32, Sign)>,
    /// Times that a miner was marked `Invalid` or named by agreement.
    pub accused: BTreeMap<Uid, u32>,
    /// Times that CLASP took pay from a miner.
    pub cut: BTreeMap<Uid, u32>,
    /// Shards that were agreed upon and wrong, and all shards.
    pub wrong_shards: (usize, usize),
    /// Shards that nobody merged.
    pub missing_shards: usize,
    /// Passes that honest senders were not paid for, because they skipped beyond the limit.
    pub unpaid_skips: u32,
    /// Samples of each miner that stood, and those of them that did not count because of how they came.
    pub uncounted: BTreeMap<Uid, (u32, u32)>,
    /// Minted, and paid out with the treasury's part, in tokens; equal.
    pub minted: (f64, f64),
    /// Epochs without enough stake.
    pub void: u32,
    /// Pay in tokens of every miner, epoch by epoch, summed: emission over time.
    pub emission: Vec<f64>,
}

/// What pointed at a miner first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// Its receipts and its neighbours' do not fit, for more than a tenth of what it claims.
    Receipts,
    /// CLASP: a significant effect.
    Clasp,
    /// A replayed segment.
    Audit,
    /// Two owners of a shard differed and recomputation named it.
    Agreement,
    /// Others are skipped by it more than by anybody else.
    Skips,
}

impl Story {
    /// Part of its share of its stage's samples that a miner lost, or won, by what does not count, over the run;
    /// pay goes by shares, so that what all lack alike costs nobody anything. `fellows` are its stage.
    #[must_use]
    pub fn lost_by_count(&self, uid: Uid, fellows: &[Uid]) -> f64 {
        let of = |uid: &Uid| self.uncounted.get(uid).copied().unwrap_or_default();
        let all = fellows.iter().map(of).fold((0.0, 0.0), |(stood, counted), (more, not)| {
            (stood + f64::from(more), counted + f64::from(more - not))
        });
        let (stood, not) = of(&uid);
        let (before, after) = (f64::from(stood) / all.0, f64::from(stood - not) / all.1);
        1.0 - after / before
    }

    fn point(&mut self, uid: Uid, epoch: u32, sign: Sign) {
        self.pointed.entry(uid).or_insert((epoch, sign));
    }
}

/// A run in progress.
pub struct World {
    setup: Setup,
    params: RunParams,
    miners: BTreeMap<Uid, Miner>,
    /// Weights less the optimum, by stage.
    distance: Vec<Vec<f64>>,
    seed: Hash,
    noise: Noise,
    story: Story,
    minted: u128,
    bonds: Vec<BondRow>,
    rows: judge::LastRows,
}

impl World {
    /// Sets a run up: the real assignment spreads the miners over the stages.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let params = setup.params();
        let mut noise = Noise::new(setup.seed, "world");
        let seed = derive(&Hash::ZERO, b"lab/world", setup.seed);
        let uids: Vec<Uid> = (0..setup.stages * setup.replicas).map(Uid).collect();
        // Faults name uids by stage, so the draw of stages is undone: uid / replicas is the stage.
        let drawn = assign(&params, &seed, &[], &uids);
        debug_assert_eq!(drawn.len(), uids.len());
        let miner = |uid: Uid| Miner {
            stage: Stage(uid.0 / setup.replicas),
            weight: DEFAULT_WEIGHT,
            fault: setup.faults.get(&uid).copied(),
            stale: vec![0.0; VALUES],
            ledger: Ledger::default(),
        };
        let distance = (0..setup.stages).map(|_| (0..VALUES).map(|_| noise.standard()).collect()).collect();
        Self {
            miners: uids.iter().map(|uid| (*uid, miner(*uid))).collect(),
            params,
            distance,
            seed,
            noise,
            story: Story { validators: vec![0.0; setup.validators.into()], ..Story::default() },
            minted: 0,
            bonds: Vec::new(),
            rows: judge::LastRows::default(),
            setup,
        }
    }

    /// Runs all epochs.
    #[must_use]
    pub fn run(mut self) -> Story {
        for epoch in 0..self.setup.epochs {
            self.epoch(epoch);
        }
        let mut story = self.story;
        story.ledgers = self.miners.into_iter().map(|(uid, miner)| (uid, miner.ledger)).collect();
        story
    }

    fn epoch(&mut self, epoch: u32) {
        self.seed = derive(&self.seed, b"next", u64::from(epoch));
        let trained = self.train(epoch);
        let (named, undelivered) = self.merge(epoch, &trained);
        self.story.heldout.push(self.heldout());
        self.story.samples.push(trained.finished);
        self.judge(epoch, &trained, &named, &undelivered);
        self.reweigh();
    }

    fn members(&self, stage: u16) -> Vec<Uid> {
        self.miners.iter().filter(|(_, miner)| miner.stage.0 == stage).map(|(uid, _)| *uid).collect()
    }

    fn stage_loss(&self, stage: u16) -> f64 {
        let distance = &self.distance[usize::from(stage)];
        SLOPE * distance.iter().map(|d| d * d).sum::<f64>() / VALUES as f64
    }

    fn heldout(&self) -> f64 {
        FLOOR + (0..self.setup.stages).map(|stage| self.stage_loss(stage)).sum::<f64>()
    }

    /// Merges every stage; returns whom agreement names, and what owners of shards owe.
    fn merge(&mut self, epoch: u32, trained: &samples::Trained) -> (BTreeSet<Uid>, BTreeMap<Uid, u32>) {
        let (mut named, mut undelivered) = (BTreeSet::new(), BTreeMap::new());
        let mut standing: Vec<(Vec<Uid>, bool)> = Vec::new();
        for stage in 0..self.setup.stages {
            let members = self.members(stage);
            let present: Vec<Uid> = members.into_iter().filter(|uid| !trained.absent.contains(uid)).collect();
            let committers = self.committers(stage, &present, trained);
            let place = Place { seed: self.seed, epoch: Epoch(epoch), stage: Stage(stage) };
            let Some(merged) = toymerge::merge(&place, &committers) else { continue };
            undelivered.extend(merged.undelivered(&present, &committers));
            self.story.wrong_shards.0 += merged.counts.agreed_wrong + merged.counts.single_wrong;
            self.story.wrong_shards.1 += merged.counts.all;
            self.story.missing_shards += merged.counts.missing;
            named.extend(merged.named.iter().filter_map(|position| present.get(*position).copied()));
            standing.extend(merged.standing.iter().map(|(owners, wrong)| {
                (owners.iter().filter_map(|position| present.get(*position).copied()).collect(), *wrong)
            }));
            for (d, update) in self.distance[usize::from(stage)].iter_mut().zip(&merged.update) {
                *d -= OUTER * update.unwrap_or(0.0);
            }
        }
        named.extend(self.recomputed(epoch, standing));
        (named, undelivered)
    }

    /// Who is named because validators recomputed a shard that stood: every one that a single owner opened,
    /// and of the agreed ones each honest validator's choice.
    fn recomputed(&self, epoch: u32, standing: Vec<(Vec<Uid>, bool)>) -> BTreeSet<Uid> {
        let (agreed, mut chosen): (Vec<_>, Vec<_>) =
            standing.into_iter().partition(|(owners, _)| owners.len() > 1);
        for validator in (0..usize::from(self.setup.validators)).filter(|own| self.is_honest(*own)) {
            let secret = self.secret(validator, epoch);
            chosen.extend(audit_choices(&self.seed, &secret, &agreed, 1));
        }
        chosen.into_iter().filter(|(_, wrong)| *wrong).flat_map(|(owners, _)| owners).collect()
    }

    fn is_honest(&self, validator: usize) -> bool {
        !self.setup.validator_faults.contains_key(&validator)
    }

    /// What a validator's choices in an epoch are drawn by, besides the seed.
    fn secret(&self, validator: usize, epoch: u32) -> [u8; 32] {
        hash_of(Domain::Audit, &(self.setup.seed, validator as u32, epoch)).0
    }

    fn committers(&mut self, stage: u16, present: &[Uid], trained: &samples::Trained) -> Vec<Committer> {
        let honest: Vec<Vec<f64>> = present.iter().map(|uid| self.update(stage, *uid, trained)).collect();
        let whole = everyone(present.len());
        let hidden: Vec<usize> = (0..present.len())
            .filter(|p| self.fault(present[*p]).is_some_and(|fault| fault.hides_entry()))
            .collect();
        let mut committers = Vec::new();
        for (position, uid) in present.iter().enumerate() {
            let fault = self.fault(*uid);
            let entry = fault.map_or_else(
                || honest[position].clone(),
                |fault| fault.entry(&honest[position], &self.miners[uid].stale, &honest),
            );
            let owner = fault.map_or(Owner::Honest, Fault::owner);
            let done = trained.backward.get(uid).copied().unwrap_or(0);
            let claimed = fault.map_or(done, |fault| fault.claims(done));
            // Who changed its entry after the commit serves bytes that do not fit its root.
            let holds = hidden.iter().fold(whole, |held, p| Bitmap(held.0 & !(1 << p)));
            committers.push(Committer { samples: claimed, entry: encode(&entry), owner, holds });
        }
        for (uid, update) in present.iter().zip(honest) {
            if let Some(miner) = self.miners.get_mut(uid) {
                miner.stale = update;
            }
        }
        committers
    }

    /// What a miner's own samples made of its weights.
    fn update(&mut self, stage: u16, uid: Uid, trained: &samples::Trained) -> Vec<f64> {
        let useful = trained.useful.get(&uid).copied().unwrap_or(0);
        let way = 1.0 - (1.0 - RATE).powi(useful as i32);
        let spread = if useful == 0 { 0.0 } else { SPREAD };
        let noise = &mut self.noise;
        self.distance[usize::from(stage)].iter().map(|d| d * way + noise.normal(0.0, spread)).collect()
    }

    fn fault(&self, uid: Uid) -> Option<Fault> {
        self.miners.get(&uid).and_then(|miner| miner.fault)
    }

    /// Pathway weights follow pay, as the pallet does it.
    fn reweigh(&mut self) {
        for stage in 0..self.setup.stages {
            let members = self.members(stage);
            let total: f64 = members.iter().map(|uid| self.last_pay(*uid)).sum();
            let share = |uid: &Uid| {
                let part = self.last_pay(*uid) / total.max(f64::MIN_POSITIVE);
                (total > 0.0).then_some((part * members.len() as f64 * f64::from(DEFAULT_WEIGHT)) as u32)
            };
            let old: Vec<(Uid, u32, Option<u32>)> =
                members.iter().map(|uid| (*uid, self.miners[uid].weight, share(uid))).collect();
            for (uid, weight) in next_weights(&old) {
                if let Some(miner) = self.miners.get_mut(&uid) {
                    miner.weight = weight;
                }
            }
        }
    }

    fn last_pay(&self, uid: Uid) -> f64 {
        self.miners.get(&uid).and_then(|miner| miner.ledger.paid.last().copied()).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_run_learns_pays_everybody_and_accuses_nobody() {
        let story = World::new(Setup::small(1, 6)).run();
        assert!(story.heldout.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", story.heldout);
        assert_eq!(story.samples, [375; 6]);
        assert!(story.accused.is_empty());
        let kept: Vec<f64> = story.ledgers.values().map(Ledger::kept).collect();
        let mean = kept.iter().sum::<f64>() / 15.0;
        assert!(kept.iter().all(|kept| (kept / mean - 1.0).abs() < 0.35), "{kept:?}");
        assert!((story.minted.0 - story.minted.1).abs() < 1e-6 && story.minted.0 > 0.0);
    }

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let tell = |seed| World::new(Setup::small(seed, 3)).run();
        let (a, b, c) = (tell(4), tell(4), tell(5));
        assert_eq!(a.heldout, b.heldout);
        assert_ne!(a.heldout, c.heldout);
    }

    #[test]
    fn a_verdict_takes_what_has_not_vested() {
        let mut ledger = Ledger { paid: vec![1.0; 40], ..Ledger::default() };
        ledger.forfeit(40);
        // The newest loses all, the one before it 15/16, and so on: 8.5 epochs.
        assert!((ledger.kept() - 31.5).abs() < 1e-9, "{}", ledger.kept());
        ledger.forfeit(41);
        assert!(ledger.kept() < 31.5 && ledger.kept() >= 24.0);
    }
}
