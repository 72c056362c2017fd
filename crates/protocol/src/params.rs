//! Parameters of a run, as they stand on chain, and `validate()`, which states every relation
//! between them.
//!
//! All quantities are integers; rates are in millionths (`_ppm`) so that two machines can never
//! read two numbers. Worker-side floats are derived from them in one place, `iota-compute`.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Hash, Stage};

#[cfg(test)]
mod tests;

/// Most stages of a run: 64 stages of a 100B model still hold more than one layer each.
pub const MAX_STAGES: u32 = 64;
/// Most members of a run; uid bitmaps and score rows are sized by it.
pub const MAX_MEMBERS: u32 = 256;
/// Most miners of one stage that merge together (design.md, section 5): 63 shards per owner.
pub const MAX_GROUP: u32 = 64;
/// One million: the denominator of every `_ppm` field.
pub const PPM: u32 = 1_000_000;
/// Values in one block of the int8 and int4 codes; they share one power-of-two scale.
pub const CODE_BLOCK: u32 = 32;

/// How values are coded at a stage boundary.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum WireCodec {
    /// Raw fp32, for tests of equivalence.
    F32,
    /// bf16, round to nearest even.
    Bf16,
    /// int8 codes, 32 values share one power-of-two scale.
    Int8,
    /// int4 codes, 32 values share one power-of-two scale.
    Int4,
    /// Shared subspace, raw fp32, for tests of exactness.
    SubspaceF32,
    /// Shared subspace, bf16.
    SubspaceBf16,
    /// Shared subspace, int8 codes.
    SubspaceInt8,
    /// Shared subspace, int4 codes.
    SubspaceInt4,
}

/// The three ways to make a boundary narrow, from the safest to the narrowest. A run's tier follows
/// from `model.bottleneck` and `train.wire` ([`RunParams::tier`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoundaryTier {
    /// The whole residual stream crosses, as codes.
    Codes,
    /// A trained bottleneck beside an identity path of as many channels, as codes.
    Bottleneck,
    /// All output projections lie in one shared basis; only coordinates in it cross, as codes, and the
    /// fixed part of the embedding is computed anew from the token ids, which cross with them.
    Subspace,
}

impl WireCodec {
    /// How the values themselves are coded, whatever they are coordinates of.
    #[must_use]
    pub const fn values(self) -> Self {
        match self {
            Self::F32 | Self::SubspaceF32 => Self::F32,
            Self::Bf16 | Self::SubspaceBf16 => Self::Bf16,
            Self::Int8 | Self::SubspaceInt8 => Self::Int8,
            Self::Int4 | Self::SubspaceInt4 => Self::Int4,
        }
    }

    /// Whether boundaries have the form of the shared subspace.
    #[must_use]
    pub const fn is_subspace(self) -> bool {
        matches!(self, Self::SubspaceF32 | Self::SubspaceBf16 | Self::SubspaceInt8 | Self::SubspaceInt4)
    }
}

/// Shape of the decoder (Llama style: RMSNorm, rotary embedding, grouped-query attention, SwiGLU,
/// no biases, untied head).
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct ModelParams {
    /// Width of the residual stream.
    pub d_model: u32,
    /// Transformer layers over all stages.
    pub n_layers: u16,
    /// Query heads.
    pub n_heads: u16,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: u16,
    /// Hidden width of the SwiGLU block.
    pub d_ff: u32,
    /// Distinct tokens; 256 for the byte-level tokenizer.
    pub vocab: u32,
    /// Tokens per window.
    pub seq_len: u32,
    /// Channels that cross a stage boundary; `d_model` means no bottleneck.
    pub bottleneck: u32,
    /// Base of the rotary embedding.
    pub rope_base: u32,
    /// Boundaries carry zeros: the control run that must not learn. Never set it in a run that counts.
    pub zero_boundary: bool,
}

/// One stage: which layers, how large, what share of the miners' emission.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct StageParams {
    /// First transformer layer.
    pub first_layer: u16,
    /// Number of transformer layers, at least 1.
    pub layers: u16,
    /// Trained parameters of the stage, bottleneck and embeddings included.
    pub parameters: u64,
    /// Share of the miners' emission: the stage's share of FLOPs; all shares sum to `PPM`.
    pub share_ppm: u32,
}

/// How a stage is trained between merges.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct TrainParams {
    /// Windows in one sample (microbatch).
    pub windows_per_sample: u16,
    /// Samples between two local steps.
    pub samples_per_step: u16,
    /// Samples that one stage-0 miner keeps in flight.
    pub in_flight: u8,
    /// Peak learning rate of AdamW.
    pub lr_ppm: u32,
    /// AdamW beta 1.
    pub beta1_ppm: u32,
    /// AdamW beta 2.
    pub beta2_ppm: u32,
    /// AdamW weight decay; norms, embeddings, encoder and decoder have none.
    pub weight_decay_ppm: u32,
    /// Local steps over which the rate rises from 0 after each merge.
    pub ramp_steps: u16,
    /// Tokens (of the whole run) after which the rate starts to fall; the fall ends at a tenth of
    /// the peak at twice that count.
    pub lr_decay_after_tokens: u64,
    /// Keep the inner moments across merges instead of starting from zero.
    pub keep_moments: bool,
    /// Codec at stage boundaries.
    pub wire: WireCodec,
    /// Most samples that a stage-0 miner may start in one epoch; bounds journals and receipts.
    pub max_samples: u32,
}

/// How replicas are merged.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct MergeParams {
    /// Parameters in one leaf of an entry's Merkle tree; a multiple of `CODE_BLOCK`.
    pub chunk: u32,
    /// Smallest exponent of an entry's block scale; the range is 20 steps, so sums are exact.
    pub exponent_min: i8,
    /// Outer learning rate.
    pub outer_lr_ppm: u32,
    /// Outer Nesterov momentum at the first merge.
    pub momentum_start_ppm: u32,
    /// Outer Nesterov momentum from `momentum_ramp` merges on.
    pub momentum_end_ppm: u32,
    /// Merges over which momentum rises.
    pub momentum_ramp: u16,
}

/// Lengths of the windows of an epoch in blocks.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct PhaseParams {
    /// `Train`.
    pub train: u32,
    /// `Commit`.
    pub commit: u32,
    /// `Merge.attest`; the seed is fixed three blocks into it.
    pub attest: u32,
    /// `Merge.blind`.
    pub blind: u32,
    /// `Merge.open`.
    pub open: u32,
    /// `Root`.
    pub root: u32,
    /// `commit_scores` is accepted in the first so many blocks of `Train`.
    pub score_commit: u32,
    /// `reveal_scores` is accepted in the so many blocks after that.
    pub score_reveal: u32,
    /// Blocks before a window's end by which workers submit.
    pub margin: u32,
    /// Times that `Train` may be extended in one epoch when a stage has no commit.
    pub max_extensions: u8,
}

/// The data set: where its manifest's root and the counts that positions are drawn from stand.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct DataParams {
    /// Root over the manifest's bytes.
    pub manifest_root: Hash,
    /// Training windows; positions are permuted over them.
    pub train_windows: u64,
    /// Held-out windows at the end of the manifest.
    pub heldout_windows: u64,
}

/// Everything that defines a run.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct RunParams {
    /// Name of the preset that the model came from, for people; no rule reads it.
    pub preset: BoundedVec<u8, ConstU32<32>>,
    /// Seed of initial weights and data order.
    pub seed: u64,
    /// Shape of the model.
    pub model: ModelParams,
    /// The stages in order.
    pub stages: BoundedVec<StageParams, ConstU32<MAX_STAGES>>,
    /// Local training.
    pub train: TrainParams,
    /// Merging.
    pub merge: MergeParams,
    /// Windows.
    pub phases: PhaseParams,
    /// Data.
    pub data: DataParams,
    /// Epoch 0 starts once so many miners per stage, on average, have registered; at most
    /// `MAX_GROUP`, and `MAX_MEMBERS` over all stages.
    pub start_replicas: u16,
    /// Training epochs; the epoch after the last one only settles scores.
    pub epochs: u32,
}

/// Why parameters were refused: the field, what was expected and what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParamsError {
    /// Path of the field.
    pub field: &'static str,
    /// The relation that does not hold.
    pub expected: &'static str,
}

impl core::fmt::Display for ParamsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "run parameter {}: expected {}", self.field, self.expected)
    }
}

impl core::error::Error for ParamsError {}

fn check(holds: bool, field: &'static str, expected: &'static str) -> Result<(), ParamsError> {
    if holds {
        Ok(())
    } else {
        Err(ParamsError { field, expected })
    }
}

/// Blocks from a window's opening until its first submission can be in a block: finality lag (2),
/// inclusion (1). Windows must be longer than that plus the margin.
pub const MIN_LATENCY_BLOCKS: u32 = 3;
/// The seed is the hash of the block two after `Commit`, stored in the next, read when finalized.
pub const SEED_DELAY_BLOCKS: u32 = 3;

impl RunParams {
    /// Checks every relation between the parameters.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub fn validate(&self) -> Result<(), ParamsError> {
        self.model.validate()?;
        self.validate_stages()?;
        self.train.validate()?;
        check(
            !self.train.wire.is_subspace() || self.model.has_bottleneck(),
            "train.wire",
            "a bottleneck below d_model for the shared subspace",
        )?;
        self.merge.validate()?;
        self.phases.validate()?;
        check(self.data.train_windows > 0, "data.train_windows", "at least 1")?;
        check(self.data.heldout_windows > 0, "data.heldout_windows", "at least 1")?;
        self.validate_start()?;
        check(self.epochs > 0, "epochs", "at least 1")
    }

    /// A run that waits for more miners than can be members would never start.
    fn validate_start(&self) -> Result<(), ParamsError> {
        let replicas = u32::from(self.start_replicas);
        let miners = replicas.saturating_mul(u32::from(self.n_stages()));
        check(
            replicas > 0 && replicas <= MAX_GROUP,
            "start_replicas",
            "1 to 64, the most that merge together",
        )?;
        check(miners <= MAX_MEMBERS, "start_replicas", "at most 256 miners over all stages")
    }

    fn validate_stages(&self) -> Result<(), ParamsError> {
        check(!self.stages.is_empty(), "stages", "at least one stage")?;
        let mut next_layer = 0u16;
        let mut share = 0u32;
        for stage in &self.stages {
            check(stage.first_layer == next_layer, "stages.first_layer", "layers consecutive from 0")?;
            check(stage.layers > 0, "stages.layers", "at least one layer in each stage")?;
            check(stage.parameters > 0, "stages.parameters", "at least 1")?;
            next_layer = next_layer.saturating_add(stage.layers);
            share = share.saturating_add(stage.share_ppm);
        }
        check(next_layer == self.model.n_layers, "stages.layers", "a sum equal to model.n_layers")?;
        check(share == PPM, "stages.share_ppm", "a sum of 1,000,000")
    }

    /// Number of stages.
    #[must_use]
    pub fn n_stages(&self) -> u16 {
        u16::try_from(self.stages.len()).unwrap_or(u16::MAX)
    }

    /// The last stage, which holds the head and computes the loss.
    #[must_use]
    pub fn last_stage(&self) -> Stage {
        Stage(self.n_stages().saturating_sub(1))
    }

    /// Parameters of one stage.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<&StageParams> {
        self.stages.get(usize::from(stage.0))
    }

    /// Parameters over all stages.
    #[must_use]
    pub fn total_parameters(&self) -> u64 {
        self.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.parameters))
    }

    /// Tokens in one sample.
    #[must_use]
    pub fn tokens_per_sample(&self) -> u32 {
        u32::from(self.train.windows_per_sample).saturating_mul(self.model.seq_len)
    }

    /// Values that cross one boundary for one sample and direction.
    #[must_use]
    pub fn values_per_message(&self) -> u32 {
        self.tokens_per_sample().saturating_mul(self.model.bottleneck)
    }

    /// How boundaries are made narrow.
    #[must_use]
    pub fn tier(&self) -> BoundaryTier {
        match (self.train.wire.is_subspace(), self.model.has_bottleneck()) {
            (true, _) => BoundaryTier::Subspace,
            (false, true) => BoundaryTier::Bottleneck,
            (false, false) => BoundaryTier::Codes,
        }
    }

    /// Bytes of token ids at the end of a message that goes up: only the shared subspace needs them.
    #[must_use]
    pub fn token_bytes_per_message(&self) -> usize {
        match self.tier() {
            BoundaryTier::Subspace => {
                (self.tokens_per_sample() as usize).saturating_mul(self.model.token_id_bytes())
            }
            BoundaryTier::Codes | BoundaryTier::Bottleneck => 0,
        }
    }

    /// Whether a run that has started may go on with `next`: rates, windows and the number of epochs
    /// may change, what defines the model, its data or the bytes of its messages may not.
    ///
    /// # Errors
    /// The first field that may not change, or a relation of `next` that does not hold.
    pub fn may_become(&self, next: &Self) -> Result<(), ParamsError> {
        const FIXED: &str = "the value that the run started with";
        next.validate()?;
        check(next.preset == self.preset, "preset", FIXED)?;
        check(next.seed == self.seed, "seed", FIXED)?;
        check(next.model == self.model, "model", FIXED)?;
        check(next.stages == self.stages, "stages", FIXED)?;
        check(next.data == self.data, "data", FIXED)?;
        check(next.start_replicas == self.start_replicas, "start_replicas", FIXED)?;
        check(next.train.wire == self.train.wire, "train.wire", FIXED)?;
        check(next.train.keep_moments == self.train.keep_moments, "train.keep_moments", FIXED)?;
        let windows = next.train.windows_per_sample == self.train.windows_per_sample;
        check(windows, "train.windows_per_sample", FIXED)?;
        check(next.merge.chunk == self.merge.chunk, "merge.chunk", FIXED)?;
        check(next.merge.exponent_min == self.merge.exponent_min, "merge.exponent_min", FIXED)
    }

    /// Whether this epoch only settles the scores of the one before.
    #[must_use]
    pub fn is_settling(&self, epoch: Epoch) -> bool {
        epoch.0 >= self.epochs
    }
}

impl ModelParams {
    /// Width of one attention head.
    #[must_use]
    pub fn head_dim(&self) -> u32 {
        self.d_model.checked_div(u32::from(self.n_heads)).unwrap_or(0)
    }

    /// Bytes of one token id, in little endian: the fewest that hold every token.
    #[must_use]
    pub fn token_id_bytes(&self) -> usize {
        match self.vocab {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 3,
        }
    }

    /// Whether boundaries squeeze the residual stream.
    #[must_use]
    pub fn has_bottleneck(&self) -> bool {
        self.bottleneck < self.d_model
    }

    fn validate(&self) -> Result<(), ParamsError> {
        let divides = |a: u32, b: u32| b.checked_rem(a) == Some(0);
        check(self.d_model > 0 && self.d_model <= 65_536, "model.d_model", "1 to 65,536")?;
        check(self.n_layers > 0 && self.n_layers <= 1_024, "model.n_layers", "1 to 1,024")?;
        check(divides(u32::from(self.n_heads), self.d_model), "model.n_heads", "a divisor of d_model")?;
        check(divides(2, self.head_dim()), "model.n_heads", "an even head width")?;
        check(
            divides(u32::from(self.n_kv_heads), u32::from(self.n_heads)),
            "model.n_kv_heads",
            "a divisor of n_heads",
        )?;
        check(self.d_ff > 0 && self.d_ff <= 1 << 20, "model.d_ff", "1 to 2^20")?;
        check(self.vocab >= 2 && self.vocab <= 1 << 20, "model.vocab", "2 to 2^20")?;
        check(self.seq_len > 0 && self.seq_len <= 1 << 17, "model.seq_len", "1 to 2^17")?;
        check(self.bottleneck > 0 && self.bottleneck <= self.d_model, "model.bottleneck", "1 to d_model")
    }
}

impl TrainParams {
    fn validate(&self) -> Result<(), ParamsError> {
        check(self.windows_per_sample > 0, "train.windows_per_sample", "at least 1")?;
        check(self.samples_per_step > 0, "train.samples_per_step", "at least 1")?;
        check(self.in_flight > 0 && self.in_flight <= 64, "train.in_flight", "1 to 64")?;
        check(self.lr_ppm > 0 && self.lr_ppm <= PPM, "train.lr_ppm", "1 to 1,000,000")?;
        check(self.beta1_ppm < PPM, "train.beta1_ppm", "below 1,000,000")?;
        check(self.beta2_ppm < PPM, "train.beta2_ppm", "below 1,000,000")?;
        check(self.max_samples > 0 && self.max_samples <= 1 << 20, "train.max_samples", "1 to 2^20")
    }
}

impl MergeParams {
    fn validate(&self) -> Result<(), ParamsError> {
        check(
            self.chunk > 0 && self.chunk.is_multiple_of(CODE_BLOCK) && self.chunk <= 1 << 22,
            "merge.chunk",
            "a multiple of 32, at most 2^22",
        )?;
        check(self.exponent_min >= -60 && self.exponent_min <= 0, "merge.exponent_min", "-60 to 0")?;
        check(self.momentum_start_ppm < PPM, "merge.momentum_start_ppm", "below 1,000,000")?;
        check(self.momentum_end_ppm < PPM, "merge.momentum_end_ppm", "below 1,000,000")?;
        check(self.outer_lr_ppm > 0 && self.outer_lr_ppm <= PPM, "merge.outer_lr_ppm", "1 to 1,000,000")
    }
}

impl PhaseParams {
    fn validate(&self) -> Result<(), ParamsError> {
        let shortest = MIN_LATENCY_BLOCKS.saturating_add(self.margin);
        for (length, field) in [
            (self.train, "phases.train"),
            (self.commit, "phases.commit"),
            (self.blind, "phases.blind"),
            (self.open, "phases.open"),
            (self.root, "phases.root"),
            (self.score_commit, "phases.score_commit"),
            (self.score_reveal, "phases.score_reveal"),
        ] {
            check(
                length > shortest && length <= 1 << 20,
                field,
                "more than latency (3) plus margin, at most 2^20",
            )?;
        }
        check(
            self.attest > shortest.saturating_add(SEED_DELAY_BLOCKS) && self.attest <= 1 << 20,
            "phases.attest",
            "more than latency (3) plus margin plus the seed's delay (3)",
        )?;
        check(
            self.score_commit.saturating_add(self.score_reveal) <= self.train,
            "phases.score_reveal",
            "score windows that fit into train",
        )
    }
}
