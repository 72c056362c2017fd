//! AdamW in tensor operations, for devices whose memory the host cannot reach.
//!
//! The formula of [`crate::optimizer`]; not the same bits as the host's, but the same on one device. Nothing
//! here waits for the device but a step, which must know the norm of its gradient and the hashes of what it
//! left. The other side of this file is `device_optimizer.cpp`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use iota_protocol::ids::Hash;
use tch::{Kind, TchError, Tensor};

use crate::flat::{chunk_count, CHUNK_VALUES};
use crate::host;
use crate::layout::{StageLayout, TensorSpec};
use crate::model::to_vec;
use crate::native;
use crate::optimizer::{Masters, Older, Optimizer, StepPlan, ADAM_EPS, MAX_GRADIENT};
use crate::staging::{Scalar, Staging};
use crate::state::{chunk_hash, MasterRoots};

/// Values that are hashed while the next ones come from the device: 16 MiB, whole chunks.
const SLICE_VALUES: usize = 256 * CHUNK_VALUES;
/// Values that are widened to f64 at a time for their norm: 128 MiB.
const NORM_VALUES: usize = 1 << 24;

/// Numbers of one step, as `device_optimizer.cpp` has them.
#[repr(C)]
struct Adam {
    lr: f64,
    beta1: f64,
    beta2: f64,
    decay: f64,
    eps: f64,
    step: i64,
}

unsafe extern "C" {
    fn iota_adamw(
        weights: *const *const c_void,
        gradients: *const *const c_void,
        first: *const *const c_void,
        second: *const *const c_void,
        count: usize,
        adam: *const Adam,
    ) -> *mut c_char;
}

/// The optimizer on a device. Buffers are flat, of padded length; no step changes the padding.
pub(crate) struct DeviceOptimizer {
    weights: Tensor,
    first: Tensor,
    second: Tensor,
    sum: Tensor,
    specs: Vec<TensorSpec>,
    staging: Arc<Staging>,
}

impl DeviceOptimizer {
    pub(crate) fn new(
        layout: &StageLayout,
        masters: &Masters,
        staging: &Arc<Staging>,
    ) -> Result<Self, TchError> {
        let upload = |values: &[f32]| staging.upload(Tensor::f_from_slice(values)?);
        Ok(Self {
            weights: upload(&masters.weights)?,
            first: upload(&masters.first)?,
            second: upload(&masters.second)?,
            sum: Tensor::f_zeros([layout.len() as i64], (Kind::Float, staging.device()))?,
            specs: layout.tensors().to_vec(),
            staging: Arc::clone(staging),
        })
    }

    /// One operation for all tensors with decay and one for those without.
    fn adamw(&self, plan: &StepPlan, decayed: bool) -> Result<(), TchError> {
        let specs = || self.specs.iter().filter(|spec| spec.decay == decayed);
        let views = |flat: &Tensor| specs().map(|spec| part(flat, spec)).collect::<Result<Vec<_>, _>>();
        let [weights, sum] = [views(&self.weights)?, views(&self.sum)?];
        let [first, second] = [views(&self.first)?, views(&self.second)?];
        let adam = Adam {
            lr: plan.lr,
            beta1: f64::from(plan.beta1),
            beta2: f64::from(plan.beta2),
            decay: if decayed { plan.weight_decay } else { 0.0 },
            eps: f64::from(ADAM_EPS),
            step: i64::from(plan.adam_step),
        };
        let [w, g, m, v] = [&weights, &sum, &first, &second].map(native::pointers);
        // SAFETY: four arrays of the same number of tensors, alive for the call; the structure is C's.
        unsafe {
            native::answer(iota_adamw(
                w.as_ptr(),
                g.as_ptr(),
                m.as_ptr(),
                v.as_ptr(),
                w.len(),
                &raw const adam,
            ))
        }
    }

    /// Hashes of a buffer's chunks; the next slice is on its way while one is hashed.
    fn chunk_hashes(&self, buffer: &Tensor) -> Result<Vec<Hash>, TchError> {
        let len = buffer.numel();
        let mut hashes = Vec::with_capacity(chunk_count(len));
        let slice = |from: usize| {
            let values = SLICE_VALUES.min(len - from);
            self.staging.download(&buffer.f_narrow(0, from as i64, values as i64)?)
        };
        let mut next = if len > 0 { Some(slice(0)?) } else { None };
        let mut from = 0;
        while let Some(current) = next.take() {
            from += SLICE_VALUES;
            if from < len {
                next = Some(slice(from)?);
            }
            let values = current.wait()?;
            for chunk in host::values(&values)?.chunks(CHUNK_VALUES) {
                hashes.push(chunk_hash(hashes.len() as u32, chunk));
            }
        }
        Ok(hashes)
    }
}

/// One tensor's values within a flat buffer.
fn part(flat: &Tensor, spec: &TensorSpec) -> Result<Tensor, TchError> {
    flat.f_narrow(0, spec.offset as i64, spec.len as i64)
}

/// Euclidean norm, summed in f64.
fn norm(values: &Tensor) -> Result<f64, TchError> {
    let len = values.numel();
    let parts: Result<Vec<Tensor>, TchError> = (0..len)
        .step_by(NORM_VALUES)
        .map(|from| {
            let part = values.f_narrow(0, from as i64, NORM_VALUES.min(len - from) as i64)?;
            part.f_to_kind(Kind::Double)?.f_norm()
        })
        .collect();
    match parts?.as_slice() {
        [] => Ok(0.0),
        parts => Tensor::f_stack(parts, 0)?.f_norm()?.f_double_value(&[]),
    }
}

/// Largest magnitude, as fp32; not a number where a value is none.
fn largest(values: &Tensor) -> Result<Tensor, TchError> {
    let all: &[i64] = &[];
    values.f_detach()?.f_norm_scalaropt_dim(f64::INFINITY, all, false)?.f_to_kind(Kind::Float)
}

impl Optimizer for DeviceOptimizer {
    fn accumulate(&mut self, grads: Vec<Tensor>, beside: &[&Tensor]) -> Result<Scalar, TchError> {
        let all = grads.iter().chain(beside.iter().copied());
        let magnitudes: Result<Vec<Tensor>, TchError> = all.map(largest).collect();
        let magnitude = Tensor::f_stack(&magnitudes?, 0)?.f_max()?;
        // Zeros take the place of what must not be added, so that the host need not wait for the answer.
        let refused = magnitude.f_le(f64::from(MAX_GRADIENT))?.f_logical_not()?;
        for (spec, grad) in self.specs.iter().zip(&grads) {
            let kept = grad.f_detach()?.f_reshape([spec.len as i64])?.f_masked_fill_(&refused, 0.0)?;
            let _ = part(&self.sum, spec)?.f_add_(&kept)?;
        }
        self.staging.ask(&magnitude)
    }

    fn step(&mut self, plan: &StepPlan, older: Older) -> Result<f64, TchError> {
        let norm = plan.mean * norm(&self.sum)?;
        let _ = self.sum.f_mul_scalar_(f64::from(plan.gradient_factor(norm)))?;
        if older == Older::InUse {
            let mut copy = self.weights.f_empty_like()?;
            copy.f_copy_(&self.weights)?;
            self.weights = copy;
        }
        self.adamw(plan, true)?;
        self.adamw(plan, false)?;
        let _ = self.sum.f_zero_()?;
        Ok(norm)
    }

    fn weights_tensor(&self) -> Tensor {
        self.weights.shallow_clone()
    }

    fn masters(&self) -> Result<Masters, TchError> {
        let [weights, first, second] = [&self.weights, &self.first, &self.second].map(to_vec);
        Ok(Masters { weights: weights?, first: first?, second: second? })
    }

    fn roots(&self) -> Result<MasterRoots, TchError> {
        let [weights, first, second] =
            [&self.weights, &self.first, &self.second].map(|buffer| self.chunk_hashes(buffer));
        Ok(MasterRoots::of_chunks(self.weights.numel(), &[weights?, first?, second?]))
    }

    fn gradient_sum(&self) -> Result<Vec<f32>, TchError> {
        to_vec(&self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{fits, HostOptimizer};
    use crate::presets::tests::nano;
    use crate::rng::Rng;
    use iota_protocol::ids::Stage;
    use tch::Device;

    fn summed(largest: Scalar) -> bool {
        fits(largest.wait().unwrap())
    }

    #[test]
    fn both_forms_of_the_optimizer_agree() {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(0)).unwrap();
        let zeros = vec![0.0; layout.padded_len()];
        let masters = Masters { weights: layout.init(&run), first: zeros.clone(), second: zeros };
        let staging = Arc::new(Staging::new(Device::Cpu).unwrap());
        let mut host = HostOptimizer::new(&layout, masters.clone()).unwrap();
        let mut device = DeviceOptimizer::new(&layout, &masters, &staging).unwrap();
        let before = device.weights_tensor();
        let mut rng = Rng::new(5);
        for step in 1..=5 {
            let mut draw = |len: usize| (0..len).map(|_| rng.normal() as f32 * 0.1).collect::<Vec<_>>();
            for _ in 0..2 {
                let grads: Vec<Tensor> = layout
                    .tensors()
                    .iter()
                    .map(|s| Tensor::from_slice(&draw(s.len)).view_(&s.shape[..]))
                    .collect();
                let copies = grads.iter().map(Tensor::copy).collect();
                let beside = Tensor::from_slice(&[1.0f32, MAX_GRADIENT]);
                assert!(summed(host.accumulate(copies, &[&beside]).unwrap()));
                assert!(summed(device.accumulate(grads, &[&beside]).unwrap()));
            }
            for wrong in [f32::NAN, f32::NEG_INFINITY, 2.0 * MAX_GRADIENT] {
                for (grad, beside) in [(wrong, 1.0), (1.0, wrong)] {
                    let grads = || -> Vec<Tensor> {
                        layout.tensors().iter().map(|s| Tensor::from_slice(&vec![grad; s.len])).collect()
                    };
                    let beside = Tensor::from_slice(&[0.0, beside]);
                    assert!(!summed(host.accumulate(grads(), &[&beside]).unwrap()), "{wrong}");
                    assert!(!summed(device.accumulate(grads(), &[&beside]).unwrap()), "{wrong}");
                }
            }
            let plan = StepPlan::new(&run, 0.5, 0.003, step, 2);
            // The first step leaves the old weights alone, the others write over them.
            let older = if step == 1 { Older::InUse } else { Older::Unused };
            let (a, b) = (host.step(&plan, older).unwrap(), device.step(&plan, older).unwrap());
            assert!((a - b).abs() < 1e-9 * a, "{a} {b}");
        }
        assert_eq!(to_vec(&before).unwrap(), masters.weights);
        let of = device.masters().unwrap();
        assert_eq!(device.roots().unwrap(), MasterRoots::of(&of.weights, &of.first, &of.second));
        let (host, device) = (host.masters().unwrap(), device.masters().unwrap());
        assert_ne!(host.weights, masters.weights);
        for (a, b) in host.weights.iter().zip(&device.weights) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
