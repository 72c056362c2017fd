//! The forward pass of one stage: Llama-style decoder layers between two boundaries.
//!
//! Shapes: `B` windows, `T` tokens, `d` width of the residual stream, `b` channels across a boundary
//! (`b = d` without a bottleneck), `h` heads, `k` KV heads, `c` width of a head, `V` vocabulary.
//! Parameters are leaves: views into one flat buffer, in the order of the stage's layout.
//!
//! What happens at the two boundaries is [`crate::boundary`]'s.

use iota_protocol::params::{ModelParams, RunParams};
use tch::{Device, Kind, TchError, Tensor};

use crate::boundary::{self, Boundary, Crossing};
use crate::host;
use crate::layout::{LayerIndex, Roles, StageLayout, TensorSpec};
use crate::loss::{self, LastPass};

/// Added to the mean square in RMSNorm (Llama).
pub(crate) const NORM_EPS: f64 = 1e-5;

/// What a stage reads.
pub(crate) enum ModelInput<'a> {
    /// Tokens `[B, T]`, int64: the first stage.
    Tokens(&'a Tensor),
    /// Boundary values `[B, T, b]`: every other stage; with the tokens where the tier needs them.
    Boundary(&'a Tensor, Option<&'a Tensor>),
}

/// One stage's shape and constants on a device.
pub(crate) struct StageModel {
    params: ModelParams,
    specs: Vec<TensorSpec>,
    roles: Roles,
    boundary: Box<dyn Boundary>,
    cos_t1c: Tensor,
    sin_t1c: Tensor,
    matmul_kind: Kind,
    device: Device,
}

impl StageModel {
    /// A stage with this layout. Matrix products run in bf16 on CUDA and in fp32 elsewhere.
    pub(crate) fn new(run: &RunParams, layout: &StageLayout, device: Device) -> Result<Self, TchError> {
        let (cos_t1c, sin_t1c) = rotary_tables(&run.model, device)?;
        Ok(Self {
            params: run.model.clone(),
            boundary: boundary::of_run(run, device)?,
            specs: layout.tensors().to_vec(),
            roles: layout.roles.clone(),
            cos_t1c,
            sin_t1c,
            matmul_kind: if device.is_cuda() { Kind::BFloat16 } else { Kind::Float },
            device,
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Whether this stage ends in logits.
    pub(crate) fn is_last(&self) -> bool {
        self.roles.head.is_some()
    }

    /// Parameters as views into a flat buffer; with `trained`, as leaves of autograd.
    pub(crate) fn leaves(&self, flat: &Tensor, trained: bool) -> Result<Vec<Tensor>, TchError> {
        let leaf = |spec: &TensorSpec| {
            let view = flat.f_narrow(0, spec.offset as i64, spec.len as i64)?;
            view.f_view_(spec.shape.as_slice())?.f_detach()?.f_set_requires_grad(trained)
        };
        self.specs.iter().map(leaf).collect()
    }

    /// Boundary values `[B, T, b]`, or logits `[B, T, V]` from the last stage.
    pub(crate) fn forward(&self, leaves: &[Tensor], input: ModelInput<'_>) -> Result<Tensor, TchError> {
        let out = self.headless(leaves, input)?;
        match self.roles.head {
            Some(head) => self.linear(&out, &leaves[head]),
            None => Ok(out),
        }
    }

    /// Boundary values `[B, T, b]`, or the normed stream `[B, T, d]` that the last stage's head reads.
    pub(crate) fn headless(&self, leaves: &[Tensor], input: ModelInput<'_>) -> Result<Tensor, TchError> {
        let (mut x_btd, tokens_bt) = match input {
            ModelInput::Tokens(tokens_bt) => (self.embed(leaves, tokens_bt)?, Some(tokens_bt)),
            ModelInput::Boundary(z_btb, tokens_bt) => (self.receive(leaves, z_btb, tokens_bt)?, tokens_bt),
        };
        for layer in &self.roles.layers {
            x_btd = self.layer(leaves, *layer, &x_btd)?;
        }
        match self.roles.norm {
            Some(norm) => self.norm(&x_btd, &leaves[norm]),
            None => {
                let weight = self.roles.encoder.map(|encoder| &leaves[encoder]);
                self.boundary.send(Crossing { values: &x_btd, weight, tokens_bt }, &self.product())
            }
        }
    }

    /// Loss and gradients of the last stage's head over its normed stream `[B, T, d]`; `B·T` targets.
    pub(crate) fn last_pass(
        &self,
        leaves: &[Tensor],
        stream_btd: &Tensor,
        targets: &Tensor,
    ) -> Result<LastPass, TchError> {
        let missing = || TchError::Shape("a stage without a head was given targets".into());
        let head = self.roles.head.ok_or_else(missing)?;
        loss::of_stream(stream_btd, &leaves[head], targets, self.matmul_kind)
    }

    /// Place of the head among the leaves; none but at the last stage.
    pub(crate) fn head(&self) -> Option<usize> {
        self.roles.head
    }

    fn embed(&self, leaves: &[Tensor], tokens_bt: &Tensor) -> Result<Tensor, TchError> {
        let missing = || TchError::Shape("a stage without embedding was given tokens".into());
        let table = self.roles.embedding.ok_or_else(missing)?;
        let rows = Tensor::f_embedding(&leaves[table], tokens_bt, -1, false, false)?;
        self.boundary.embed(rows, tokens_bt, &self.product())
    }

    fn receive(
        &self,
        leaves: &[Tensor],
        z_btb: &Tensor,
        tokens_bt: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let seen = if self.params.zero_boundary { z_btb.f_mul_scalar(0.0)? } else { z_btb.shallow_clone() };
        let weight = self.roles.decoder.map(|decoder| &leaves[decoder]);
        self.boundary.receive(Crossing { values: &seen, weight, tokens_bt }, &self.product())
    }

    fn product(&self) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + '_ {
        |x, weight| self.linear(x, weight)
    }

    fn layer(&self, leaves: &[Tensor], at: LayerIndex, x_btd: &Tensor) -> Result<Tensor, TchError> {
        let normed = self.norm(x_btd, &leaves[at.attention_norm])?;
        let qkv = self.linear(&normed, &leaves[at.qkv])?;
        let attended = self.linear(&self.attention(&qkv)?, &leaves[at.output])?;
        let x_btd = x_btd.f_add(&self.boundary.widen(attended, &self.product())?)?;
        let normed = self.norm(&x_btd, &leaves[at.mlp_norm])?;
        let gate_up = self.linear(&normed, &leaves[at.gate_up])?;
        let d_ff = i64::from(self.params.d_ff);
        let (gate, up) = split(&gate_up, [d_ff, d_ff], -1)?;
        let hidden = gate.f_silu()?.f_mul(&up)?;
        let down = self.linear(&hidden, &leaves[at.down])?;
        x_btd.f_add(&self.boundary.widen(down, &self.product())?)
    }

    /// Causal attention over projected queries, keys and values `[B, T, (h + 2k)·c]`.
    fn attention(&self, qkv: &Tensor) -> Result<Tensor, TchError> {
        let (heads, kv) = (i64::from(self.params.n_heads), i64::from(self.params.n_kv_heads));
        let width = i64::from(self.params.head_dim());
        let (windows, tokens, _) = qkv.size3()?;
        let all_bthc = qkv.f_view_([windows, tokens, heads + 2 * kv, width])?;
        let (turning, value) = split(&all_bthc, [heads + kv, kv], 2)?;
        let turned = self.narrowed(self.rotate(&turning, tokens)?)?;
        let (q, k) = split(&turned, [heads, kv], 2)?;
        let v = self.narrowed(value)?;
        let [q, k, v] = [q.f_transpose(1, 2)?, k.f_transpose(1, 2)?, v.f_transpose(1, 2)?];
        let grouped = heads != kv;
        let out =
            Tensor::f_scaled_dot_product_attention::<Tensor>(&q, &k, &v, None, 0.0, true, None, grouped)?;
        let out = out.f_transpose(1, 2)?.f_reshape([windows, tokens, heads * width])?;
        if self.matmul_kind == Kind::Float {
            return Ok(out);
        }
        out.f_to_kind(Kind::Float)
    }

    /// The tensor in the kind of matrix products; without an operation where it is of that kind.
    fn narrowed(&self, x: Tensor) -> Result<Tensor, TchError> {
        if self.matmul_kind == Kind::Float {
            return Ok(x);
        }
        x.f_to_kind(self.matmul_kind)
    }

    /// Rotary embedding, halves of a head paired: channel `i` turns with channel `i + c/2`.
    fn rotate(&self, x_bthc: &Tensor, tokens: i64) -> Result<Tensor, TchError> {
        let half = i64::from(self.params.head_dim()) / 2;
        let (cos, sin) = (self.first_rows(&self.cos_t1c, tokens)?, self.first_rows(&self.sin_t1c, tokens)?);
        let (a, b) = split(x_bthc, [half, half], -1)?;
        let turned_a = a.f_mul(&cos)?.f_sub(&b.f_mul(&sin)?)?;
        let turned_b = a.f_mul(&sin)?.f_add(&b.f_mul(&cos)?)?;
        Tensor::f_cat(&[turned_a, turned_b], -1)
    }

    /// A table's rows for a window; the table itself for a window of full length.
    fn first_rows(&self, table: &Tensor, tokens: i64) -> Result<Tensor, TchError> {
        if tokens == i64::from(self.params.seq_len) {
            return Ok(table.shallow_clone());
        }
        table.f_narrow(0, 0, tokens)
    }

    fn norm(&self, x_btd: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
        x_btd.f_rms_norm([i64::from(self.params.d_model)], Some(weight), NORM_EPS)
    }

    fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
        if self.matmul_kind == Kind::Float {
            return x.f_linear::<Tensor>(weight, None);
        }
        let (x, weight) = (x.f_to_kind(self.matmul_kind)?, weight.f_to_kind(self.matmul_kind)?);
        x.f_linear::<Tensor>(&weight, None)?.f_to_kind(Kind::Float)
    }
}

/// Two parts of a tensor along a dimension. One operation: its gradient is one concatenation, where that
/// of two views would be two padded tensors and their sum.
fn split(x: &Tensor, sizes: [i64; 2], dim: i64) -> Result<(Tensor, Tensor), TchError> {
    let mut parts = x.f_split_with_sizes(sizes, dim)?;
    match (parts.pop(), parts.pop()) {
        (Some(second), Some(first)) => Ok((first, second)),
        _ => Err(TchError::Shape("a split in two gave fewer parts".into())),
    }
}

/// Cosine and sine `[T, 1, c/2]` of position times frequency, computed in f64.
fn rotary_tables(params: &ModelParams, device: Device) -> Result<(Tensor, Tensor), TchError> {
    let (tokens, half) = (params.seq_len as usize, params.head_dim() as usize / 2);
    let frequency = |i: usize| f64::from(params.rope_base).powf(-(i as f64) / half as f64);
    let angles: Vec<f64> =
        (0..tokens).flat_map(|t| (0..half).map(move |i| t as f64 * frequency(i))).collect();
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
        Tensor::f_from_slice(&values)?.f_view_([tokens as i64, 1, half as i64])?.f_to_device(device)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// Tokens of whole windows as an int64 tensor `[B, T]`.
pub(crate) fn token_tensor(tokens: &[u32], seq_len: i64, device: Device) -> Result<Tensor, TchError> {
    let wide: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
    Tensor::f_from_slice(&wide)?.f_view_([-1, seq_len])?.f_to_device(device)
}

/// Values of a float tensor in its logical order.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    Ok(host::values(&host::local(tensor)?)?.to_vec())
}
