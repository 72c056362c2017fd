//! What the last stage makes of its logits: the loss and a hash of the top of each distribution.

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::Hash;
use tch::{Kind, Reduction, TchError, Tensor};

use crate::model::to_vec;

/// Logits per token that the hash covers: enough to pin down the distribution (TOPLOC uses as many).
const TOP_LOGITS: i64 = 8;

/// Loss of one sample.
pub(crate) struct LastPass {
    /// Mean nats per token.
    pub(crate) loss: f32,
    /// The same as a scalar of autograd.
    pub(crate) mean: Tensor,
    pub(crate) logits_hash: Hash,
}

/// Loss of logits `[B, T, V]` against `B·T` targets.
pub(crate) fn of_logits(logits_btv: &Tensor, targets: &[u32]) -> Result<LastPass, TchError> {
    let mean = cross_entropy(logits_btv, targets)?;
    let loss = mean.f_double_value(&[])? as f32;
    Ok(LastPass { loss, mean, logits_hash: top_hash(logits_btv)? })
}

/// Mean nats per token as a scalar tensor.
pub(crate) fn cross_entropy(logits_btv: &Tensor, targets: &[u32]) -> Result<Tensor, TchError> {
    let vocab =
        *logits_btv.size().last().ok_or_else(|| TchError::Shape("logits without a dimension".into()))?;
    let wide: Vec<i64> = targets.iter().map(|token| i64::from(*token)).collect();
    let targets = Tensor::f_from_slice(&wide)?.f_to_device(logits_btv.device())?;
    let flat = logits_btv.f_view_([-1, vocab])?;
    flat.f_cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.0)
}

/// Hash of each token's largest logits in falling order: index and value, four bytes each.
fn top_hash(logits_btv: &Tensor) -> Result<Hash, TchError> {
    let detached = logits_btv.f_detach()?;
    let vocab = detached.size().last().copied().unwrap_or(0);
    let (values, indices) = detached.f_topk(TOP_LOGITS.min(vocab), -1, true, true)?;
    let values = to_vec(&values)?;
    let count = values.len();
    let mut places = vec![0i32; count];
    let indices = indices.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Int)?.f_contiguous()?;
    indices.f_copy_data(&mut places, count)?;
    let mut bytes = Vec::with_capacity(count * 8);
    for (place, value) in places.iter().zip(&values) {
        bytes.extend_from_slice(&place.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(hash(Domain::Codes, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_loss() {
        // Two tokens of two: logits ln 3 and 0 give 3/4 and 1/4; targets cost ln(4/3) and ln 4.
        let logits = Tensor::from_slice(&[3f32.ln(), 0.0, 3f32.ln(), 0.0]).view_([1, 2, 2]);
        let pass = of_logits(&logits, &[0, 1]).unwrap();
        let expected = ((4f64 / 3.0).ln() + 4f64.ln()) / 2.0;
        assert!((f64::from(pass.loss) - expected).abs() < 1e-6);
    }

    #[test]
    fn hash_sees_the_top_and_nothing_below() {
        let mut values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let hash_of = |values: &[f32]| top_hash(&Tensor::from_slice(values).view_([1, 1, 20])).unwrap();
        let before = hash_of(&values);
        values[0] = 0.5;
        assert_eq!(hash_of(&values), before);
        values[19] = 19.5;
        assert_ne!(hash_of(&values), before);
    }
}
