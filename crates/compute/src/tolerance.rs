//! How far a replay on one machine may lie from the work of another, and how that is measured.
//!
//! Machines of one kind give the same bits. Others differ in the order of their sums, and so in the
//! last bits of what they compute. `scripts/bench audit` replays the same segments under several
//! instruction sets and thread counts and writes `docs/results/audit.md`. Each bound below lies at least
//! [`SAFETY`] times above the largest distance between honest machines that it saw; that of the update
//! also lies below the smallest of a cheat, passes on weights in bf16 (4.9e-4).

use iota_protocol::params::RunParams;

use crate::codec;
use crate::state::StepState;

/// Bounds stand this many times above the largest honest distance that was measured: the devices at
/// hand were one processor under different instruction sets, and others will differ more.
pub const SAFETY: f64 = 4.0;
/// Relative L2 distance of the values in a message, forward or back. Largest honest one: 2.8e-4, two int8
/// codes of 8,192 that fell on the other side.
pub const CODES: f64 = 2e-3;
/// Relative difference of a sample's loss. Largest honest one: 1.5e-7; a receipt states it in millionths
/// of a nat, which alone can be 5e-7 of a small loss.
pub const LOSS: f64 = 1e-5;
/// Relative L2 distance of the update that a segment's local step made to the weights, and of the moments
/// after it. Largest honest one: 3.6e-5, in an epoch's first step, where AdamW takes the sign of gradients
/// near zero.
pub const UPDATE: f64 = 4e-4;

/// Relative L2 distance between the values of two messages, 0 for equal bytes.
///
/// # Errors
/// When one is no message of this run, or their token ids differ.
pub fn codes_distance(run: &RunParams, mine: &[u8], theirs: &[u8]) -> Result<f64, String> {
    if mine == theirs {
        return Ok(0.0);
    }
    let count = usize::try_from(run.values_per_message()).unwrap_or(usize::MAX);
    let wire = run.train.wire;
    let (mine, my_ids) = codec::split(wire, mine, count);
    let (theirs, their_ids) = codec::split(wire, theirs, count);
    if my_ids != their_ids {
        return Err("the token ids after the codes are not those of the sample".into());
    }
    let decode = |codes: &[u8]| {
        let mut out = Vec::new();
        codec::decode(wire, codes, count, &mut out).map_err(|error| error.to_string())?;
        Ok::<_, String>(out)
    };
    Ok(relative(&decode(mine)?, &decode(theirs)?))
}

/// Relative L2 distance between two updates that began at the same weights, 0 for equal ones. Infinite
/// if the buffers differ in length.
#[must_use]
pub fn update_distance(start: &[f32], mine: &[f32], theirs: &[f32]) -> f64 {
    if mine.len() != start.len() || theirs.len() != start.len() {
        return f64::INFINITY;
    }
    let update = |end: &[f32]| end.iter().zip(start).map(|(end, start)| end - start).collect::<Vec<f32>>();
    relative(&update(mine), &update(theirs))
}

/// The largest of the distances between two states after a local step from `start`: of the updates of the
/// weights and of both moments.
#[must_use]
pub fn state_distance(start: &StepState, mine: &StepState, theirs: &StepState) -> f64 {
    let moments = |mine: &[f32], theirs: &[f32]| match mine.len() == theirs.len() {
        true => relative(mine, theirs),
        false => f64::INFINITY,
    };
    let update = update_distance(&start.weights, &mine.weights, &theirs.weights);
    let all = [update, moments(&mine.first, &theirs.first), moments(&mine.second, &theirs.second)];
    // `max` would drop what is not a number, and that is within no bound.
    all.into_iter().reduce(|most, one| if one > most || one.is_nan() { one } else { most }).unwrap_or(update)
}

/// |loss − claimed| over the loss.
#[must_use]
pub fn loss_distance(mine: f64, claimed: f64) -> f64 {
    (mine - claimed).abs() / mine.abs().max(1e-3)
}

fn relative(mine: &[f32], theirs: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 = mine.iter().zip(theirs).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = mine.iter().map(|a| square(f64::from(*a))).sum();
    match (difference == 0.0, norm == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        (false, false) => (difference / norm).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From (1, 1): mine moved by (3, 4), theirs by (3, 4.5). The distance is 0.5 of 5.
    #[test]
    fn an_update_by_hand() {
        let distance = update_distance(&[1.0, 1.0], &[4.0, 5.0], &[4.0, 5.5]);
        assert!((distance - 0.1).abs() < 1e-6, "{distance}");
    }

    #[test]
    fn no_update_is_as_far_as_the_update_is_long() {
        assert_eq!(update_distance(&[1.0, 1.0], &[4.0, 5.0], &[1.0, 1.0]), 1.0);
        assert_eq!(update_distance(&[1.0], &[1.0], &[1.0]), 0.0, "nothing moved, and nothing is claimed");
        assert_eq!(update_distance(&[1.0], &[1.0], &[2.0]), f64::INFINITY);
        assert_eq!(update_distance(&[1.0], &[1.0], &[1.0, 2.0]), f64::INFINITY, "another length");
    }

    #[test]
    fn a_state_is_as_far_as_its_farthest_part() {
        let state = |weights: [f32; 2], first: [f32; 2], second: [f32; 2]| StepState {
            version: iota_protocol::ids::Version(1),
            adam_steps: 1,
            weights: weights.to_vec(),
            first: first.to_vec(),
            second: second.to_vec(),
            previous_root: iota_protocol::ids::Hash::ZERO,
            previous: None,
            pending: 0,
        };
        let start = state([1.0, 1.0], [0.0; 2], [0.0; 2]);
        let mine = state([4.0, 5.0], [3.0, 4.0], [1.0, 0.0]);
        assert_eq!(state_distance(&start, &mine, &mine), 0.0);
        let theirs = state([4.0, 5.5], [3.0, 5.0], [1.0, 0.0]);
        assert!((state_distance(&start, &mine, &theirs) - 0.2).abs() < 1e-6, "the first moments: 1 of 5");
        assert_eq!(state_distance(&start, &mine, &start), 1.0, "a step that was not taken");
        let broken = state([4.0, f32::NAN], [3.0, 4.0], [1.0, 0.0]);
        assert!(state_distance(&start, &mine, &broken).is_nan());
        let short = StepState { second: vec![1.0], ..mine.clone() };
        assert_eq!(state_distance(&start, &mine, &short), f64::INFINITY);
    }

    #[test]
    fn values_that_are_no_numbers_are_within_no_bound() {
        let distance = update_distance(&[0.0, 0.0], &[1.0, 1.0], &[f32::NAN, 1.0]);
        assert!(distance.is_nan(), "{distance}: every bound is `<=`, which it fails");
        assert!(loss_distance(2.0, f64::NAN).is_nan());
    }
}
