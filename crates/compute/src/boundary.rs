//! What happens to the residual stream where the model is cut: one trait, three tiers.
//!
//! Shapes: `B` windows, `T` tokens, `d` width of the residual stream, `b` channels that cross, `V`
//! tokens of the vocabulary. The run's parameters choose the tier
//! (`iota_protocol::params::BoundaryTier`); [`crate::model`] calls it. What crosses then passes the
//! wire codec, which is not this file's business.
//!
//! * **Codes**: `b = d`, the stream crosses as it is.
//! * **Bottleneck**: `z = sqrt(d/b) · n(E·x + x[..b])` leaves, `x = D·z + pad(z)` enters, where `n` divides
//!   each token's values by their root mean square. The identity path of `b` channels is never cut, which
//!   is what makes a bottleneck train; that all tokens leave equally large is what lets int4 train: the
//!   codes of two tokens may share a scale, the smaller one's could all become zero, and the norms of the
//!   next stage give a token of zeros a gradient some 300 times too large, each of them (measured:
//!   gradients of 1e14 within 100 steps, docs/results/compression.md).
//! * **Subspace**: the token embedding is `F[t] + U·e[t]` with `F` fixed, and every projection into the
//!   stream is `U·A`, where the basis `U` `[d, b]` is shared by all stages. Then `x − F[t]` lies in the
//!   span of `U` after any layer, so `z = Uᵀ(x − F[t])` and `x = F[t] + U·z` lose nothing; and as
//!   whatever is trained before the cut moves `x` within the span only, neither does `Uᵀ·dx` as the
//!   gradient. `U` and `F` follow from the run's seed. The form is that of Subspace Models (arXiv
//!   2506.01260); unlike there the constraint is the shape of the weights, so that no step leaves it
//!   and none has to be projected back, and the basis stays what it was at the start. `F` is as large as a
//!   stream of root mean square one: which token it is must not drown in what `b` channels add (measured
//!   likewise).

use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::params::{BoundaryTier, RunParams};
use tch::{Device, TchError, Tensor};

use crate::model::NORM_EPS;
use crate::rng::Rng;

/// The cut of one tier, as one stage sees it. All tensors that it is given are of the stage's device
/// and fp32; `linear` is the model's matrix product with a weight `[out, in]`.
pub(crate) trait Boundary: Send {
    /// Token embedding `[B, T, d]` from the trained table's rows `[B, T, ·]`.
    fn embed(&self, rows: Tensor, tokens_bt: &Tensor, linear: Linear<'_>) -> Result<Tensor, TchError>;
    /// What leaves: `[B, T, b]`.
    fn send(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError>;
    /// What enters: `[B, T, d]`.
    fn receive(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError>;
    /// What a layer's output projection adds to the stream: `[B, T, d]`.
    fn widen(&self, projected: Tensor, linear: Linear<'_>) -> Result<Tensor, TchError>;
}

/// The model's matrix product.
pub(crate) type Linear<'a> = &'a dyn Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>;

/// A tensor at the cut, with what a tier may need beside it.
#[derive(Clone, Copy)]
pub(crate) struct Crossing<'a> {
    /// The stream `[B, T, d]` on its way out, boundary values `[B, T, b]` on their way in.
    pub(crate) values: &'a Tensor,
    /// Encoder or decoder, where the tier has one.
    pub(crate) weight: Option<&'a Tensor>,
    /// Tokens `[B, T]`, where the tier needs them.
    pub(crate) tokens_bt: Option<&'a Tensor>,
}

/// The cut of a run's tier.
pub(crate) fn of_run(run: &RunParams, device: Device) -> Result<Box<dyn Boundary>, TchError> {
    let (d, b) = (i64::from(run.model.d_model), i64::from(run.model.bottleneck));
    Ok(match run.tier() {
        BoundaryTier::Codes => Box::new(Whole),
        BoundaryTier::Bottleneck => Box::new(Bottleneck::new(d, b)),
        BoundaryTier::Subspace => Box::new(Subspace::new(run, device)?),
    })
}

/// The whole stream crosses.
struct Whole;

impl Boundary for Whole {
    fn embed(&self, rows: Tensor, _: &Tensor, _: Linear<'_>) -> Result<Tensor, TchError> {
        Ok(rows)
    }

    fn send(&self, from: Crossing<'_>, _: Linear<'_>) -> Result<Tensor, TchError> {
        from.values.f_contiguous()
    }

    fn receive(&self, from: Crossing<'_>, _: Linear<'_>) -> Result<Tensor, TchError> {
        Ok(from.values.shallow_clone())
    }

    fn widen(&self, projected: Tensor, _: Linear<'_>) -> Result<Tensor, TchError> {
        Ok(projected)
    }
}

/// Encoder and decoder beside an identity path.
struct Bottleneck {
    width: i64,
    channels: i64,
    /// Root mean square of what leaves: that of the identity path in a whole stream is then one. A tensor, as
    /// the binding's product with a number is two operators and PyTorch's is one.
    size: Tensor,
}

impl Bottleneck {
    fn new(width: i64, channels: i64) -> Self {
        Self { width, channels, size: Tensor::from((width as f64 / channels as f64).sqrt()) }
    }
}

impl Boundary for Bottleneck {
    fn embed(&self, rows: Tensor, _: &Tensor, _: Linear<'_>) -> Result<Tensor, TchError> {
        Ok(rows)
    }

    fn send(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError> {
        let encoder = from.weight.ok_or_else(|| missing("encoder"))?;
        let summed = linear(from.values, encoder)?.f_add(&from.values.f_narrow(-1, 0, self.channels)?)?;
        summed.f_rms_norm([self.channels], None::<Tensor>, NORM_EPS)?.f_mul(&self.size)
    }

    fn receive(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError> {
        let decoder = from.weight.ok_or_else(|| missing("decoder"))?;
        let decoded = linear(from.values, decoder)?;
        decoded.f_add(&from.values.f_constant_pad_nd([0, self.width - self.channels])?)
    }

    fn widen(&self, projected: Tensor, _: Linear<'_>) -> Result<Tensor, TchError> {
        Ok(projected)
    }
}

/// Coordinates in a basis that all stages share.
struct Subspace {
    /// `[d, b]`, orthonormal columns.
    basis: Tensor,
    /// The same, turned: `[b, d]`.
    turned: Tensor,
    /// Fixed part of the embedding, `[V, d]`.
    fixed: Tensor,
}

impl Subspace {
    fn new(run: &RunParams, device: Device) -> Result<Self, TchError> {
        let (d, b) = (run.model.d_model as usize, run.model.bottleneck as usize);
        let shape = [d as i64, b as i64];
        let basis =
            Tensor::f_from_slice(&orthonormal(run.seed, d, b))?.f_view_(shape)?.f_to_device(device)?;
        let turned = basis.f_transpose(0, 1)?.f_contiguous()?;
        let mut rng = seeded(run.seed, "fixed embedding");
        let vocab = run.model.vocab as usize;
        let values: Vec<f32> = (0..vocab * d).map(|_| rng.normal() as f32).collect();
        let fixed = Tensor::f_from_slice(&values)?.f_view_([vocab as i64, d as i64])?.f_to_device(device)?;
        Ok(Self { basis, turned, fixed })
    }

    fn fixed_rows(&self, tokens_bt: Option<&Tensor>) -> Result<Tensor, TchError> {
        let tokens_bt = tokens_bt.ok_or_else(|| missing("token ids"))?;
        Tensor::f_embedding(&self.fixed, tokens_bt, -1, false, false)
    }
}

impl Boundary for Subspace {
    fn embed(&self, rows: Tensor, tokens_bt: &Tensor, linear: Linear<'_>) -> Result<Tensor, TchError> {
        linear(&rows, &self.basis)?.f_add(&self.fixed_rows(Some(tokens_bt))?)
    }

    fn send(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError> {
        linear(&from.values.f_sub(&self.fixed_rows(from.tokens_bt)?)?, &self.turned)
    }

    fn receive(&self, from: Crossing<'_>, linear: Linear<'_>) -> Result<Tensor, TchError> {
        linear(from.values, &self.basis)?.f_add(&self.fixed_rows(from.tokens_bt)?)
    }

    fn widen(&self, projected: Tensor, linear: Linear<'_>) -> Result<Tensor, TchError> {
        linear(&projected, &self.basis)
    }
}

fn missing(what: &str) -> TchError {
    TchError::Shape(format!("the boundary was given no {what}"))
}

fn seeded(seed: u64, what: &str) -> Rng {
    let derived = hash_of(Domain::Seed, &("subspace", seed, what)).0;
    Rng::new(u64::from_le_bytes(*derived.first_chunk().expect("a hash has 32 bytes; qed")))
}

/// `b` orthonormal columns of length `d`, row after row: random directions by the modified
/// Gram-Schmidt process in f64, in a fixed order, so that all stages hold the same bits.
fn orthonormal(seed: u64, d: usize, b: usize) -> Vec<f32> {
    let mut rng = seeded(seed, "basis");
    let mut columns: Vec<Vec<f64>> = Vec::with_capacity(b);
    while columns.len() < b {
        let mut column: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        for done in &columns {
            let along = dot(&column, done);
            column.iter_mut().zip(done).for_each(|(x, y)| *x -= along * y);
        }
        let norm = dot(&column, &column).sqrt();
        // A random direction that lies within so few others is drawn anew; it never happens.
        if norm > 1e-3 {
            column.iter_mut().for_each(|x| *x /= norm);
            columns.push(column);
        }
    }
    (0..d).flat_map(|row| columns.iter().map(move |column| column[row] as f32)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basis_is_orthonormal_and_follows_the_seed() {
        let (d, b) = (48, 12);
        let basis = orthonormal(7, d, b);
        for i in 0..b {
            for j in 0..b {
                let product: f64 =
                    (0..d).map(|r| f64::from(basis[r * b + i]) * f64::from(basis[r * b + j])).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-6, "{i} {j} {product}");
            }
        }
        assert_eq!(basis, orthonormal(7, d, b));
        assert_ne!(basis, orthonormal(8, d, b));
    }

    #[test]
    fn hand_worked_bottleneck() {
        // d = 3, b = 2, encoder [2 0 1; 0 1 0]: x = (1, 2, 3) gives (2·1 + 3 + 1, 2 + 2) = (6, 4), whose mean
        // square is 26. Decoder rows (4 1), (5 0), (0 2): z = (1, -2) enters as (4 - 2 + 1, 5 - 2, -4).
        let linear = |x: &Tensor, w: &Tensor| x.f_linear::<Tensor>(w, None);
        let cut = Bottleneck::new(3, 2);
        let row = |values: &[f32]| Tensor::from_slice(values).view_([1, 1, values.len() as i64]);
        let encoder = Tensor::from_slice(&[2.0f32, 0.0, 1.0, 0.0, 1.0, 0.0]).view_([2, 3]);
        let decoder = Tensor::from_slice(&[4.0f32, 1.0, 5.0, 0.0, 0.0, 2.0]).view_([3, 2]);
        let x = row(&[1.0, 2.0, 3.0]);
        let out = Crossing { values: &x, weight: Some(&encoder), tokens_bt: None };
        let z = cut.send(out, &linear).unwrap();
        // sqrt(3/2) · (6, 4) / sqrt(26).
        assert!(z.allclose(&row(&[1.441_153_4, 0.960_768_9]), 1e-5, 1e-5, false), "{z}");
        let z = row(&[1.0, -2.0]);
        let back = Crossing { values: &z, weight: Some(&decoder), tokens_bt: None };
        assert_eq!(cut.receive(back, &linear).unwrap(), row(&[3.0, 3.0, -4.0]));
        assert!(cut.send(Crossing { weight: None, ..out }, &linear).is_err());
    }

    #[test]
    fn a_small_token_beside_a_large_one_survives_int4() {
        // Two tokens of 16 channels share a scale; the second is a thousand times smaller.
        let linear = |x: &Tensor, w: &Tensor| x.f_linear::<Tensor>(w, None);
        let cut = Bottleneck::new(64, 16);
        let encoder = Tensor::zeros([16, 64], (tch::Kind::Float, Device::Cpu));
        let wave: Vec<f32> =
            (0..128u8).map(|i| (f32::from(i) * 0.7).sin() * if i < 64 { 1.0 } else { 1e-3 } + 1e-4).collect();
        let x = Tensor::from_slice(&wave).view_([1, 2, 64]);
        let z = cut.send(Crossing { values: &x, weight: Some(&encoder), tokens_bt: None }, &linear).unwrap();
        let values: Vec<f32> = Vec::try_from(z.flatten(0, -1)).unwrap();
        let crossed = crate::codec::round_trip(iota_protocol::params::WireCodec::Int4, &values).unwrap();
        assert!(crossed[16..].iter().filter(|value| **value != 0.0).count() > 8, "{crossed:?}");
    }
}
