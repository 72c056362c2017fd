//! The pipeline of stages computes what one model computes, learns as it learns, and repeats itself
//! bit for bit; a replay of a stage's log gives the stage's bits.

use std::collections::BTreeMap;

use iota_compute::evaluate::logits;
use iota_compute::outer::OuterState;
use iota_compute::presets::with_boundary;
use iota_compute::{Device, StageTrainer};
use iota_protocol::ids::{Attempt, Sample, Stage};
use iota_protocol::params::{RunParams, WireCodec};

use crate::line::{self, exact, nano, sentences, Line};

/// Values of one name: logits, or the gradient of a tensor.
type Named = BTreeMap<String, Vec<f32>>;

/// Largest difference that two ways of rounding the same sums may show.
const TOLERANCE: f64 = 1e-5;

/// The same where every boundary multiplies by the basis and back: two more sums to round.
const SUBSPACE_TOLERANCE: f64 = 1e-4;

fn compare(whole: &Named, cut: &Named) -> Result<(), String> {
    compare_within(TOLERANCE, whole, cut)
}

/// Compares logits by absolute difference and gradients by relative L2.
fn compare_within(tolerance: f64, whole: &Named, cut: &Named) -> Result<(), String> {
    if whole.keys().ne(cut.keys()) {
        return Err(format!("tensors differ: {:?} and {:?}", whole.keys(), cut.keys()));
    }
    for (name, a) in whole {
        let b = &cut[name];
        let squared = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let mut differences = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let difference = if name == "logits" {
            differences.fold(0.0, |largest: f64, d| largest.max(d.abs()))
        } else {
            squared(&mut differences) / squared(&mut a.iter().map(|x| f64::from(*x))).max(f64::MIN_POSITIVE)
        };
        if a.len() != b.len() || difference > tolerance || difference.is_nan() {
            return Err(format!("{name} differs by {difference:e}"));
        }
    }
    Ok(())
}

/// Weights that are not at their start, where residual branches are nearly silent.
fn spread(run: &RunParams) -> Vec<OuterState> {
    let mut states = line::initial(run);
    for state in &mut states {
        state.weights.iter_mut().for_each(|weight| *weight *= 5.0);
    }
    states
}

/// Logits and gradients of one sample, inputs and targets shifted into the text by these offsets.
fn observe(run: &RunParams, inputs: usize, targets: usize) -> Named {
    let states = spread(run);
    let mut line = Line::from_states(run, &states);
    let (x, y) = line::shifted_sample(run, inputs, targets);
    line.run_sample(0, &x, &y);
    let seq_len = run.model.seq_len as usize;
    let weights: Vec<_> = states.into_iter().map(|state| state.weights).collect();
    let mut named: Named = line.stages.iter().flat_map(|stage| stage.gradients().unwrap()).collect();
    named.insert("logits".into(), logits(run, &weights, &x[..seq_len]).unwrap());
    named
}

#[test]
fn three_stages_compute_the_logits_and_gradients_of_one_model() {
    let (whole, cut) = (observe(&exact(nano(1)), 0, 1), observe(&exact(nano(3)), 0, 1));
    assert_eq!(whole.len(), 1 + 3 + 6 * 3);
    compare(&whole, &cut).unwrap();
}

#[test]
fn a_shift_by_one_is_seen_by_the_comparison() {
    let whole = observe(&exact(nano(1)), 0, 1);
    let targets = compare(&whole, &observe(&exact(nano(3)), 0, 2)).unwrap_err();
    assert!(!targets.contains("logits"), "targets change gradients only: {targets}");
    compare(&whole, &observe(&exact(nano(3)), 1, 1)).unwrap_err();
}

#[test]
fn one_replica_per_stage_learns_as_one_process_does() {
    // Each stage clips its own gradient. With so few parameters declared, neither side clips at all,
    // and what is left to compare is the arithmetic; `clipping.rs` compares with clipping on.
    let unclipped = |stages: u16| {
        let mut run = exact(nano(stages));
        (0..run.stages.len()).for_each(|stage| run.stages[stage].parameters = 1);
        run
    };
    let mean_of_last = |run: RunParams| {
        let losses = Line::new(&run).train(60, &sentences());
        assert!(losses[0] > 5.4 && losses[59] < 4.0, "it learns: {} to {}", losses[0], losses[59]);
        f64::from(losses[50..].iter().sum::<f32>()) / 10.0
    };
    let (whole, cut) = (mean_of_last(unclipped(1)), mean_of_last(unclipped(3)));
    assert!((cut / whole - 1.0).abs() < 0.002, "{whole} {cut}");
}

#[test]
fn a_run_repeats_its_losses_bit_for_bit() {
    let bits =
        || Line::new(&nano(3)).train(10, &sentences()).iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    let first = bits();
    assert_eq!(first, bits());
    assert!(first.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn every_codec_trains_and_a_cut_boundary_does_not() {
    let text = sentences();
    let last = |change: &dyn Fn(&mut RunParams)| {
        let mut run = nano(3);
        change(&mut run);
        let losses = Line::new(&run).train(200, &text);
        f64::from(losses[180..].iter().sum::<f32>()) / 20.0
    };
    let unigram = line::unigram_entropy(&text);
    // Zeros pass through norms and matrices without biases as zeros: all letters stay equally likely.
    let cut = last(&|run| run.model.zero_boundary = true);
    assert!((cut - 256f64.ln()).abs() < 1e-3, "nothing crossed, yet the loss is {cut}");
    for wire in [WireCodec::F32, WireCodec::Bf16, WireCodec::Int8, WireCodec::Int4] {
        let loss = last(&|run| run.train.wire = wire);
        assert!(loss < unigram - 0.5, "{wire:?}: {loss} against {unigram}");
    }
    for wire in [WireCodec::SubspaceF32, WireCodec::SubspaceInt8, WireCodec::SubspaceInt4] {
        let loss = last(&|run| *run = with_boundary(run, run.model.bottleneck, wire).unwrap());
        assert!(loss < unigram - 0.3, "{wire:?}: {loss} against {unigram}");
    }
}

#[test]
fn a_trainer_can_move_to_its_own_thread() {
    let run = nano(3);
    let state = line::initial(&run).swap_remove(1);
    let trainer = StageTrainer::new(&run, Stage(1), &state, Device::Cpu).unwrap();
    let version = std::thread::spawn(move || trainer.version()).join().unwrap();
    assert_eq!(version.0, 0);
    let key = line::key(3);
    assert_eq!((key.sample, key.attempt), (Sample(3), Attempt(0)));
}

/// The run with its boundaries in the shared subspace, values raw.
fn in_subspace(stages: u16) -> RunParams {
    let run = nano(stages);
    with_boundary(&run, run.model.bottleneck, WireCodec::SubspaceF32).unwrap()
}

#[test]
fn the_shared_subspace_loses_nothing_in_either_direction() {
    let (whole, cut) = (observe(&in_subspace(1), 0, 1), observe(&in_subspace(3), 0, 1));
    assert_eq!(whole.len(), 1 + 3 + 6 * 3, "no encoder, no decoder");
    compare_within(SUBSPACE_TOLERANCE, &whole, &cut).unwrap();
    // The comparison sees a boundary that does lose something.
    let run = in_subspace(3);
    let coded = with_boundary(&run, run.model.bottleneck, WireCodec::SubspaceInt8).unwrap();
    compare_within(SUBSPACE_TOLERANCE, &whole, &observe(&coded, 0, 1)).unwrap_err();
}

#[test]
fn every_tier_has_the_gradients_of_its_loss() {
    // Central differences along the gradient itself, in a single stage: the tiers change the model's
    // form there too. The step is where fp32 rounding and curvature are both small.
    for (wire, bottleneck) in [(WireCodec::F32, 32), (WireCodec::F32, 8), (WireCodec::SubspaceF32, 8)] {
        let run = with_boundary(&nano(3), bottleneck, wire).unwrap();
        let states = spread(&run);
        let mut line = Line::from_states(&run, &states);
        let (x, y) = line::shifted_sample(&run, 0, 1);
        line.run_sample(0, &x, &y);
        let gradients: Vec<Vec<f32>> = (line.stages.iter())
            .map(|stage| stage.gradients().unwrap().into_iter().flat_map(|(_, g)| g).collect())
            .collect();
        let square: f64 = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum();
        let loss_at = |along: f64| {
            let mut moved = states.clone();
            for (state, gradient) in moved.iter_mut().zip(&gradients) {
                for (weight, g) in state.weights.iter_mut().zip(gradient) {
                    *weight += (along * f64::from(*g)) as f32;
                }
            }
            f64::from(Line::from_states(&run, &moved).forward(0, &x, &y).0)
        };
        let step = 3e-4 / square.sqrt();
        let measured = (loss_at(step) - loss_at(-step)) / (2.0 * step);
        assert!((measured / square - 1.0).abs() < 0.02, "{wire:?} {bottleneck}: {measured} {square}");
    }
}
