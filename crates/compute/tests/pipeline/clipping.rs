//! One process that clips the tensors of each stage by themselves learns what a line of stages learns.
//!
//! The process takes its gradients from a trainer of one stage; clipping and AdamW are written here,
//! in f64 from the run's parameters, and share nothing with the crate's optimizer.

use std::collections::{BTreeMap, BTreeSet};

use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::{Device, ForwardOut, StageInput, StageTrainer};
use iota_protocol::ids::Stage;
use iota_protocol::params::RunParams;

use crate::line::{exact, initial, key, nano, sample, sentences, Line};

/// Steps until the losses are compared.
const STEPS: usize = 60;
/// Last losses that are averaged.
const LAST: usize = 10;
/// Largest relative difference of the losses: the 0.2 %.
const TOLERANCE: f64 = 0.002;

/// Tensors whose gradients are clipped by one norm.
struct Group {
    names: BTreeSet<String>,
    max_norm: f64,
    /// Steps whose gradient was scaled down.
    clipped: usize,
}

/// One group for each stage of a run: a norm of 1 over the whole model, shared out by parameters.
fn groups(run: &RunParams) -> Vec<Group> {
    let layouts: Vec<_> = (0..run.n_stages()).map(|s| StageLayout::new(run, Stage(s)).unwrap()).collect();
    let total: usize = layouts.iter().map(StageLayout::len).sum();
    let group = |layout: &StageLayout| Group {
        names: layout.tensors().iter().map(|tensor| tensor.name.clone()).collect(),
        max_norm: (layout.len() as f64 / total as f64).sqrt(),
        clipped: 0,
    };
    layouts.iter().map(group).collect()
}

/// The whole model in one process, with its own clipping and its own AdamW.
struct OneProcess {
    run: RunParams,
    trainer: StageTrainer,
    groups: Vec<Group>,
    weights: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl OneProcess {
    fn new(groups: Vec<Group>) -> Self {
        let run = exact(nano(1));
        let state = initial(&run).swap_remove(0);
        iota_compute::init_runtime(1);
        let trainer = StageTrainer::new(&run, Stage(0), &state, Device::Cpu).unwrap();
        for tensor in trainer.layout().tensors() {
            let holders = groups.iter().filter(|group| group.names.contains(&tensor.name)).count();
            assert_eq!(holders, 1, "groups with {}", tensor.name);
        }
        let weights: Vec<f64> = state.weights.into_iter().map(f64::from).collect();
        let (first, second) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        Self { run, trainer, groups, weights, first, second, steps: 0 }
    }

    /// Loss of one sample on the current weights, and its gradient by tensor.
    fn differentiate(&mut self, index: usize, text: &[u8]) -> (f32, BTreeMap<String, Vec<f32>>) {
        let weights: Vec<f32> = self.weights.iter().map(|weight| *weight as f32).collect();
        let momentum = vec![0.0; weights.len()];
        self.trainer.begin_epoch(&OuterState { weights, momentum, merges: 0, tokens: 0 }).unwrap();
        let (inputs, targets) = sample(&self.run, text, index);
        let input = StageInput::Tokens(&inputs);
        match self.trainer.forward(key(0), input, Some(&targets)).unwrap() {
            ForwardOut::Loss { loss, .. } => (loss, self.trainer.gradients().unwrap().into_iter().collect()),
            ForwardOut::Codes { .. } => panic!("one stage returns a loss"),
        }
    }

    /// What the gradient of each tensor is multiplied by, in the order of the layout.
    fn factors(&mut self, gradients: &BTreeMap<String, Vec<f32>>) -> Vec<f64> {
        let mut factors = BTreeMap::new();
        for group in &mut self.groups {
            let values = group.names.iter().flat_map(|name| &gradients[name]);
            let norm = values.map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            // 1e-6 as in most implementations of clipping by norm, and in the crate's.
            let factor = (group.max_norm / (norm + 1e-6)).min(1.0);
            group.clipped += usize::from(factor < 1.0);
            factors.extend(group.names.iter().map(|name| (name, factor)));
        }
        self.trainer.layout().tensors().iter().map(|tensor| factors[&tensor.name]).collect()
    }

    /// AdamW with bias correction, decay apart from the gradient, and a rate that rises over the ramp.
    fn step(&mut self, gradients: &BTreeMap<String, Vec<f32>>) {
        let train = self.run.train.clone();
        let of_million = |ppm: u32| f64::from(ppm) / 1e6;
        let (beta1, beta2) = (of_million(train.beta1_ppm), of_million(train.beta2_ppm));
        self.steps += 1;
        let rate = of_million(train.lr_ppm) * (f64::from(self.steps) / f64::from(train.ramp_steps)).min(1.0);
        let (unbias1, unbias2) = (1.0 - beta1.powi(self.steps), 1.0 - beta2.powi(self.steps));
        let factors = self.factors(gradients);
        for (tensor, factor) in self.trainer.layout().tensors().iter().zip(factors) {
            let decay = if tensor.decay { rate * of_million(train.weight_decay_ppm) } else { 0.0 };
            for (place, gradient) in tensor.range().zip(&gradients[&tensor.name]) {
                let g = f64::from(*gradient) * factor;
                self.first[place] = beta1 * self.first[place] + (1.0 - beta1) * g;
                self.second[place] = beta2 * self.second[place] + (1.0 - beta2) * g * g;
                let root = (self.second[place] / unbias2).sqrt() + 1e-8;
                self.weights[place] -=
                    decay * self.weights[place] + rate * (self.first[place] / unbias1) / root;
            }
        }
    }

    fn train(&mut self, text: &[u8]) -> Vec<f32> {
        let step_after = |index| {
            let (loss, gradients) = self.differentiate(index, text);
            self.step(&gradients);
            loss
        };
        (0..STEPS).map(step_after).collect()
    }
}

fn mean_of_last(losses: &[f32]) -> f64 {
    f64::from(losses[STEPS - LAST..].iter().sum::<f32>()) / LAST as f64
}

#[test]
fn stages_that_clip_learn_as_one_process_that_clips_stage_by_stage() {
    let (run, text) = (exact(nano(3)), sentences());
    assert_eq!(run.train.samples_per_step, 1);
    let cut = Line::new(&run).train(STEPS, &text);
    assert!(cut[0] > 5.4 && cut[STEPS - 1] < 4.0, "it learns: {} to {}", cut[0], cut[STEPS - 1]);
    let gap = |process: &mut OneProcess| mean_of_last(&process.train(&text)) / mean_of_last(&cut) - 1.0;

    let mut by_stage = OneProcess::new(groups(&run));
    let near = gap(&mut by_stage);
    let clipped: Vec<usize> = by_stage.groups.iter().map(|group| group.clipped).collect();
    assert!(clipped.iter().all(|steps| *steps > 0), "every stage clips: {clipped:?} of {STEPS} steps");
    assert!(near.abs() < TOLERANCE, "clipped by stage: {near:e}");

    // The comparison sees a difference in clipping: by one norm of the whole model, and none at all.
    let by_model = gap(&mut OneProcess::new(groups(&exact(nano(1)))));
    assert!(by_model.abs() > TOLERANCE, "clipped as a whole: {by_model:e}");
    let unlimited = groups(&run).into_iter().map(|group| Group { max_norm: f64::INFINITY, ..group });
    let unclipped = gap(&mut OneProcess::new(unlimited.collect()));
    assert!(unclipped.abs() > TOLERANCE, "not clipped: {unclipped:e}");
}
