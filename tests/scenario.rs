//! The whole scoring path in memory: real stages on libtorch, real pathways, receipts, CLASP,
//! replay and score rows; no processes, no chain, no network. Every run prints its seed.

use std::collections::BTreeMap;

use iota_compute::entry::{decode_merged, encode_entry};
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{presets, Device, ForwardOut, SampleKey, StageInput, StageTrainer};
use iota_protocol::clasp::{self, Observation};
use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::{Attempt, Hash, Incarnation, Sample, Stage, Uid};
use iota_protocol::merge::{merge_shard, EntryShard};
use iota_protocol::params::{DataParams, RunParams};
use iota_protocol::score::{self, Scored};
use iota_protocol::wire::codes_hash;
use iota_protocol::{pathway, position, seed};

const STAGES: u16 = 3;
const REPLICAS: u16 = 3;
/// Samples that each stage-0 miner starts in an epoch.
const ROUNDS: u32 = 60;
const EPOCHS: u32 = 3;
/// The cheat: a replica of the middle stage.
const CHEAT: Uid = Uid(4);

fn uid(stage: u16, replica: u16) -> Uid {
    Uid(stage * REPLICAS + replica)
}

/// Text whose next byte depends on the last two: learnable, and different for each window.
fn window(params: &RunParams, index: u64) -> (Vec<u32>, Vec<u32>) {
    let mut draw = seed::Draw::new(&hash_of(Domain::Seed, &index), b"text");
    let mut tokens = vec![97 + u32::try_from(draw.below(8)).unwrap(); 1];
    while tokens.len() <= usize::try_from(params.model.seq_len).unwrap() {
        let last = tokens[tokens.len() - 1];
        let next =
            if draw.below(4) == 0 { u32::try_from(draw.below(8)).unwrap() } else { (last * 5 + 3) % 8 };
        tokens.push(97 + next);
    }
    (tokens[..tokens.len() - 1].to_vec(), tokens[1..].to_vec())
}

struct Lab {
    params: RunParams,
    outer: Vec<OuterState>,
    trainers: Vec<Vec<StageTrainer>>,
    weights: Vec<Vec<(Uid, u32)>>,
    lied: BTreeMap<Uid, u32>,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1 << 20, heldout_windows: 1 };
        let params = presets::run_params("nano", STAGES, seed, EPOCHS, REPLICAS, data).unwrap();
        let stage = |number: u16| StageLayout::new(&params, Stage(number)).unwrap();
        let outer: Vec<OuterState> =
            (0..STAGES).map(|number| OuterState::initial(&params, &stage(number))).collect();
        let trainer = |number: u16| {
            StageTrainer::new(&params, Stage(number), &outer[usize::from(number)], Device::Cpu).unwrap()
        };
        let trainers = (0..STAGES).map(|number| (0..REPLICAS).map(|_| trainer(number)).collect()).collect();
        let weights = (0..STAGES)
            .map(|s| (0..REPLICAS).map(|r| (uid(s, r), pathway::DEFAULT_WEIGHT)).collect())
            .collect();
        Self { params, outer, trainers, weights, lied: BTreeMap::new() }
    }

    fn trainer(&mut self, uid: Uid) -> &mut StageTrainer {
        &mut self.trainers[usize::from(uid.0 / REPLICAS)][usize::from(uid.0 % REPLICAS)]
    }

    /// One sample along its first preferences, with garbage where the cheat is on the way.
    fn run(&mut self, train_seed: &Hash, epoch: u32, sample: Sample, cheating: bool) -> Observation {
        let base = u64::from(epoch) * u64::from(ROUNDS) * u64::from(REPLICAS);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for index in position::sample_windows(&self.params, base, sample) {
            let (input, target) = window(&self.params, index);
            inputs.extend(input);
            targets.extend(target);
        }
        let mut path = vec![uid(0, u16::try_from(position::rank_of(sample, u32::from(REPLICAS))).unwrap())];
        for stage in 1..STAGES {
            path.push(
                pathway::preference(train_seed, sample, Stage(stage), &self.weights[usize::from(stage)])[0],
            );
        }
        let key = SampleKey { sample, attempt: Attempt(0) };
        let mut codes = Vec::new();
        let (mut loss, mut gradient) = (0.0, Vec::new());
        for (place, member) in path.iter().enumerate() {
            let last = place + 1 == path.len();
            let input = if place == 0 { StageInput::Tokens(&inputs) } else { StageInput::Codes(&codes) };
            match self.trainer(*member).forward(key, input, last.then_some(targets.as_slice())).unwrap() {
                ForwardOut::Codes { bytes, .. } => {
                    let honest = codes_hash(&bytes);
                    let lies = cheating && *member == CHEAT;
                    codes =
                        if lies { iota_miner::fault::Fault::garbage(bytes.len(), sample.0) } else { bytes };
                    if codes_hash(&codes) != honest {
                        *self.lied.entry(*member).or_default() += 1;
                    }
                }
                ForwardOut::Loss { loss: value, grad, .. } => (loss, gradient) = (value, grad),
            }
        }
        for member in path.iter().rev() {
            if *member != path[path.len() - 1] {
                gradient = self.trainer(*member).backward(key, &gradient).unwrap().grad.unwrap_or_default();
            }
            self.trainer(*member).step_if_due(0).unwrap();
        }
        Observation {
            sample,
            reporter: path[path.len() - 1],
            preference: path,
            loss_micro: iota_miner::train::loss_micro(loss),
            difficulty: 0.0,
            time_bin: u16::try_from(sample.0 / u32::from(REPLICAS) * 10 / ROUNDS).unwrap(),
        }
    }

    /// The merge rule over the replicas of each stage, as one shard.
    fn merge(&mut self) {
        let merge = self.params.merge.clone();
        for (outer, replicas) in self.outer.iter_mut().zip(&mut self.trainers) {
            let entries: Vec<Vec<u8>> = replicas
                .iter()
                .map(|trainer| {
                    let entry = encode_entry(&outer.weights, &trainer.weights().unwrap(), &merge).unwrap();
                    (0..entry.chunks()).flat_map(|chunk| entry.chunk_bytes(chunk)).collect()
                })
                .collect();
            let shards: Vec<EntryShard<'_>> =
                entries.iter().map(|bytes| EntryShard { samples: ROUNDS, bytes }).collect();
            let mut values = Vec::new();
            decode_merged(&merge_shard(&merge, &shards).unwrap(), &merge, &mut values).unwrap();
            outer.apply(0..values.len(), &values, &merge).unwrap();
            outer.finish(0);
            for trainer in replicas {
                trainer.begin_epoch(outer).unwrap();
            }
        }
    }

    /// One epoch; returns the score row. The miner with the worst significant effect is replayed, and
    /// what it sent is compared with what its stage computes.
    fn epoch(&mut self, epoch: u32, cheating: bool) -> BTreeMap<Uid, u16> {
        let train_seed = seed::derive(&seed::run_seed(&self.params), b"epoch", u64::from(epoch));
        let observations: Vec<Observation> = (0..ROUNDS * u32::from(REPLICAS))
            .map(|sample| self.run(&train_seed, epoch, Sample(sample), cheating))
            .collect();
        let stages: Vec<Vec<Uid>> = (0..STAGES).map(|s| (0..REPLICAS).map(|r| uid(s, r)).collect()).collect();
        let effects = clasp::estimate(&stages, &observations, &clasp::Config::default());
        let worst = effects
            .iter()
            .filter(|e| e.significant && e.effect > 0.0)
            .max_by(|a, b| a.effect.total_cmp(&b.effect));
        let caught =
            worst.map(|effect| effect.uid).filter(|uid| self.lied.get(uid).is_some_and(|lies| *lies > 0));
        let scored: Vec<Scored> = effects
            .iter()
            .map(|effect| Scored {
                uid: effect.uid,
                incarnation: Incarnation(u32::from(effect.uid.0)),
                stage: effect.stage,
                samples: if caught == Some(effect.uid) { 0 } else { effect.samples },
                factor_ppm: effect.factor_ppm,
            })
            .collect();
        self.merge();
        score::row(&scored).into_iter().map(|entry| (entry.uid, entry.score)).collect()
    }
}

#[test]
fn garbage_activations_score_below_half_of_an_honest_peer_within_three_epochs_over_five_seeds() {
    iota_compute::init_runtime(1);
    for seed in 0..5 {
        let mut lab = Lab::new(seed);
        let caught = (0..EPOCHS).any(|epoch| {
            let row = lab.epoch(epoch, true);
            let peers = [Uid(3), Uid(5)].map(|peer| row.get(&peer).copied().unwrap_or(0));
            let cheat = row.get(&CHEAT).copied().unwrap_or(0);
            eprintln!("seed {seed} epoch {epoch}: cheat {cheat}, peers {peers:?}");
            peers.into_iter().all(|peer| peer > 0 && u32::from(cheat) * 2 < u32::from(peer))
        });
        assert!(
            caught,
            "seed {seed}: the cheat kept at least half of an honest peer's score for three epochs"
        );
    }
}

#[test]
fn honest_replicas_all_keep_more_than_half_of_the_best_score() {
    iota_compute::init_runtime(1);
    for seed in 0..2 {
        let mut lab = Lab::new(seed);
        for epoch in 0..EPOCHS {
            let row = lab.epoch(epoch, false);
            eprintln!("seed {seed} epoch {epoch}: {row:?}");
            for (uid, score) in &row {
                assert!(
                    u32::from(*score) * 2 > u32::from(u16::MAX),
                    "seed {seed} epoch {epoch}: honest uid {uid} scored {score}"
                );
            }
        }
    }
}
