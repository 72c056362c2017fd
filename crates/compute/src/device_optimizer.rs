//! AdamW in tensor operations, for devices whose memory the host cannot reach.
//!
//! The formula of [`crate::optimizer`]; not the same bits as the host's, but the same on one device.

use tch::{Device, Kind, TchError, Tensor};

use crate::layout::{StageLayout, TensorSpec};
use crate::model::to_vec;
use crate::optimizer::{Masters, Older, Optimizer, StepPlan, ADAM_EPS, MAX_GRADIENT};
use crate::state::MasterRoots;

/// The optimizer on a device.
pub(crate) struct DeviceOptimizer {
    weights: Tensor,
    first: Tensor,
    second: Tensor,
    sum: Tensor,
    /// 1 where weight decay applies, else 0.
    decayed: Tensor,
    specs: Vec<TensorSpec>,
    /// Padding of the weights, which no step changes; that of the moments is zero.
    padding: Vec<f32>,
}

impl DeviceOptimizer {
    pub(crate) fn new(layout: &StageLayout, masters: &Masters, device: Device) -> Result<Self, TchError> {
        let trained = layout.len();
        let upload = |values: &[f32]| Tensor::f_from_slice(&values[..trained])?.f_to_device(device);
        let mut decayed = vec![0.0f32; trained];
        layout.tensors().iter().filter(|spec| spec.decay).for_each(|spec| decayed[spec.range()].fill(1.0));
        Ok(Self {
            weights: upload(&masters.weights)?,
            first: upload(&masters.first)?,
            second: upload(&masters.second)?,
            sum: Tensor::f_zeros([trained as i64], (Kind::Float, device))?,
            decayed: upload(&decayed)?,
            specs: layout.tensors().to_vec(),
            padding: masters.weights[trained..].to_vec(),
        })
    }

    fn moments(&self, tensor: &Tensor) -> Result<Vec<f32>, TchError> {
        let mut values = to_vec(tensor)?;
        values.resize(values.len() + self.padding.len(), 0.0);
        Ok(values)
    }
}

impl Optimizer for DeviceOptimizer {
    fn accumulate(&mut self, grads: Vec<Tensor>) -> Result<bool, TchError> {
        let largest: Result<Vec<Tensor>, TchError> =
            grads.iter().map(|grad| grad.f_abs()?.f_max()?.f_to_kind(Kind::Float)).collect();
        // A NaN is the largest of any values, and not below anything: one question to the device.
        let largest = Tensor::f_stack(&largest?, 0)?.f_max()?.f_double_value(&[])?;
        let fits = largest <= f64::from(MAX_GRADIENT);
        if fits {
            for (spec, grad) in self.specs.iter().zip(&grads) {
                let mut sum = self.sum.f_narrow(0, spec.offset as i64, spec.len as i64)?;
                let _ = sum.f_add_(&grad.f_reshape([spec.len as i64])?)?;
            }
        }
        Ok(fits)
    }

    fn step(&mut self, plan: &StepPlan, _: Older) -> Result<f64, TchError> {
        // The old weights stay as they are in either case: a step replaces tensors.
        let norm = plan.mean * self.sum.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?;
        let g = self.sum.f_mul_scalar(f64::from(plan.gradient_factor(norm)))?;
        let (beta1, beta2) = (f64::from(plan.beta1), f64::from(plan.beta2));
        self.first = self.first.f_mul_scalar(beta1)?.f_add(&g.f_mul_scalar(1.0 - beta1)?)?;
        self.second = self.second.f_mul_scalar(beta2)?.f_add(&g.f_mul(&g)?.f_mul_scalar(1.0 - beta2)?)?;
        let root = self.second.f_sqrt()?.f_div_scalar(f64::from(plan.second_correction))?;
        let update =
            self.first.f_div(&root.f_add_scalar(f64::from(ADAM_EPS))?)?.f_mul_scalar(f64::from(plan.rate))?;
        let lost = self.decayed.f_mul_scalar(1.0 - f64::from(plan.keep))?.f_mul(&self.weights)?;
        self.weights = self.weights.f_sub(&lost)?.f_sub(&update)?;
        self.sum = self.sum.f_zeros_like()?;
        Ok(norm)
    }

    fn weights_tensor(&self) -> Tensor {
        self.weights.shallow_clone()
    }

    fn masters(&self) -> Result<Masters, TchError> {
        let mut weights = to_vec(&self.weights)?;
        weights.extend_from_slice(&self.padding);
        let (first, second) = (self.moments(&self.first)?, self.moments(&self.second)?);
        Ok(Masters { weights, first, second })
    }

    fn roots(&self) -> Result<MasterRoots, TchError> {
        let Masters { weights, first, second } = self.masters()?;
        Ok(MasterRoots::of(&weights, &first, &second))
    }

    fn gradient_sum(&self) -> Result<Vec<f32>, TchError> {
        to_vec(&self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::HostOptimizer;
    use crate::presets::tests::nano;
    use crate::rng::Rng;
    use iota_protocol::ids::Stage;

    #[test]
    fn both_forms_of_the_optimizer_agree() {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(0)).unwrap();
        let zeros = vec![0.0; layout.padded_len()];
        let masters = Masters { weights: layout.init(&run), first: zeros.clone(), second: zeros };
        let mut host = HostOptimizer::new(&layout, masters.clone()).unwrap();
        let mut device = DeviceOptimizer::new(&layout, &masters, Device::Cpu).unwrap();
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
                assert!(host.accumulate(copies).unwrap() && device.accumulate(grads).unwrap());
            }
            for wrong in [f32::NAN, f32::NEG_INFINITY, 2.0 * MAX_GRADIENT] {
                let grads =
                    || layout.tensors().iter().map(|s| Tensor::from_slice(&vec![wrong; s.len])).collect();
                assert!(
                    !host.accumulate(grads()).unwrap() && !device.accumulate(grads()).unwrap(),
                    "{wrong}"
                );
            }
            let plan = StepPlan::new(&run, 0.5, 0.003, step, 2);
            let (a, b) =
                (host.step(&plan, Older::Unused).unwrap(), device.step(&plan, Older::Unused).unwrap());
            assert!((a - b).abs() < 1e-9 * a, "{a} {b}");
        }
        let (host, device) = (host.masters().unwrap(), device.masters().unwrap());
        assert_ne!(host.weights, masters.weights);
        for (a, b) in host.weights.iter().zip(&device.weights) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
