//! How fast this machine trains now, so that a devnet's `Train` window is long enough to learn in.

use std::time::{Duration, Instant};

use anyhow::Context;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_compute::presets::run_params;
use iota_compute::{Device, SampleKey, StageInput, StageTrainer};
use iota_protocol::ids::{Attempt, Hash, Sample, Stage};
use iota_protocol::params::DataParams;

/// Tokens per second of [`measure`] on the machine for which the presets' windows were chosen (two
/// cores, nothing else running): `Train` of a devnet there holds about 380,000 tokens of `tiny`.
const REFERENCE: f64 = 9_000.0;
/// A machine that is slower still gets no longer window: its run would take hours unasked.
const MOST: f64 = 4.0;
/// Long enough for some dozen samples on a slow core, short enough not to be noticed.
const PROBE: Duration = Duration::from_millis(1_500);
/// Tokens per second as [`measure`] found them on the quiet machine, for programs that start together:
/// each of them would find a slow machine. `scripts/test` sets it.
const KNOWN: &str = "IOTA_TOKENS_PER_SECOND";
/// Samples before the clock starts: the library plans and allocates in the first ones.
const WARM_UP: u32 = 2;

/// Blocks of `Train` that give this machine the tokens that `blocks` give the reference machine.
/// Never fewer, and at most four times as many.
///
/// # Errors
/// When the probe cannot run, or `IOTA_TOKENS_PER_SECOND` is set and no number.
pub fn stretched(blocks: u32) -> anyhow::Result<u32> {
    Ok(stretch(blocks, known(std::env::var(KNOWN).ok())?.map_or_else(measure, Ok)?))
}

fn known(value: Option<String>) -> anyhow::Result<Option<f64>> {
    let Some(value) = value else { return Ok(None) };
    let rate = value.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.map(Some)
        .with_context(|| format!("{KNOWN}={value}: expected a positive number, or unset it to measure"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between one and four times a small number of blocks"
)]
fn stretch(blocks: u32, rate: f64) -> u32 {
    let factor = if rate > 0.0 { (REFERENCE / rate).clamp(1.0, MOST) } else { MOST };
    (f64::from(blocks) * factor).ceil() as u32
}

/// Tokens per second that all cores together train with the `tiny` model in one piece, one thread
/// on each core, at the priority of a worker.
///
/// # Errors
/// When the model cannot be built.
pub fn measure() -> anyhow::Result<f64> {
    let cores = std::thread::available_parallelism().context("counting the cores")?.get();
    let probes: Vec<_> = (0..cores).map(|_| std::thread::spawn(probe)).collect();
    let mut sum = 0.0;
    for probe in probes {
        sum += probe.join().map_err(|_| anyhow::anyhow!("the speed probe panicked"))??;
    }
    Ok(sum)
}

fn probe() -> anyhow::Result<f64> {
    // Only this thread: a priority belongs to a thread, and this one ends with the probe.
    iota_service::priority::lower().context("lowering the probe's priority")?;
    let data = DataParams { manifest_root: Hash([1; 32]), train_windows: 1_000, heldout_windows: 10 };
    let run = run_params("tiny", 1, 0, 1, 1, data)?;
    let outer = OuterState::initial(&run, &StageLayout::new(&run, Stage(0))?);
    let mut stage = StageTrainer::new(&run, Stage(0), &outer, Device::Cpu)?;
    let tokens: Vec<u32> = (0..run.tokens_per_sample()).map(|place| place * 7 % 256).collect();
    let mut started = Instant::now();
    let mut done = 0u32;
    for sample in 0.. {
        if sample == WARM_UP {
            started = Instant::now();
        }
        let key = SampleKey { sample: Sample(sample), attempt: Attempt(0) };
        stage.forward(key, StageInput::Tokens(&tokens), Some(&tokens))?;
        stage.step_if_due(0)?;
        done = (sample + 1).saturating_sub(WARM_UP);
        if done > 0 && started.elapsed() > PROBE {
            break;
        }
    }
    Ok(f64::from(done) * f64::from(run.tokens_per_sample()) / started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_gets_a_longer_window_up_to_a_bound() {
        assert_eq!(stretch(48, REFERENCE), 48);
        assert_eq!(stretch(48, REFERENCE * 3.0), 48, "a fast one keeps the preset's");
        assert_eq!(stretch(48, REFERENCE / 2.0), 96);
        assert_eq!(stretch(48, 1.0), 192);
        assert_eq!(stretch(48, 0.0), 192, "a probe that measured nothing");
    }

    #[test]
    fn a_known_rate_is_a_positive_number() {
        assert_eq!(known(None).unwrap(), None);
        assert_eq!(known(Some("8500.5".into())).unwrap(), Some(8500.5));
        for wrong in ["", "fast", "0", "-1", "NaN", "inf"] {
            assert!(known(Some(wrong.into())).unwrap_err().to_string().contains(KNOWN), "{wrong}");
        }
    }

    #[test]
    fn the_probe_trains() {
        assert!(measure().unwrap() > 0.0);
    }
}
