//! Text from a trained model, byte by byte.

use iota_protocol::params::RunParams;

use crate::evaluate::{EvaluateError, Pipeline};
use crate::model::to_vec;
use crate::rng::Rng;

/// Continues `prompt` by `n` bytes and returns the continuation.
///
/// `weights` holds the flat weights of every stage. A temperature of 0 takes the likeliest byte;
/// `top_k` of 0 draws from all. Equal seeds give equal text. The model sees the last `seq_len` bytes;
/// an empty prompt starts from a line feed, which ends every line of the training text.
///
/// # Errors
/// [`EvaluateError`]; a vocabulary other than bytes shows as a token outside it.
pub fn generate(
    run: &RunParams,
    weights: &[Vec<f32>],
    prompt: &[u8],
    n: usize,
    temperature: f32,
    top_k: usize,
    seed: u64,
) -> Result<Vec<u8>, EvaluateError> {
    let pipeline = Pipeline::load(run, weights, crate::init_runtime(1))?;
    let sampler = Sampler { temperature, top_k };
    let mut rng = Rng::new(seed);
    let prompt = if prompt.is_empty() { b"\n" } else { prompt };
    let mut tokens: Vec<u32> = prompt.iter().map(|byte| u32::from(*byte)).collect();
    let mut text = Vec::with_capacity(n);
    for _ in 0..n {
        let seen = &tokens[tokens.len().saturating_sub(run.model.seq_len as usize)..];
        let logits = pipeline.logits(seen, seen.len())?;
        let last = to_vec(&logits.f_select(1, -1)?)?;
        let token = sampler.draw(&last, &mut rng);
        tokens.push(u32::from(token));
        text.push(token);
    }
    Ok(text)
}

struct Sampler {
    temperature: f32,
    top_k: usize,
}

impl Sampler {
    /// A byte drawn from the logits of one position.
    fn draw(&self, logits: &[f32], rng: &mut Rng) -> u8 {
        let mut ranked: Vec<(u8, f32)> = (0u8..=255).zip(logits.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let kept = match (self.temperature > 0.0, self.top_k) {
            (false, _) => 1,
            (true, 0) => ranked.len(),
            (true, k) => k.min(ranked.len()),
        };
        ranked.truncate(kept);
        let best = ranked.first().map_or(0.0, |(_, logit)| *logit);
        let weigh = |logit: f32| f64::from((logit - best) / self.temperature.max(f32::MIN_POSITIVE)).exp();
        let total: f64 = ranked.iter().map(|(_, logit)| weigh(*logit)).sum();
        let mut left = rng.uniform() * total;
        for (byte, logit) in &ranked {
            left -= weigh(*logit);
            if left < 0.0 {
                return *byte;
            }
        }
        ranked.last().map_or(0, |(byte, _)| *byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::StageLayout;
    use crate::presets::tests::nano;
    use iota_protocol::ids::Stage;

    #[test]
    fn sampler_follows_temperature_and_top_k() {
        let mut logits = vec![-10.0f32; 256];
        (logits[65], logits[66], logits[67]) = (2.0, 1.0, 0.0);
        let draw = |temperature, top_k| -> Vec<u8> {
            let mut rng = Rng::new(1);
            (0..3_000).map(|_| Sampler { temperature, top_k }.draw(&logits, &mut rng)).collect()
        };
        assert!(draw(0.0, 0).iter().all(|byte| *byte == 65));
        let two = draw(1.0, 2);
        assert!(two.iter().all(|byte| [65, 66].contains(byte)));
        // e / (1 + e) of the draws take the better of two logits one apart.
        let share = two.iter().filter(|byte| **byte == 65).count() as f64 / two.len() as f64;
        assert!((share - 0.731).abs() < 0.03, "{share}");
        assert!(draw(1.0, 0).contains(&67));
    }

    #[test]
    fn equal_seeds_give_equal_text() {
        let run = nano(3);
        let weights: Vec<_> =
            (0..3).map(|stage| StageLayout::new(&run, Stage(stage)).unwrap().init(&run)).collect();
        let text = |seed| generate(&run, &weights, b"To be", 40, 1.0, 50, seed).unwrap();
        assert_eq!(text(1).len(), 40);
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert!(generate(&run, &weights, b"", 3, 0.0, 0, 0).unwrap().len() == 3);
    }
}
