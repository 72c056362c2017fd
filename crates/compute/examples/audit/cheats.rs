//! What a cheat would claim for a segment. What a cheat leaves alone is as the honest miner has it.

use std::error::Error;

use iota_compute::codec;
use iota_protocol::params::RunParams;

use crate::segments::{play, Played, Segment};

/// One way to save work or do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cheat {
    /// Passes on weights rounded to bf16, masters kept in fp32.
    Bf16Weights,
    /// Passes on weights rounded to 8 bits in blocks of 32.
    Int8Weights,
    /// Sends the activations of the sample before.
    Stale,
    /// Sends on what came in, unread.
    Echo,
    /// Sends its own activations in another order: right size and spread, no meaning.
    Noise,
    /// Sends no gradient down and learns nothing.
    NoBackward,
    /// Passes are honest, the weights stay.
    NoStep,
    /// Computes half of the tokens and sends them twice.
    HalfTokens,
    /// An update a tenth too large.
    Scaled,
    /// An update of the other sign.
    Flipped,
    /// Reports a loss that is so many per mille too high.
    Loss(u16),
}

/// All of them.
pub const CHEATS: [Cheat; 12] = [
    Cheat::Bf16Weights,
    Cheat::Int8Weights,
    Cheat::Stale,
    Cheat::Echo,
    Cheat::Noise,
    Cheat::NoBackward,
    Cheat::NoStep,
    Cheat::HalfTokens,
    Cheat::Scaled,
    Cheat::Flipped,
    Cheat::Loss(10),
    Cheat::Loss(100),
];

impl Cheat {
    /// For the table.
    pub fn name(self) -> String {
        match self {
            Self::Bf16Weights => "weights in bf16".into(),
            Self::Int8Weights => "weights in int8".into(),
            Self::Stale => "activations of the sample before".into(),
            Self::Echo => "input echoed".into(),
            Self::Noise => "activations shuffled".into(),
            Self::NoBackward => "backward pass skipped".into(),
            Self::NoStep => "local step skipped".into(),
            Self::HalfTokens => "half of the tokens, sent twice".into(),
            Self::Scaled => "update times 1.1".into(),
            Self::Flipped => "update of the other sign".into(),
            Self::Loss(per_mille) => format!("loss reported {:.0} % too high", f64::from(per_mille) / 10.0),
        }
    }

    /// What it claims, or `None` where it has nothing to do (a first stage has no input to echo).
    /// `before` is the same stage at the sample recorded before.
    pub fn claim(
        self,
        run: &RunParams,
        segment: &Segment,
        honest: &Played,
        before: Option<&Played>,
    ) -> Result<Option<Played>, Box<dyn Error>> {
        let mut claim = honest.clone();
        let start = &segment.state;
        let (first, last) = (segment.stage == 0, !segment.targets.is_empty());
        match self {
            Self::Bf16Weights => return rounded(run, segment, bf16).map(Some),
            Self::Int8Weights => return rounded(run, segment, int8).map(Some),
            Self::Stale => match before {
                Some(before) if !last => claim.forward.clone_from(&before.forward),
                _ => return Ok(None),
            },
            Self::Echo if !first && !last => claim.forward.clone_from(&segment.codes),
            Self::Noise if !last => claim.forward = reorder(run, &honest.forward)?,
            Self::Echo | Self::Noise => return Ok(None),
            Self::NoBackward if first => claim.state.clone_from(start),
            Self::NoBackward => {
                claim.backward = encode(run, &vec![0.0; count(run)])?;
                claim.state.clone_from(start);
            }
            Self::NoStep => claim.state.clone_from(start),
            Self::HalfTokens => return Ok(Some(play(run, &halved(run, segment)?)?)),
            Self::Scaled => along(&start.weights, &mut claim.state.weights, 1.1),
            Self::Flipped => along(&start.weights, &mut claim.state.weights, -1.0),
            Self::Loss(per_mille) => match honest.loss() {
                Some(loss) => {
                    #[expect(clippy::cast_possible_truncation, reason = "a loss, as an f32 again")]
                    let forged = (loss * (1.0 + f64::from(per_mille) / 1e3)) as f32;
                    claim.loss = Some(forged.to_bits());
                }
                None => return Ok(None),
            },
        }
        Ok(Some(claim))
    }
}

fn count(run: &RunParams) -> usize {
    usize::try_from(run.values_per_message()).unwrap_or(usize::MAX)
}

fn encode(run: &RunParams, values: &[f32]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    codec::encode(run.train.wire, values, &mut out)?;
    Ok(out)
}

fn decode(run: &RunParams, codes: &[u8]) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut out = Vec::new();
    codec::decode(run.train.wire, codes, count(run), &mut out)?;
    Ok(out)
}

/// The whole sequence of values backwards.
fn reorder(run: &RunParams, codes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut values = decode(run, codes)?;
    values.reverse();
    encode(run, &values)
}

fn along(start: &[f32], weights: &mut [f32], factor: f32) {
    for (weight, start) in weights.iter_mut().zip(start) {
        *weight = start + (*weight - start) * factor;
    }
}

/// Plays a segment on rounded weights and adds what was learned to the true ones.
fn rounded(
    run: &RunParams,
    segment: &Segment,
    round: fn(&[f32]) -> Vec<f32>,
) -> Result<Played, Box<dyn Error>> {
    let coarse = round(&segment.state.weights);
    let mut cheat = segment.clone();
    cheat.state.weights.clone_from(&coarse);
    let mut played = play(run, &cheat)?;
    for ((weight, coarse), start) in played.state.weights.iter_mut().zip(&coarse).zip(&segment.state.weights)
    {
        *weight = start + (*weight - coarse);
    }
    Ok(played)
}

fn bf16(weights: &[f32]) -> Vec<f32> {
    weights.iter().map(|weight| half::bf16::from_f32(*weight).to_f32()).collect()
}

fn int8(weights: &[f32]) -> Vec<f32> {
    let block = |block: &[f32]| {
        let scale = block.iter().fold(0.0f32, |most, weight| most.max(weight.abs())) / 127.0;
        block
            .iter()
            .map(move |weight| if scale > 0.0 { (weight / scale).round() * scale } else { 0.0 })
            .collect::<Vec<_>>()
    };
    weights.chunks(32).flat_map(block).collect()
}

/// The first half of every input in place of the second.
fn halved(run: &RunParams, segment: &Segment) -> Result<Segment, Box<dyn Error>> {
    fn twice<T: Clone>(values: &[T]) -> Vec<T> {
        let half = &values[..values.len() / 2];
        [half, half].concat()
    }
    let codes = |codes: &[u8]| -> Result<Vec<u8>, Box<dyn Error>> {
        if codes.is_empty() {
            return Ok(Vec::new());
        }
        encode(run, &twice(&decode(run, codes)?))
    };
    Ok(Segment {
        tokens: twice(&segment.tokens),
        targets: twice(&segment.targets),
        codes: codes(&segment.codes)?,
        gradient: codes(&segment.gradient)?,
        ..segment.clone()
    })
}
