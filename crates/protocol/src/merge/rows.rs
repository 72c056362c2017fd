//! Trimming and averaging 32 coordinates side by side.
//!
//! A row holds one block of one entry, 32 numbers in the machine's own word, so that the compiler turns a
//! comparison of two rows into a few vector instructions. A number is `value · 32 + rank`, where the rank
//! says which of the distinct weights its entry has: numbers sort as `(value, weight)` does, and both come
//! out again. Values are below 2^26 (127 times 2^19, and clipping only shrinks), so that five bits are left;
//! more than 32 entries, or weights of 2^31 and more, take the slow way in the file above.

use alloc::vec;
use alloc::vec::Vec;

use super::{Part, BLOCK};

/// Bits below the value, for the rank of a weight.
const RANK_BITS: u32 = 5;
/// Most entries: their weights have at most so many ranks, and sums of their values fit 32 bits.
const MOST: usize = 1 << RANK_BITS;
/// Below this, 32 products of a weight and a value fit 63 bits.
const HEAVY: u32 = 1 << 31;

type Row = [i32; BLOCK];

/// One block of all entries.
pub(super) struct Rows {
    keys: Vec<Row>,
    /// Rank of each entry's weight.
    ranks: Vec<i32>,
    /// Weights in rising order.
    weights: Vec<i64>,
    /// Pairs of rows that are put in order, one after the other, to sort all.
    network: Vec<[usize; 2]>,
    trim: usize,
}

impl Rows {
    /// Room for a block of each entry; `None` where the numbers would not fit.
    pub(super) fn new(parts: &[Part], trim: usize) -> Option<Self> {
        if parts.len() > MOST || parts.iter().any(|part| part.weight >= HEAVY) {
            return None;
        }
        let mut weights: Vec<i64> = parts.iter().map(|part| i64::from(part.weight)).collect();
        weights.sort_unstable();
        weights.dedup();
        let rank = |part: &Part| {
            let place = weights.iter().position(|weight| *weight == i64::from(part.weight));
            i32::try_from(place.unwrap_or(0)).unwrap_or(0)
        };
        let ranks = parts.iter().map(rank).collect();
        let network = if trim > 0 { sorting_network(parts.len()) } else { Vec::new() };
        Some(Self { keys: vec![[0; BLOCK]; parts.len()], ranks, weights, network, trim })
    }

    /// Sets the block of the entry at `position`.
    pub(super) fn fill(&mut self, position: usize, part: &Part, step: u8, codes: &[u8; BLOCK]) {
        let (Some(row), Some(rank)) = (self.keys.get_mut(position), self.ranks.get(position)) else { return };
        if part.clip.is_some() {
            for (key, code) in row.iter_mut().zip(codes) {
                let value = i32::try_from(part.value(step, *code)).unwrap_or(0);
                *key = value.wrapping_shl(RANK_BITS).wrapping_add(*rank);
            }
            return;
        }
        let shift = u32::from(step).wrapping_add(RANK_BITS);
        for (key, code) in row.iter_mut().zip(codes) {
            *key = i32::from(code.cast_signed()).wrapping_shl(shift).wrapping_add(*rank);
        }
    }

    /// The trimmed weighted mean of each coordinate, as the rule above states it.
    pub(super) fn average(&mut self) -> Row {
        for pair in &self.network {
            if let Ok([low, high]) = self.keys.get_disjoint_mut(*pair) {
                order(low, high);
            }
        }
        let kept = self.trim..self.keys.len().saturating_sub(self.trim);
        let kept = self.keys.get(kept).unwrap_or(&[]);
        if self.weights.len() == 1 {
            equal_mean(kept)
        } else {
            weighted_mean(kept, &self.weights)
        }
    }
}

/// Puts the smaller number of each coordinate into the first row.
fn order(low: &mut Row, high: &mut Row) {
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = ((*low).min(*high), (*low).max(*high));
    }
}

fn equal_mean(kept: &[Row]) -> Row {
    let mut sums = [0i32; BLOCK];
    for row in kept {
        for (sum, key) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(key.wrapping_shr(RANK_BITS));
        }
    }
    let count = u32::try_from(kept.len()).unwrap_or(u32::MAX);
    sums.map(|sum| {
        // With half of the count added, rounding down rounds half up, for odd counts too.
        let magnitude = sum.unsigned_abs().saturating_add(count / 2).checked_div(count).unwrap_or(0);
        signed(sum < 0, magnitude)
    })
}

fn weighted_mean(kept: &[Row], weights: &[i64]) -> Row {
    let (mut sums, mut totals) = ([0i64; BLOCK], [0i64; BLOCK]);
    for row in kept {
        for ((sum, total), key) in sums.iter_mut().zip(&mut totals).zip(row) {
            let rank = usize::try_from(key & 0x1f).unwrap_or(0);
            let weight = weights.get(rank).copied().unwrap_or(0);
            *sum = sum.wrapping_add(weight.wrapping_mul(i64::from(key.wrapping_shr(RANK_BITS))));
            *total = total.wrapping_add(weight);
        }
    }
    // Coordinates of which nobody with samples is left.
    let equal = if totals.contains(&0) { equal_mean(kept) } else { [0; BLOCK] };
    let mut means = [0; BLOCK];
    for (((mean, equal), sum), total) in means.iter_mut().zip(equal).zip(sums).zip(totals) {
        let (magnitude, by) = (sum.unsigned_abs(), total.unsigned_abs());
        let rounded =
            magnitude.saturating_add(by / 2).checked_div(by).and_then(|mean| u32::try_from(mean).ok());
        *mean = if by == 0 { equal } else { signed(sum < 0, rounded.unwrap_or(0)) };
    }
    means
}

fn signed(negative: bool, magnitude: u32) -> i32 {
    let value = i32::try_from(magnitude).unwrap_or(i32::MAX);
    if negative {
        value.saturating_neg()
    } else {
        value
    }
}

/// Pairs that sort any `count` rows: Batcher's merge exchange (Knuth, volume 3, 5.2.2, algorithm M).
fn sorting_network(count: usize) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    let top = count.next_power_of_two() / 2;
    let halves = |from: usize| core::iter::successors(Some(from), |p| Some(p / 2)).take_while(|p| *p > 0);
    for p in halves(top) {
        let (mut q, mut r, mut d) = (top, 0usize, p);
        loop {
            for low in 0..count.saturating_sub(d) {
                if low & p == r {
                    pairs.push([low, low.saturating_add(d)]);
                }
            }
            if q == p {
                break;
            }
            d = q.saturating_sub(p);
            q /= 2;
            r = p;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(weight: u32) -> Part {
        Part { weight, clip: None }
    }

    /// A network that sorts all sequences of zeros and ones sorts everything (Knuth, theorem Z).
    #[test]
    fn networks_sort_all_zeros_and_ones() {
        for count in 1..=12usize {
            let network = sorting_network(count);
            for bits in 0..1u32 << count {
                let mut ones: Vec<u32> = (0..count).map(|at| bits >> at & 1).collect();
                for [low, high] in &network {
                    if ones[*low] > ones[*high] {
                        ones.swap(*low, *high);
                    }
                }
                assert!(ones.is_sorted(), "{count} rows, {bits:b}");
            }
        }
        let sizes = [1, 2, 3, 4, 8, 16, 32].map(|count| sorting_network(count).len());
        assert_eq!(sizes, [0, 1, 3, 5, 19, 63, 191]);
    }

    #[test]
    fn the_largest_numbers_fit() {
        let mut rows = Rows::new(&vec![part(7); MOST], 9).unwrap();
        for (sign, expected) in [(127, 127 << 19), (-127, -(127 << 19))] {
            for position in 0..MOST {
                let codes = [i8::try_from(sign).unwrap().cast_unsigned(); BLOCK];
                rows.fill(position, &part(7), 19, &codes);
            }
            assert_eq!(rows.average(), [expected; BLOCK]);
        }
        let heavy: Vec<Part> = (0..32).map(|at| part(HEAVY - 1 - at)).collect();
        let mut rows = Rows::new(&heavy, 0).unwrap();
        for (position, part) in heavy.iter().enumerate() {
            rows.fill(position, part, 19, &[127; BLOCK]);
        }
        assert_eq!(rows.average(), [127 << 19; BLOCK]);
    }

    #[test]
    fn what_does_not_fit_goes_the_slow_way() {
        assert!(Rows::new(&vec![part(1); MOST + 1], 9).is_none());
        assert!(Rows::new(&[part(HEAVY), part(1)], 0).is_none());
    }
}
