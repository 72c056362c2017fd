//! The merge rule in fp32, so that codes can be compared with none: clipped, trimmed, averaged, as
//! `iota_protocol::merge` does it with integers. All replicas train equally many samples here, so weights are equal.

/// Values that share an exponent, as in entries.
const BLOCK: usize = 32;

/// Values as they are read back from codes of at most this magnitude with a power of two for each block.
pub fn coded(values: &[f32], most: u8) -> Vec<f32> {
    let most = f32::from(most);
    let block = |block: &[f32]| {
        let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        // The least power of two whose codes hold the largest value; nothing is lost on zeros.
        let scale = if largest > 0.0 { (largest / most).log2().ceil().exp2() } else { 1.0 };
        let code = |value: &f32| (value / scale).round_ties_even().clamp(-most, most) * scale;
        block.iter().map(code).collect::<Vec<f32>>()
    };
    values.chunks(BLOCK).flat_map(block).collect()
}

/// One update of all: norms clipped to twice their lower median, from three on a part dropped at each end of each
/// coordinate, the rest averaged.
pub fn merged(updates: &[Vec<f32>]) -> Vec<f32> {
    let norm = |update: &Vec<f32>| {
        update.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
    };
    let norms: Vec<f64> = updates.iter().map(norm).collect();
    let mut sorted = norms.clone();
    sorted.sort_by(f64::total_cmp);
    let limit = 2.0 * sorted[(sorted.len() - 1) / 2];
    let scales: Vec<f32> =
        norms.iter().map(|norm| if *norm > limit { (limit / norm) as f32 } else { 1.0 }).collect();
    let dropped = if updates.len() < 3 { 0 } else { (updates.len() * 3 / 10).max(1) };
    let coordinate = |at: usize| {
        let mut values: Vec<f32> =
            updates.iter().zip(&scales).map(|(update, scale)| update[at] * scale).collect();
        values.sort_by(f32::total_cmp);
        let kept = &values[dropped..values.len() - dropped];
        kept.iter().sum::<f32>() / kept.len() as f32
    };
    (0..updates[0].len()).map(coordinate).collect()
}
