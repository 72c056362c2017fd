//! How far a replay on one machine may lie from the work of another, and how that is measured.
//!
//! Machines of one kind give the same bits. Others differ in the order of their sums, and so in the
//! last bits of what they compute. `scripts/bench audit` replays the same segments under several
//! instruction sets and thread counts and writes `docs/results/audit.md`; each bound below is the
//! largest distance between honest machines that it saw, times [`SAFETY`], rounded up.

use iota_protocol::params::RunParams;

use crate::codec;

/// Bounds stand this many times above the largest honest distance that was measured: the devices at
/// hand were one processor under different instruction sets, and others will differ more.
pub const SAFETY: f64 = 4.0;
/// Relative L2 distance of the values in a message, forward or back.
pub const CODES: f64 = 0.02;
/// Relative difference of a sample's loss.
pub const LOSS: f64 = 0.02;
/// Relative L2 distance of the update that a segment's local step made to the weights.
pub const UPDATE: f64 = 0.1;

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
    fn values_that_are_no_numbers_are_within_no_bound() {
        let distance = update_distance(&[0.0, 0.0], &[1.0, 1.0], &[f32::NAN, 1.0]);
        assert!(distance.is_nan(), "{distance}: every bound is `<=`, which it fails");
        assert!(loss_distance(2.0, f64::NAN).is_nan());
    }
}
