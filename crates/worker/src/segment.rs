//! Pieces of a miner's work: the tokens of a sample, and the part of an event log between two local
//! steps, as miners replay and validators audit them.

use anyhow::Context;
use iota_compute::data::Dataset;
use iota_protocol::ids::{Attempt, Sample, Version};
use iota_protocol::params::RunParams;
use iota_protocol::position;
use iota_protocol::receipt::LogEvent;

/// Inputs and targets of a sample, window by window.
///
/// # Errors
/// When a position lies outside of the data set.
pub fn sample_tokens(
    dataset: &Dataset,
    params: &RunParams,
    data_base: u64,
    sample: Sample,
) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for window in position::sample_windows(params, data_base, sample) {
        let tokens =
            dataset.train_window(window).with_context(|| format!("window {window} of sample {sample}"))?;
        inputs.extend(tokens.iter().take(tokens.len().saturating_sub(1)));
        targets.extend(tokens.iter().skip(1));
    }
    Ok((inputs, targets))
}

/// Events between the steps `from` and `to`, with the earlier forward passes that they finish in
/// front: what `Replayer` asks for.
#[must_use]
pub fn segment(log: &[LogEvent], from: Version, to: Version) -> Vec<LogEvent> {
    let after = |version: Version| {
        let found =
            log.iter().position(|event| matches!(event, LogEvent::Step { version: v, .. } if *v == version));
        if version.0 == 0 {
            Some(0)
        } else {
            found.map(|place| place.saturating_add(1))
        }
    };
    let (Some(start), Some(end)) = (after(from), after(to)) else { return Vec::new() };
    let body = log.get(start..end).unwrap_or_default();
    let finishes = |sample: &Sample, attempt: &Attempt| {
        let later = log.get(start..).unwrap_or_default();
        later.iter().any(|event| match event {
            LogEvent::Backward { sample: s, attempt: a, .. }
            | LogEvent::Abandon { sample: s, attempt: a } => s == sample && a == attempt,
            _ => false,
        })
    };
    let early = log.get(..start).unwrap_or_default();
    let outstanding = early.iter().filter(|event| match event {
        LogEvent::Forward { sample, attempt, .. } => {
            finishes(sample, attempt) && !finished_before(early, *sample, *attempt)
        }
        _ => false,
    });
    outstanding.chain(body).copied().collect()
}

fn finished_before(early: &[LogEvent], sample: Sample, attempt: Attempt) -> bool {
    early.iter().any(|event| match event {
        LogEvent::Backward { sample: s, attempt: a, .. } | LogEvent::Abandon { sample: s, attempt: a } => {
            *s == sample && *a == attempt
        }
        _ => false,
    })
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
