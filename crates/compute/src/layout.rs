//! Where each tensor of a stage lies in the stage's flat fp32 buffer, and how it starts.
//!
//! The order is fixed: decoder or embedding, layers, encoder or final norm and head. The buffer is
//! padded with zeros to whole merge chunks. Tensor names say the layer or boundary within the whole
//! model, so that the tensors of all stages can stand in one file, and the same layer starts with
//! the same values however the model is cut.

use std::ops::Range;

use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::Stage;
use iota_protocol::params::{BoundaryTier, ModelParams, RunParams};

use crate::rng::Rng;

/// Standard deviation of initial weights (GPT-2 and Llama descendants; `bench/tiny.py`).
pub(crate) const INIT_STD: f64 = 0.02;

/// A stage that the run does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("stage {stage} does not exist in a run of {stages} stages; check the assignment")]
pub struct LayoutError {
    /// The stage asked for.
    pub stage: Stage,
    /// Stages of the run.
    pub stages: u16,
}

/// How a tensor's values start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Init {
    /// Normal with [`INIT_STD`].
    Normal,
    /// Normal with [`INIT_STD`] over the square root of twice the layers: ends of residual branches.
    Residual,
    /// Norm weights.
    Ones,
    /// Encoder and decoder: at first only the identity path crosses the boundary.
    Zeros,
}

/// One tensor of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// Name within the whole model.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<i64>,
    /// First value in the flat buffer.
    pub offset: usize,
    /// Values.
    pub len: usize,
    /// Whether weight decay applies: to matrices inside the layers and to the head.
    pub decay: bool,
    init: Init,
}

impl TensorSpec {
    /// Values in the flat buffer.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// Indices of the tensors of one transformer layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LayerIndex {
    pub(crate) attention_norm: usize,
    pub(crate) qkv: usize,
    pub(crate) output: usize,
    pub(crate) mlp_norm: usize,
    pub(crate) gate_up: usize,
    pub(crate) down: usize,
}

/// Indices of the tensors of a stage, by role.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) embedding: Option<usize>,
    pub(crate) decoder: Option<usize>,
    pub(crate) layers: Vec<LayerIndex>,
    pub(crate) encoder: Option<usize>,
    pub(crate) norm: Option<usize>,
    pub(crate) head: Option<usize>,
}

/// The tensors of one stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageLayout {
    tensors: Vec<TensorSpec>,
    pub(crate) roles: Roles,
    len: usize,
    padded_len: usize,
}

/// Which part of the model a stage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub(crate) stage: u16,
    pub(crate) stages: u16,
    pub(crate) first_layer: u16,
    pub(crate) layers: u16,
}

impl StageLayout {
    /// The layout of one stage of a run.
    ///
    /// # Errors
    /// [`LayoutError`] if the run has no such stage.
    pub fn new(run: &RunParams, stage: Stage) -> Result<Self, LayoutError> {
        let stages = run.n_stages();
        let params = run.stage(stage).ok_or(LayoutError { stage, stages })?;
        let cut = Cut { stage: stage.0, stages, first_layer: params.first_layer, layers: params.layers };
        Ok(Self::of_cut(&run.model, run.tier(), cut, run.merge.chunk as usize))
    }

    /// The layout of a part of a model, padded to multiples of `chunk`.
    pub(crate) fn of_cut(model: &ModelParams, tier: BoundaryTier, cut: Cut, chunk: usize) -> Self {
        let mut builder = Builder { model, tier, tensors: Vec::new(), len: 0 };
        let roles = builder.stage(cut);
        let Builder { tensors, len, .. } = builder;
        Self { tensors, roles, len, padded_len: len.next_multiple_of(chunk.max(1)) }
    }

    /// The tensors in the order of the flat buffer.
    #[must_use]
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Trained values.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a stage has at least one layer")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Values of the flat buffer, a multiple of `merge.chunk`.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.padded_len
    }

    /// Initial weights, padded: a function of the run's seed and the tensors' names.
    #[must_use]
    pub fn init(&self, run: &RunParams) -> Vec<f32> {
        let residual = INIT_STD / (2.0 * f64::from(run.model.n_layers)).sqrt();
        let mut flat = vec![0.0; self.padded_len];
        for tensor in &self.tensors {
            let values = &mut flat[tensor.range()];
            match tensor.init {
                Init::Zeros => {}
                Init::Ones => values.fill(1.0),
                Init::Normal => fill_normal(values, run.seed, &tensor.name, INIT_STD),
                Init::Residual => fill_normal(values, run.seed, &tensor.name, residual),
            }
        }
        flat
    }
}

fn fill_normal(values: &mut [f32], seed: u64, name: &str, std: f64) {
    let derived = hash_of(Domain::Seed, &("init", seed, name)).0;
    let mut rng = Rng::new(u64::from_le_bytes(*derived.first_chunk().expect("a hash has 32 bytes; qed")));
    values.iter_mut().for_each(|value| *value = (rng.normal() * std) as f32);
}

/// Lays tensors one after another.
struct Builder<'a> {
    model: &'a ModelParams,
    tier: BoundaryTier,
    tensors: Vec<TensorSpec>,
    len: usize,
}

impl Builder<'_> {
    fn stage(&mut self, cut: Cut) -> Roles {
        let (d, b) = (i64::from(self.model.d_model), i64::from(self.model.bottleneck));
        let vocab = i64::from(self.model.vocab);
        let (first, last) = (cut.stage == 0, cut.stage + 1 == cut.stages);
        let squeezed = self.tier == BoundaryTier::Bottleneck;
        let mut roles = Roles::default();
        if first {
            let stream = self.stream();
            roles.embedding = Some(self.push("embed.weight".into(), &[vocab, stream], Init::Normal, false));
        } else if squeezed {
            let name = format!("boundary.{}.decoder.weight", cut.stage - 1);
            roles.decoder = Some(self.push(name, &[d, b], Init::Zeros, false));
        }
        let layers = cut.first_layer..cut.first_layer + cut.layers;
        roles.layers = layers.map(|layer| self.layer(layer)).collect();
        if last {
            roles.norm = Some(self.push("norm.weight".into(), &[d], Init::Ones, false));
            roles.head = Some(self.push("head.weight".into(), &[vocab, d], Init::Normal, true));
        } else if squeezed {
            let name = format!("boundary.{}.encoder.weight", cut.stage);
            roles.encoder = Some(self.push(name, &[b, d], Init::Zeros, false));
        }
        roles
    }

    fn layer(&mut self, layer: u16) -> LayerIndex {
        let d = i64::from(self.model.d_model);
        let (d_ff, stream) = (i64::from(self.model.d_ff), self.stream());
        let heads = i64::from(self.model.n_heads) + 2 * i64::from(self.model.n_kv_heads);
        let qkv = heads * i64::from(self.model.head_dim());
        let name = |part: &str| format!("layers.{layer}.{part}.weight");
        LayerIndex {
            attention_norm: self.push(name("attention_norm"), &[d], Init::Ones, false),
            qkv: self.push(name("qkv"), &[qkv, d], Init::Normal, true),
            output: self.push(name("output"), &[stream, d], Init::Residual, true),
            mlp_norm: self.push(name("mlp_norm"), &[d], Init::Ones, false),
            gate_up: self.push(name("gate_up"), &[2 * d_ff, d], Init::Normal, true),
            down: self.push(name("down"), &[stream, d_ff], Init::Residual, true),
        }
    }

    /// Channels of the residual stream that are trained: all, or the coordinates in the shared basis.
    fn stream(&self) -> i64 {
        match self.tier {
            BoundaryTier::Codes | BoundaryTier::Bottleneck => i64::from(self.model.d_model),
            BoundaryTier::Subspace => i64::from(self.model.bottleneck),
        }
    }

    fn push(&mut self, name: String, shape: &[i64], init: Init, decay: bool) -> usize {
        let len = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).product();
        self.tensors.push(TensorSpec { name, shape: shape.to_vec(), offset: self.len, len, decay, init });
        self.len += len;
        self.tensors.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::{nano, preset};

    fn layouts(run: &RunParams) -> Vec<StageLayout> {
        (0..run.n_stages()).map(|stage| StageLayout::new(run, Stage(stage)).unwrap()).collect()
    }

    #[test]
    fn tensors_fill_the_buffer_without_gaps_or_overlap() {
        for layout in layouts(&preset("tiny", 3)) {
            let mut next = 0;
            for tensor in layout.tensors() {
                assert_eq!(tensor.offset, next, "{}", tensor.name);
                assert_eq!(tensor.len as i64, tensor.shape.iter().product::<i64>());
                next += tensor.len;
            }
            assert_eq!(next, layout.len());
            assert!(layout.padded_len() >= next && layout.padded_len() - next < 1024);
            assert_eq!(layout.padded_len() % 1024, 0);
        }
    }

    #[test]
    fn ends_of_stages_hold_what_they_run() {
        let names = |stage: usize| -> Vec<String> {
            layouts(&nano(3))[stage].tensors().iter().map(|tensor| tensor.name.clone()).collect()
        };
        let (first, middle, last) = (names(0), names(1), names(2));
        assert_eq!(
            (first[0].as_str(), first.last().unwrap().as_str()),
            ("embed.weight", "boundary.0.encoder.weight")
        );
        assert_eq!(middle[0], "boundary.0.decoder.weight");
        assert_eq!(middle.last().unwrap(), "boundary.1.encoder.weight");
        assert_eq!(
            (last[0].as_str(), last.last().unwrap().as_str()),
            ("boundary.1.decoder.weight", "head.weight")
        );
        assert!(middle.contains(&"layers.1.qkv.weight".to_owned()));
    }

    #[test]
    fn a_cut_model_starts_with_the_values_of_the_whole() {
        let (whole, cut) = (nano(1), nano(3));
        let whole_layout = StageLayout::new(&whole, Stage(0)).unwrap();
        let whole_weights = whole_layout.init(&whole);
        let mut seen = 0;
        for layout in layouts(&cut) {
            let weights = layout.init(&cut);
            assert_eq!(weights.len(), layout.padded_len());
            assert!(weights[layout.len()..].iter().all(|value| *value == 0.0));
            for tensor in layout.tensors() {
                let Some(same) = whole_layout.tensors().iter().find(|other| other.name == tensor.name) else {
                    assert!(
                        tensor.name.starts_with("boundary.")
                            && weights[tensor.range()].iter().all(|v| *v == 0.0)
                    );
                    continue;
                };
                assert_eq!(whole_weights[same.range()], weights[tensor.range()], "{}", tensor.name);
                seen += tensor.len;
            }
        }
        assert_eq!(seen, whole_layout.len());
    }

    #[test]
    fn initial_weights_follow_the_seed_and_have_the_stated_spread() {
        let run = preset("tiny", 1);
        let layout = StageLayout::new(&run, Stage(0)).unwrap();
        let weights = layout.init(&run);
        let other = RunParams { seed: run.seed + 1, ..run.clone() };
        assert_eq!(weights, layout.init(&run));
        assert_ne!(weights, layout.init(&other));
        let std = |name: &str| {
            let tensor = layout.tensors().iter().find(|tensor| tensor.name == name).unwrap();
            let values = &weights[tensor.range()];
            (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        // Standard error of the estimate is below one percent for 16,384 values and more.
        assert!((std("embed.weight") / 0.02 - 1.0).abs() < 0.03);
        assert!((std("layers.5.down.weight") / (0.02 / 12f64.sqrt()) - 1.0).abs() < 0.03);
        assert_eq!(std("norm.weight"), 1.0);
    }

    #[test]
    fn decay_spares_norms_embeddings_and_boundaries() {
        let spared: Vec<_> =
            layouts(&nano(3)).iter().flat_map(|l| l.tensors().to_vec()).filter(|t| !t.decay).collect();
        for tensor in spared {
            let known = ["norm", "embed", "boundary"].iter().any(|part| tensor.name.contains(part));
            assert!(known, "{}", tensor.name);
        }
    }

    #[test]
    fn unknown_stage_is_an_error() {
        assert_eq!(StageLayout::new(&nano(3), Stage(3)), Err(LayoutError { stage: Stage(3), stages: 3 }));
    }
}
