//! The last stage's head with its loss: logits, loss, gradients and the hash of the top of each
//! distribution, some tokens at a time.
//!
//! Logits are the largest tensors of a run: 4,096 tokens of a vocabulary of 128,256 are 2.1 GB in fp32,
//! and autograd would hold four tensors of that size at once (logits, their logarithms, the gradients of
//! both). The gradient of a mean cross entropy by its logits is `(softmax − one-hot) / tokens`, so that
//! the head's own gradient and that of its input follow chunk by chunk and no chunk outlives its turn.
//! Shapes: `N` tokens, `d` width of the stream, `V` vocabulary.

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::Hash;
use tch::{Kind, Reduction, TchError, Tensor};

use crate::model::to_vec;

/// Logits per token that the hash covers: enough to pin down the distribution (TOPLOC uses as many).
const TOP_LOGITS: i64 = 8;
/// Logits that exist at a time: 512 MiB in fp32. Few enough to fit beside a stage; enough tokens of the
/// largest vocabulary, a thousand, that reading and writing the head's gradient once for each chunk
/// takes little beside the products.
pub(crate) const CHUNK_LOGITS: i64 = 1 << 27;

/// Loss of one sample, and its gradients. All of it is on the device, which may still compute it.
pub(crate) struct LastPass {
    /// Logarithms of the targets' probabilities, summed in f64, a scalar.
    pub(crate) logs: Tensor,
    /// By the normed stream, `[B, T, d]`, fp32.
    pub(crate) stream_grad: Tensor,
    /// By the head, `[V, d]`, fp32.
    pub(crate) head_grad: Tensor,
    /// Each token's largest logits in falling order: values and places, one pair of tensors a chunk.
    pub(crate) top: Vec<[Tensor; 2]>,
}

/// Mean nats per token, given the sum of the logarithms.
pub(crate) fn mean_nats(logs: f64, tokens: usize) -> f32 {
    (-logs / tokens.max(1) as f64) as f32
}

/// The head with its loss: the normed stream `[B, T, d]` and the head `[V, d]`, both fp32, against `B·T`
/// targets, int64. Products run in `kind`, everything else in fp32.
pub(crate) fn of_stream(
    stream_btd: &Tensor,
    head_vd: &Tensor,
    targets: &Tensor,
    kind: Kind,
) -> Result<LastPass, TchError> {
    tch::no_grad(|| in_chunks(stream_btd, head_vd, targets, kind, CHUNK_LOGITS))
}

fn in_chunks(
    stream_btd: &Tensor,
    head_vd: &Tensor,
    targets: &Tensor,
    kind: Kind,
    most: i64,
) -> Result<LastPass, TchError> {
    let (vocab, width) = head_vd.size2()?;
    let stream_nd = stream_btd.f_detach()?.f_reshape([-1, width])?.f_to_kind(kind)?;
    let head = head_vd.f_detach()?.f_to_kind(kind)?;
    let tokens = stream_nd.size2()?.0;
    let stream_grad = Tensor::f_empty([tokens, width], (Kind::Float, head.device()))?;
    let (mut head_grad, mut logs, mut top) = (None, None, Vec::new());
    let rows = (most / vocab.max(1)).max(1);
    let mut start = 0;
    while start < tokens {
        let len = rows.min(tokens - start);
        let [part, targets] = [stream_nd.f_narrow(0, start, len)?, targets.f_narrow(0, start, len)?];
        let logits = part.f_linear::<Tensor>(&head, None)?.f_to_kind(Kind::Float)?;
        let (values, places) = logits.f_topk(TOP_LOGITS.min(vocab), -1, true, true)?;
        top.push([values, places]);
        let (sum, by_logits) = gradient(logits, &targets, tokens)?;
        logs = Some(add(logs, sum)?);
        let by_logits = by_logits.f_to_kind(kind)?;
        stream_grad.f_narrow(0, start, len)?.f_copy_(&by_logits.f_matmul(&head)?)?;
        head_grad = Some(add_product(head_grad, &by_logits.f_transpose(0, 1)?, &part)?);
        start += len;
    }
    let none = || TchError::Shape("a sample without a token".into());
    Ok(LastPass {
        logs: logs.ok_or_else(none)?,
        stream_grad: stream_grad.f_view_(stream_btd.size())?,
        head_grad: head_grad.ok_or_else(none)?,
        top,
    })
}

/// Sum of the logarithms of the targets' probabilities, a scalar in f64, and the gradient of the mean over
/// `tokens` of them by these logits `[N, V]`.
fn gradient(logits: Tensor, targets_n: &Tensor, tokens: i64) -> Result<(Tensor, Tensor), TchError> {
    let targets_n1 = targets_n.f_unsqueeze(1)?;
    let mut logs = logits.f_log_softmax(-1, None::<Kind>)?;
    drop(logits);
    let sum = logs.f_gather(1, &targets_n1, false)?.f_sum(Kind::Double)?;
    // In the memory of the logarithms: their exponentials, one less where the target is, over the tokens.
    let mut shares = logs.f_exp_()?;
    let ones = targets_n1.f_ones_like()?.f_to_kind(Kind::Float)?.f_neg()?;
    let mut shares = shares.f_scatter_add_(1, &targets_n1, &ones)?;
    Ok((sum, shares.f_mul_scalar_(1.0 / tokens as f64)?))
}

fn add(sum: Option<Tensor>, more: Tensor) -> Result<Tensor, TchError> {
    match sum {
        None => Ok(more),
        Some(mut sum) => sum.f_add_(&more),
    }
}

/// `sum + a·b` in fp32, in the memory of the sum.
fn add_product(sum: Option<Tensor>, a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    match sum {
        None => a.f_matmul(b)?.f_to_kind(Kind::Float),
        Some(mut sum) if a.f_kind()? == Kind::Float => sum.f_addmm_(a, b),
        Some(mut sum) => sum.f_add_(&a.f_matmul(b)?),
    }
}

/// Mean nats per token of logits `[B, T, V]`, as a scalar tensor.
pub(crate) fn cross_entropy(logits_btv: &Tensor, targets: &[u32]) -> Result<Tensor, TchError> {
    let vocab =
        *logits_btv.size().last().ok_or_else(|| TchError::Shape("logits without a dimension".into()))?;
    let wide: Vec<i64> = targets.iter().map(|token| i64::from(*token)).collect();
    let targets = Tensor::f_from_slice(&wide)?.f_to_device(logits_btv.device())?;
    let flat = logits_btv.f_view_([-1, vocab])?;
    flat.f_cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.0)
}

/// Hash of each token's largest logits, given on the host: index and value, four bytes each.
///
/// # Errors
/// [`TchError`] if a tensor is not of the host.
pub(crate) fn top_hash(top: &[[Tensor; 2]]) -> Result<Hash, TchError> {
    let mut bytes = Vec::new();
    for [values, places] in top {
        let values = to_vec(values)?;
        let mut at = vec![0i32; values.len()];
        places.f_to_kind(Kind::Int)?.f_contiguous()?.f_copy_data(&mut at, values.len())?;
        for (place, value) in at.iter().zip(&values) {
            bytes.extend_from_slice(&place.to_le_bytes());
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    Ok(hash(Domain::Codes, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Loss and hash of a pass, read.
    fn read(pass: &LastPass) -> (f32, Hash) {
        let tokens = pass.top.iter().map(|[values, _]| values.size()[0] as usize).sum();
        (mean_nats(pass.logs.double_value(&[]), tokens), top_hash(&pass.top).unwrap())
    }

    fn row(values: &[f32], shape: &[i64]) -> Tensor {
        Tensor::from_slice(values).view_(shape)
    }

    #[test]
    fn hand_worked_loss() {
        // Two tokens of two: logits ln 3 and 0 give 3/4 and 1/4; targets cost ln(4/3) and ln 4.
        let (stream, head) = (row(&[1.0, 1.0], &[1, 2, 1]), row(&[3f32.ln(), 0.0], &[2, 1]));
        let pass = of_stream(&stream, &head, &Tensor::from_slice(&[0i64, 1]), Kind::Float).unwrap();
        let expected = ((4f64 / 3.0).ln() + 4f64.ln()) / 2.0;
        assert!((f64::from(read(&pass).0) - expected).abs() < 1e-6);
        // By the logits: (3/4 − 1, 1/4)/2 and (3/4, 1/4 − 1)/2. Through the head ln 3 times the first of each.
        let by_stream = row(&[-0.125 * 3f32.ln(), 0.375 * 3f32.ln()], &[1, 2, 1]);
        assert!(pass.stream_grad.allclose(&by_stream, 1e-6, 1e-7, false), "{}", pass.stream_grad);
        assert!(pass.head_grad.allclose(&row(&[0.25, -0.25], &[2, 1]), 1e-6, 1e-7, false));
    }

    /// The gradients are those of autograd, and however many tokens a chunk has: nothing else changes.
    #[test]
    fn chunks_are_the_whole_and_autograd_agrees() {
        let (tokens, width, vocab) = (12, 8, 40);
        let mut rng = Rng::new(3);
        // Small whole numbers: their products are exact in any order, and so is the hash.
        let mut draw = |len: i64| (0..len).map(|_| rng.normal().round() as f32).collect::<Vec<f32>>();
        let stream = row(&draw(tokens * width), &[3, 4, width]).set_requires_grad(true);
        let head = row(&draw(vocab * width), &[vocab, width]).set_requires_grad(true);
        let targets: Vec<u32> = (0..12).map(|token| token * 7 % 40).collect();
        let places: Vec<i64> = targets.iter().map(|token| i64::from(*token)).collect();
        let places = Tensor::from_slice(&places);
        let whole = of_stream(&stream, &head, &places, Kind::Float).unwrap();
        let (loss, hash) = read(&whole);
        let logits = stream.linear::<Tensor>(&head, None);
        let mean = cross_entropy(&logits, &targets).unwrap();
        assert!((mean.double_value(&[]) - f64::from(loss)).abs() < 1e-5);
        let grads = Tensor::run_backward(&[mean], &[&stream, &head], false, false);
        for most in [i64::MAX, 5 * vocab, 1] {
            let pass = tch::no_grad(|| in_chunks(&stream, &head, &places, Kind::Float, most)).unwrap();
            assert!(pass.stream_grad.allclose(&grads[0], 1e-4, 1e-6, false), "{most}");
            assert!(pass.head_grad.allclose(&grads[1], 1e-4, 1e-6, false), "{most}");
            assert!((read(&pass).0 - loss).abs() < 1e-6, "{most}");
            assert_eq!(read(&pass).1, hash, "{most}");
        }
    }

    #[test]
    fn hash_sees_the_top_and_nothing_below() {
        let mut values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let hash_of = |values: &[f32]| {
            let head = row(values, &[20, 1]);
            let target = Tensor::from_slice(&[0i64]);
            read(&of_stream(&row(&[1.0], &[1, 1, 1]), &head, &target, Kind::Float).unwrap()).1
        };
        let before = hash_of(&values);
        values[0] = 0.5;
        assert_eq!(hash_of(&values), before);
        values[19] = 19.5;
        assert_ne!(hash_of(&values), before);
    }

    #[test]
    fn products_in_bf16_stay_close() {
        let mut rng = Rng::new(4);
        let mut draw = |len: usize| (0..len).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let (stream, head) = (row(&draw(64), &[2, 4, 8]), row(&draw(160), &[20, 8]));
        let targets = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6, 7, 8]);
        let [fine, coarse] =
            [Kind::Float, Kind::BFloat16].map(|kind| of_stream(&stream, &head, &targets, kind).unwrap());
        let [a, b] = [read(&fine).0, read(&coarse).0];
        assert!((a - b).abs() < 0.05 * a);
        assert!(coarse.head_grad.kind() == Kind::Float && coarse.stream_grad.kind() == Kind::Float);
        assert!(coarse.head_grad.allclose(&fine.head_grad, 0.05, 0.02, false));
    }
}
