//! AdamW over a stage's flat buffer: gradient sum, clip, decay, step.
//!
//! On the CPU this is plain f32 arithmetic in a fixed order outside libtorch, so that a step gives
//! the same bits on any machine from the same gradients; on CUDA the same formula in tensor
//! operations ([`crate::device_optimizer`]).

use iota_protocol::params::{RunParams, TrainParams, PPM};
use iota_protocol::wide;
use tch::{TchError, Tensor};

use crate::flat::{self, CHUNK_VALUES};
use crate::host;
use crate::layout::{StageLayout, TensorSpec};
use crate::scale::max_magnitude;
use crate::staging::Scalar;
use crate::state::{chunk_hash, MasterRoots};

/// Added to the root of the second moment (Adam's default).
pub(crate) const ADAM_EPS: f32 = 1e-8;
/// Added to the norm before it divides, so that a zero gradient divides by something.
const CLIP_EPS: f64 = 1e-6;
/// Lanes of the norm's sum: a fixed order that still fills vector registers.
const NORM_LANES: usize = 8;

/// Largest value of one sample's gradient. No sum of an epoch's samples (2^20 at most) overflows then, so
/// that sums can be formed in place; a gradient beyond 10^32 is of no use anyway.
pub(crate) const MAX_GRADIENT: f32 = f32::MAX / 1_048_576.0;

/// Masters and moments of a stage, padded length each.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Masters {
    pub(crate) weights: Vec<f32>,
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// Numbers of one step, computed once for both forms of the optimizer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct StepPlan {
    pub(crate) lr: f64,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) weight_decay: f64,
    /// Steps since the moments were zero, this one included.
    pub(crate) adam_step: u32,
    /// `1 − lr · weight_decay`, for tensors with decay.
    pub(crate) keep: f32,
    /// `lr / (1 − beta1^t)`.
    pub(crate) rate: f32,
    /// `sqrt(1 − beta2^t)`.
    pub(crate) second_correction: f32,
    /// One over the number of samples in the sum.
    pub(crate) mean: f64,
    /// Largest norm of the stage's mean gradient.
    pub(crate) max_norm: f64,
}

/// Whether passes still wait on the weights before a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Older {
    /// They do: the step must leave the old buffer as it is.
    InUse,
    /// Nothing reads them any more: the step may write into the same memory.
    Unused,
}

/// Whether a largest magnitude can be summed; one that is not a number cannot.
pub(crate) fn fits(largest: f64) -> bool {
    largest <= f64::from(MAX_GRADIENT)
}

/// Sums gradients and steps the masters; owns both.
pub(crate) trait Optimizer: Send {
    /// Adds one sample's gradients, in the order of the layout. Nothing else may hold their memory: it can
    /// become that of the sum. Gives the largest magnitude among them and the values `beside` them; unless it
    /// [`fits`], nothing was added.
    fn accumulate(&mut self, grads: Vec<Tensor>, beside: &[&Tensor]) -> Result<Scalar, TchError>;
    /// Steps with the mean of the sum, clears it, returns the norm of the mean gradient before the
    /// clip.
    fn step(&mut self, plan: &StepPlan, older: Older) -> Result<f64, TchError>;
    /// The masters as a flat tensor on the device, in place; the padding may be part of it.
    fn weights_tensor(&self) -> Tensor;
    /// A copy of masters and moments on the host.
    fn masters(&self) -> Result<Masters, TchError>;
    /// Hashes of masters and moments.
    fn roots(&self) -> Result<MasterRoots, TchError>;
    /// The sum of gradients so far, on the host.
    fn gradient_sum(&self) -> Result<Vec<f32>, TchError>;
}

/// Learning rate of the step after `step` steps since the merge.
///
/// Rises over `ramp_steps` local steps, and falls linearly to a tenth of the peak between
/// `lr_decay_after_tokens` and twice that count of the run's verified `tokens`.
pub(crate) fn learning_rate(train: &TrainParams, tokens: u64, step: u32) -> f64 {
    let peak = f64::from(train.lr_ppm) / f64::from(PPM);
    let ramp = f64::from(train.ramp_steps.max(1));
    let rise = ((f64::from(step) + 1.0) / ramp).min(1.0);
    let after = train.lr_decay_after_tokens;
    let fallen = if tokens <= after { 0.0 } else { ((tokens - after) as f64 / after.max(1) as f64).min(1.0) };
    peak * rise * (1.0 - 0.9 * fallen)
}

impl StepPlan {
    /// The plan of optimizer step `adam_step` (from 1) over `samples` summed samples.
    pub(crate) fn new(run: &RunParams, clip: f64, lr: f64, adam_step: u32, samples: u32) -> Self {
        let rate = |ppm: u32| f64::from(ppm) / f64::from(PPM);
        let (beta1, beta2) = (rate(run.train.beta1_ppm), rate(run.train.beta2_ppm));
        Self {
            lr,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            weight_decay: rate(run.train.weight_decay_ppm),
            adam_step,
            keep: (1.0 - lr * rate(run.train.weight_decay_ppm)) as f32,
            rate: (lr / (1.0 - power(beta1, adam_step))) as f32,
            second_correction: (1.0 - power(beta2, adam_step)).sqrt() as f32,
            mean: 1.0 / f64::from(samples.max(1)),
            max_norm: clip,
        }
    }

    /// What each summed gradient is multiplied by, given the norm of the mean gradient.
    pub(crate) fn gradient_factor(&self, norm: f64) -> f32 {
        (self.mean * (self.max_norm / (norm + CLIP_EPS)).min(1.0)) as f32
    }
}

/// `base^exponent` by repeated squaring: the maths library's version differs between machines.
fn power(base: f64, mut exponent: u32) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

/// Clip of a stage's gradient: the stage's part of a norm of 1 over the whole model.
pub(crate) fn clip_norm(run: &RunParams, layout: &StageLayout) -> f64 {
    (layout.len() as f64 / run.total_parameters().max(1) as f64).sqrt()
}

/// The optimizer on the host.
pub(crate) struct HostOptimizer {
    /// Padded length; the newest weight version reads the same memory.
    weights: Tensor,
    first: Vec<f32>,
    second: Vec<f32>,
    specs: Vec<TensorSpec>,
    /// One tensor for each of the layout, or none after a step: the first sample's gradients are taken
    /// as they come out of autograd.
    sum: Vec<Tensor>,
    /// Hashes of what the last step left.
    roots: Option<MasterRoots>,
}

impl HostOptimizer {
    pub(crate) fn new(layout: &StageLayout, masters: Masters) -> Result<Self, TchError> {
        let Masters { weights, first, second } = masters;
        let weights = Tensor::f_from_slice(&weights)?;
        Ok(Self { weights, first, second, specs: layout.tensors().to_vec(), sum: Vec::new(), roots: None })
    }
}

impl Optimizer for HostOptimizer {
    fn accumulate(&mut self, grads: Vec<Tensor>, beside: &[&Tensor]) -> Result<Scalar, TchError> {
        let grads: Vec<Tensor> = grads.iter().map(host::local).collect::<Result<_, _>>()?;
        let mut largest = 0.0;
        for values in grads.iter().chain(beside.iter().copied()) {
            let here = max_magnitude(host::values(&host::local(values)?)?).map_or(f32::NAN, f32::from_bits);
            if !fits(f64::from(here)) {
                return Ok(Scalar::Known(f64::from(here)));
            }
            largest = here.max(largest);
        }
        if self.sum.is_empty() {
            self.sum = grads;
        } else {
            for (sum, grad) in self.sum.iter_mut().zip(&grads) {
                let _ = sum.f_add_(grad)?;
            }
        }
        Ok(Scalar::Known(f64::from(largest)))
    }

    fn step(&mut self, plan: &StepPlan, older: Older) -> Result<f64, TchError> {
        let sums: Result<Vec<&[f32]>, TchError> = self.sum.iter().map(host::values).collect();
        let sums = sums?;
        let norm = plan.mean * norm(&sums);
        let factor = plan.gradient_factor(norm);
        if older == Older::InUse {
            self.weights = Tensor::f_from_slice(host::values(&self.weights)?)?;
        }
        let parts: Vec<(&TensorSpec, &[f32])> = self.specs.iter().zip(sums).collect();
        let buffers = [host::values_mut(&mut self.weights)?, &mut self.first, &mut self.second];
        self.roots = Some(step_and_hash(buffers, &parts, plan, factor));
        self.sum.clear();
        Ok(norm)
    }

    fn weights_tensor(&self) -> Tensor {
        self.weights.shallow_clone()
    }

    fn masters(&self) -> Result<Masters, TchError> {
        let weights = host::values(&self.weights)?.to_vec();
        Ok(Masters { weights, first: self.first.clone(), second: self.second.clone() })
    }

    fn roots(&self) -> Result<MasterRoots, TchError> {
        match self.roots {
            Some(roots) => Ok(roots),
            None => Ok(MasterRoots::of(host::values(&self.weights)?, &self.first, &self.second)),
        }
    }

    fn gradient_sum(&self) -> Result<Vec<f32>, TchError> {
        let mut flat = vec![0.0; self.specs.last().map_or(0, |spec| spec.range().end)];
        for (spec, sum) in self.specs.iter().zip(&self.sum) {
            flat[spec.range()].copy_from_slice(host::values(sum)?);
        }
        Ok(flat)
    }
}

/// Steps weights, first and second moments, and hashes them, chunk by chunk: what is hashed is still in the
/// processor's cache. `parts` are the tensors in the order of the layout with their summed gradients.
fn step_and_hash(
    buffers: [&mut [f32]; 3],
    parts: &[(&TensorSpec, &[f32])],
    plan: &StepPlan,
    factor: f32,
) -> MasterRoots {
    let [weights, first, second] = buffers;
    let (len, mut at, mut parts) = (weights.len(), 0, parts);
    let mut hashes = [(); 3].map(|()| Vec::with_capacity(flat::chunk_count(len)));
    let chunks = weights.chunks_mut(CHUNK_VALUES).zip(first.chunks_mut(CHUNK_VALUES));
    for ((index, (weights, first)), second) in (0u32..).zip(chunks).zip(second.chunks_mut(CHUNK_VALUES)) {
        let end = at + weights.len();
        while let [(spec, sum), rest @ ..] = parts {
            let range = spec.range();
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let (here, sum) = (from - at..to - at, &sum[from - range.start..to - range.start]);
                let keep = if spec.decay { plan.keep } else { 1.0 };
                let (first, second) = (&mut first[here.clone()], &mut second[here.clone()]);
                adam(&mut weights[here], first, second, sum, plan, factor, keep);
            }
            if range.end > end {
                break;
            }
            parts = rest;
        }
        for (hashes, values) in hashes.iter_mut().zip([&*weights, first, second]) {
            hashes.push(chunk_hash(index, values));
        }
        at = end;
    }
    MasterRoots::of_chunks(len, &hashes)
}

wide! {
    /// One tensor's step; `factor` scales the summed gradient, `keep` is what decay leaves of a weight.
    fn adam(
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        sum: &[f32],
        plan: &StepPlan,
        factor: f32,
        keep: f32,
    ) {
        let (new1, new2) = (1.0 - plan.beta1, 1.0 - plan.beta2);
        let moments = first.iter_mut().zip(second);
        for ((weight, (first, second)), sum) in weights.iter_mut().zip(moments).zip(sum) {
            let g = sum * factor;
            *first = plan.beta1 * *first + new1 * g;
            *second = plan.beta2 * *second + new2 * g * g;
            let denominator = second.sqrt() / plan.second_correction + ADAM_EPS;
            *weight = *weight * keep - plan.rate * (*first / denominator);
        }
    }
}

/// Euclidean norm of all parts together, summed in f64 in fixed lanes.
pub(crate) fn norm(parts: &[&[f32]]) -> f64 {
    let mut lanes = [0.0f64; NORM_LANES];
    let mut rest = 0.0;
    for part in parts {
        let (chunks, tail) = part.as_chunks::<NORM_LANES>();
        add_squares(&mut lanes, chunks);
        rest += tail.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    }
    (lanes.iter().sum::<f64>() + rest).sqrt()
}

wide! {
    /// Adds the square of each value to its lane.
    fn add_squares(lanes: &mut [f64; NORM_LANES], chunks: &[[f32; NORM_LANES]]) {
        // In registers, and back once: through the reference every addition would wait for memory.
        let mut sums = *lanes;
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        *lanes = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::nano;
    use iota_protocol::ids::Stage;

    fn plan(run: &RunParams, adam_step: u32, samples: u32) -> StepPlan {
        StepPlan::new(run, 1e9, 0.01, adam_step, samples)
    }

    fn summed(optimizer: &mut HostOptimizer, grads: Vec<Tensor>) -> bool {
        fits(optimizer.accumulate(grads, &[]).unwrap().wait().unwrap())
    }

    fn copies(grads: &[Tensor]) -> Vec<Tensor> {
        grads.iter().map(Tensor::copy).collect()
    }

    /// Tensors that end within a chunk, begin in it, or fill several: as one after the other, and hashed as whole
    /// buffers are.
    #[test]
    fn chunk_by_chunk_is_tensor_by_tensor() {
        let mut run = nano(3);
        // Wide enough for several chunks.
        run.model.d_ff *= 8;
        let layout = StageLayout::new(&run, Stage(1)).unwrap();
        let len = layout.padded_len();
        assert!(flat::chunk_count(len) > 2 && layout.tensors().len() > 3, "{len}");
        let values =
            |scale: f32| (0..len).map(|at| (at as f32 * 0.7).sin().abs() * scale).collect::<Vec<f32>>();
        let (mut weights, mut first, mut second) = (layout.init(&run), values(1e-3), values(1e-6));
        let gradients: Vec<Vec<f32>> =
            layout.tensors().iter().map(|spec| values(0.1)[spec.range()].to_vec()).collect();
        let parts: Vec<(&TensorSpec, &[f32])> =
            layout.tensors().iter().zip(&gradients).map(|(spec, sum)| (spec, sum.as_slice())).collect();
        let (mut other, plan) = ((weights.clone(), first.clone(), second.clone()), plan(&run, 3, 2));
        for (spec, sum) in &parts {
            let (range, keep) = (spec.range(), if spec.decay { plan.keep } else { 1.0 });
            let (first, second) = (&mut other.1[range.clone()], &mut other.2[range.clone()]);
            adam(&mut other.0[range], first, second, sum, &plan, 0.5, keep);
        }
        let roots = step_and_hash([&mut weights, &mut first, &mut second], &parts, &plan, 0.5);
        assert_eq!((&weights, &first, &second), (&other.0, &other.1, &other.2));
        assert_eq!(roots, MasterRoots::of(&weights, &first, &second));
    }

    #[test]
    fn a_step_beside_waiting_passes_leaves_the_old_weights_alone() {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(1)).unwrap();
        let (start, zeros) = (layout.init(&run), vec![0.0; layout.padded_len()]);
        let step = |older| {
            let masters = Masters { weights: start.clone(), first: zeros.clone(), second: zeros.clone() };
            let mut optimizer = HostOptimizer::new(&layout, masters).unwrap();
            let before = optimizer.weights_tensor();
            let grads = layout.tensors().iter().map(|s| Tensor::from_slice(&vec![0.5f32; s.len])).collect();
            assert!(summed(&mut optimizer, grads));
            optimizer.step(&plan(&run, 1, 1), older).unwrap();
            (host::values(&before).unwrap().to_vec(), optimizer.masters().unwrap().weights)
        };
        let (kept, beside) = step(Older::InUse);
        let (written, in_place) = step(Older::Unused);
        assert_eq!(kept, start);
        assert_eq!(written, in_place);
        assert_eq!(beside, in_place);
        assert_ne!(in_place, start);
    }

    /// Steps once on a gradient of all `g`, twice summed, and returns the change of some weights.
    fn stepped(g: f32, samples: u32) -> (Vec<f32>, Vec<f32>, StageLayout) {
        let run = nano(1);
        let layout = StageLayout::new(&run, Stage(0)).unwrap();
        let start = layout.init(&run);
        let zeros = vec![0.0; start.len()];
        let masters = Masters { weights: start.clone(), first: zeros.clone(), second: zeros };
        let mut optimizer = HostOptimizer::new(&layout, masters).unwrap();
        let grads: Vec<Tensor> = layout
            .tensors()
            .iter()
            .map(|spec| Tensor::from_slice(&vec![g; spec.len]).view_(&spec.shape[..]))
            .collect();
        for _ in 0..samples {
            assert!(summed(&mut optimizer, copies(&grads)));
        }
        optimizer.step(&plan(&run, 1, samples), Older::Unused).unwrap();
        (start, optimizer.masters().unwrap().weights, layout)
    }

    #[test]
    fn first_step_moves_by_the_rate_and_decays_matrices_only() {
        let (start, end, layout) = stepped(-0.25, 1);
        // The first AdamW step is lr in the gradient's direction, whatever its size.
        for spec in layout.tensors() {
            let keep = if spec.decay { 1.0 - 0.01 * 0.05 } else { 1.0 };
            let expected = start[spec.offset] * keep + 0.01;
            assert!(
                (end[spec.offset] - expected).abs() < 1e-6,
                "{} {}",
                spec.name,
                end[spec.offset] - expected
            );
        }
        assert!(end[layout.len()..].iter().all(|value| *value == 0.0), "padding stays zero");
    }

    #[test]
    fn summed_samples_are_averaged() {
        let (_, once, _) = stepped(0.5, 1);
        let (_, four, _) = stepped(0.5, 4);
        assert_eq!(once, four);
    }

    #[test]
    fn a_gradient_that_is_too_large_changes_nothing() {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(1)).unwrap();
        let zeros = vec![0.0; layout.padded_len()];
        let masters = Masters { weights: layout.init(&run), first: zeros.clone(), second: zeros };
        let mut optimizer = HostOptimizer::new(&layout, masters).unwrap();
        let grads = |g: f32| -> Vec<Tensor> {
            layout.tensors().iter().map(|spec| Tensor::from_slice(&vec![g; spec.len])).collect()
        };
        assert!(summed(&mut optimizer, grads(MAX_GRADIENT)));
        let before = optimizer.gradient_sum().unwrap();
        assert!(!summed(&mut optimizer, grads(2.0 * MAX_GRADIENT)), "a million of them overflow");
        assert!(!summed(&mut optimizer, grads(f32::NAN)));
        assert_eq!(optimizer.gradient_sum().unwrap(), before);
        let norm = optimizer.step(&plan(&run, 1, 1), Older::Unused).unwrap();
        assert!(norm.is_finite() && optimizer.masters().unwrap().weights.iter().all(|w| w.is_finite()));
    }

    #[test]
    fn clip_scales_to_the_largest_norm() {
        let plan = StepPlan { mean: 0.5, max_norm: 1.0, ..plan(&nano(1), 1, 1) };
        assert_eq!(plan.gradient_factor(0.25), 0.5);
        assert!((plan.gradient_factor(4.0) - 0.125).abs() < 1e-6);
        assert!((norm(&[&[3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[4.0]]) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn rate_rises_after_a_merge_and_falls_with_tokens() {
        let train = TrainParams { lr_decay_after_tokens: 1_000, ..nano(1).train };
        let check = |tokens, step, expected: f64| {
            let rate = learning_rate(&train, tokens, step);
            assert!((rate - expected).abs() < 1e-12, "{tokens} {step} {rate}");
        };
        check(0, 0, 0.0003);
        check(0, 4, 0.0015);
        check(1_000, 9, 0.003);
        check(1_500, 50, 0.003 * 0.55);
        check(2_000, 50, 0.0003);
        check(9_000, 50, 0.0003);
    }

    #[test]
    fn power_is_repeated_multiplication() {
        assert_eq!(power(0.5, 10), 1.0 / 1024.0);
        assert_eq!(power(0.9, 0), 1.0);
        assert!((power(0.95, 37) - 0.95f64.powi(37)).abs() < 1e-15);
    }
}
