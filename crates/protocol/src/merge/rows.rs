//! Trimming and averaging 32 coordinates side by side.
//!
//! A row holds one block of one entry, 32 numbers in the machine's own word, so that the compiler turns a
//! comparison of two rows into a few vector instructions. A number is `value · 32 + rank`, where the rank
//! says which of the distinct weights its entry has: numbers sort as `(value, weight)` does, and both come
//! out again. Values are below 2^26 (127 times 2^19, and clipping only shrinks), so that five bits are left;
//! more than 32 entries, or weights of 2^27 and more, take the slow way in the file above.

use alloc::vec;
use alloc::vec::Vec;

use super::{Part, BLOCK};

/// Bits below the value, for the rank of a weight.
const RANK_BITS: u32 = 5;
/// Most entries: their weights have at most so many ranks, and sums of their values fit 32 bits.
const MOST: usize = 1 << RANK_BITS;
/// Below this, 32 weights fit 32 bits and 32 products of a weight and a value 63.
const HEAVY: u32 = 1 << 27;

type Row = [i32; BLOCK];

/// One block of all entries.
pub(super) struct Rows {
    keys: Vec<Row>,
    /// Rank of each entry's weight.
    ranks: Vec<i32>,
    /// Weights by rank, in rising order; none weighs what stands past the last.
    weights: [i32; MOST],
    /// Whether all weights are one.
    equal: bool,
    /// Pairs of rows that are put in order, one after the other, to sort all.
    network: Vec<[usize; 2]>,
    trim: usize,
    divisors: Divisors,
}

impl Rows {
    /// Room for a block of each entry; `None` where the numbers would not fit.
    pub(super) fn new(parts: &[Part], trim: usize) -> Option<Self> {
        if parts.len() > MOST || parts.iter().any(|part| part.weight >= HEAVY) {
            return None;
        }
        let weight_of = |part: &Part| i32::try_from(part.weight).unwrap_or(i32::MAX);
        let mut rising: Vec<i32> = parts.iter().map(weight_of).collect();
        rising.sort_unstable();
        rising.dedup();
        let rank = |part: &Part| {
            let place = rising.iter().position(|weight| *weight == weight_of(part));
            i32::try_from(place.unwrap_or(0)).unwrap_or(0)
        };
        let ranks = parts.iter().map(rank).collect();
        let network = if trim > 0 { sorting_network(parts.len()) } else { Vec::new() };
        let mut weights = [0; MOST];
        weights.iter_mut().zip(&rising).for_each(|(weight, rising)| *weight = *rising);
        let (equal, divisors) = (rising.len() == 1, Divisors::new());
        Some(Self { keys: vec![[0; BLOCK]; parts.len()], ranks, weights, equal, network, trim, divisors })
    }

    /// Sets the block of the entry at `position`.
    #[inline(always)]
    pub(super) fn fill(&mut self, position: usize, part: &Part, step: u8, codes: &[u8; BLOCK]) {
        // Read once: through its reference it would be read again for every number.
        let rank = self.ranks.get(position).copied();
        let (Some(row), Some(rank)) = (self.keys.get_mut(position), rank) else { return };
        if part.clip.is_some() {
            for (key, code) in row.iter_mut().zip(codes) {
                let value = i32::try_from(part.value(step, *code)).unwrap_or(0);
                *key = value.wrapping_shl(RANK_BITS).wrapping_add(rank);
            }
            return;
        }
        // A product, where a shift would do: compilers do several of these at once.
        let unit = 1i32.wrapping_shl(u32::from(step).wrapping_add(RANK_BITS));
        for (key, code) in row.iter_mut().zip(codes) {
            *key = i32::from(code.cast_signed()).wrapping_mul(unit).wrapping_add(rank);
        }
    }

    /// The trimmed weighted mean of each coordinate, as the rule above states it.
    #[inline(always)]
    pub(super) fn average(&mut self) -> Row {
        for pair in &self.network {
            if let Ok([low, high]) = self.keys.get_disjoint_mut(*pair) {
                order(low, high);
            }
        }
        let kept = self.trim..self.keys.len().saturating_sub(self.trim);
        let kept = self.keys.get(kept).unwrap_or(&[]);
        if self.equal {
            equal_mean(kept)
        } else if self.trim == 0 {
            untrimmed_mean(kept, &self.ranks, &self.weights, &mut self.divisors)
        } else {
            trimmed_mean(kept, &self.weights, &mut self.divisors)
        }
    }
}

/// Puts the smaller number of each coordinate into the first row.
#[inline(always)]
fn order(low: &mut Row, high: &mut Row) {
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = ((*low).min(*high), (*low).max(*high));
    }
}

/// A positive number below 2^32 to divide by: a multiplication takes a fraction of a division's time, and here the
/// same few numbers divide millions. Only 32-bit factors, which vector registers multiply.
#[derive(Clone, Copy)]
struct Divisor {
    by: u64,
    /// `floor((2^(31 + bits) - 1) / by)`, where `by` has so many bits: from 2^31 up to below 2^32.
    reciprocal: u64,
    /// What a number is shifted by before the multiplication, so that 32 bits hold it.
    before: u64,
    /// And the product after it.
    after: u64,
}

impl Divisor {
    fn new(by: u64) -> Self {
        let by = by.clamp(1, u64::from(u32::MAX));
        let bits = u64::from(u64::BITS.saturating_sub(by.leading_zeros()));
        let power = 1u64.wrapping_shl(31).wrapping_shl(u32::try_from(bits).unwrap_or(0));
        let before = bits.saturating_sub(6);
        let after = bits.saturating_add(31).saturating_sub(before);
        Self { by, reciprocal: power.wrapping_sub(1).checked_div(by).unwrap_or(0), before, after }
    }

    /// `floor(number / by)` for numbers below `2^26 * by`. What is shifted out is at most a 32nd of `by`; the
    /// reciprocal is less than 2 below `2^(31 + bits) / by`, which costs at most a 16th of the quotient's last
    /// place: the product is the quotient or one less, and the rest says which.
    #[inline(always)]
    fn quotient(self, number: u64) -> u64 {
        let upper = shr(number, self.before) & LOW;
        let estimate = shr(upper.wrapping_mul(self.reciprocal & LOW), self.after) & LOW;
        let rest = number.wrapping_sub(estimate.wrapping_mul(self.by & LOW));
        estimate.wrapping_add(u64::from(rest >= self.by))
    }

    /// The quotient rounded half away from zero, with its sign.
    #[inline(always)]
    fn rounded(self, sum: i64) -> i32 {
        // With half of the divisor added, rounding down rounds half up, for odd divisors too.
        let magnitude = self.quotient(sum.unsigned_abs().wrapping_add(self.by / 2));
        let [a, b, c, d, ..] = magnitude.to_le_bytes();
        let magnitude = i32::from_le_bytes([a, b, c, d]);
        if sum < 0 {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }
    }
}

/// The lower half of a word: a product of two such halves is one instruction for four of them.
const LOW: u64 = 0xffff_ffff;

/// A shift to the right by less than 64.
#[inline(always)]
fn shr(number: u64, by: u64) -> u64 {
    let [by, ..] = by.to_le_bytes();
    number.wrapping_shr(u32::from(by))
}

/// Divisors met lately, found by their number: the sums of the weights that trimming leaves are few.
struct Divisors([Divisor; Self::SLOTS]);

impl Divisors {
    /// Of eight entries four are kept, in 70 ways.
    const SLOTS: usize = 256;
    /// An odd number near 2^64 over the golden ratio spreads neighbours over the highest bits (Knuth, volume 3, 6.4).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    fn new() -> Self {
        Self([Divisor::new(1); Self::SLOTS])
    }

    #[inline(always)]
    fn of(&mut self, by: u64) -> Divisor {
        let slot = usize::try_from(by.wrapping_mul(Self::SPREAD).wrapping_shr(56)).unwrap_or(0);
        let Some(found) = self.0.get_mut(slot) else { return Divisor::new(by) };
        if found.by != by {
            *found = Divisor::new(by);
        }
        *found
    }
}

/// With at most 32 rows of values up to 2^26, `sum * ceil(2^36 / count)` fits 64 bits and its upper part is the
/// quotient: what rounding up adds is less than `32 / 2^36` of a sum of at most 2^31.
#[inline(always)]
fn equal_mean(kept: &[Row]) -> Row {
    let mut sums = [0i32; BLOCK];
    for row in kept {
        for (sum, key) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(key.wrapping_shr(RANK_BITS));
        }
    }
    let count = u32::try_from(kept.len()).unwrap_or(u32::MAX).max(1);
    let reciprocal = (1u64 << 36).div_ceil(u64::from(count));
    sums.map(|sum| {
        // With half of the count added, rounding down rounds half up, for odd counts too.
        let product = u64::from(sum.unsigned_abs().wrapping_add(count / 2)).wrapping_mul(reciprocal);
        let magnitude = i32::try_from(product.wrapping_shr(36)).unwrap_or(i32::MAX);
        if sum < 0 {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }
    })
}

/// Rows are still in the order of the entries: one weight for each.
#[inline(always)]
fn untrimmed_mean(kept: &[Row], ranks: &[i32], weights: &[i32; MOST], divisors: &mut Divisors) -> Row {
    let (mut sums, mut total) = ([0i64; BLOCK], 0i64);
    for (row, rank) in kept.iter().zip(ranks) {
        let weight = i64::from(weight_of(weights, *rank));
        total = total.wrapping_add(weight);
        for (sum, key) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(weight.wrapping_mul(i64::from(key.wrapping_shr(RANK_BITS))));
        }
    }
    // Weights differ, so that one at least is not 0.
    let total = divisors.of(total.unsigned_abs());
    sums.map(|sum| total.rounded(sum))
}

#[inline(always)]
fn trimmed_mean(kept: &[Row], weights: &[i32; MOST], divisors: &mut Divisors) -> Row {
    let (mut sums, mut totals) = ([0i64; BLOCK], [0i64; BLOCK]);
    for row in kept {
        for ((sum, total), key) in sums.iter_mut().zip(&mut totals).zip(row) {
            let weight = i64::from(weight_of(weights, *key));
            *sum = sum.wrapping_add(weight.wrapping_mul(i64::from(key.wrapping_shr(RANK_BITS))));
            *total = total.wrapping_add(weight);
        }
    }
    // Side by side, so that the divisions are done several at once.
    let (mut by, mut reciprocal, mut before, mut after) = ([0; BLOCK], [0; BLOCK], [0; BLOCK], [0; BLOCK]);
    let places = by.iter_mut().zip(&mut reciprocal).zip(before.iter_mut().zip(&mut after));
    for (((by, reciprocal), (before, after)), total) in places.zip(totals) {
        let found = divisors.of(total.unsigned_abs());
        (*by, *reciprocal, *before, *after) = (found.by, found.reciprocal, found.before, found.after);
    }
    let mut means = [0; BLOCK];
    let divisions = by.iter().zip(&reciprocal).zip(before.iter().zip(&after));
    for ((mean, ((by, reciprocal), (before, after))), sum) in means.iter_mut().zip(divisions).zip(sums) {
        let (by, reciprocal, before, after) = (*by, *reciprocal, *before, *after);
        *mean = Divisor { by, reciprocal, before, after }.rounded(sum);
    }
    if totals.contains(&0) {
        // Coordinates of which nobody with samples is left.
        for ((mean, equal), total) in means.iter_mut().zip(equal_mean(kept)).zip(totals) {
            *mean = if total == 0 { equal } else { *mean };
        }
    }
    means
}

/// The weight whose rank a number carries in its lowest bits.
#[inline(always)]
fn weight_of(weights: &[i32; MOST], key: i32) -> i32 {
    let rank = usize::try_from(key & 0x1f).unwrap_or(0);
    weights.get(rank).copied().unwrap_or(0)
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

    /// 3 has two bits: the reciprocal is floor((2^33 - 1) / 3), and 10 times it, shifted by 33, is 3.33, so 3 with
    /// a rest of 1. Halves go away from zero on both sides.
    #[test]
    fn quotients_by_hand() {
        let three = Divisor::new(3);
        assert_eq!((three.reciprocal, three.before, three.after), (2_863_311_530, 0, 33));
        assert_eq!([9, 10, 11, 12].map(|number| three.quotient(number)), [3, 3, 3, 4]);
        let rounded = |sum: i64, by: u64| Divisor::new(by).rounded(sum);
        assert_eq!([rounded(3, 2), rounded(-3, 2), rounded(4, 3), rounded(-5, 3)], [2, -2, 1, -2]);
    }

    proptest::proptest! {
        #[test]
        fn equal_means_are_quotients(values in proptest::collection::vec(-(127i32 << 19)..=127 << 19, 1..=MOST)) {
            let rows: Vec<Row> = values.iter().map(|value| [value << RANK_BITS; BLOCK]).collect();
            let (sum, count) = (values.iter().map(|value| i64::from(*value)).sum::<i64>(), values.len() as i64);
            let rounded = sum.signum() * ((sum.abs() * 2 + count) / (count * 2));
            proptest::prop_assert_eq!(i64::from(equal_mean(&rows)[0]), rounded);
        }

        #[test]
        fn a_product_with_the_reciprocal_is_the_quotient(part: u64, by: u32, shift in 0u32..32) {
            let by = u64::from(by >> shift).max(1);
            let number = part % (by << 26);
            for number in [number, number / by * by, (number / by * by).saturating_sub(1), (by << 26) - 1] {
                proptest::prop_assert_eq!(Divisor::new(by).quotient(number), number / by, "{} / {}", number, by);
            }
        }

        #[test]
        fn powers_of_two_and_their_neighbours_divide_too(part: u64, bits in 0u32..32) {
            for by in [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1].map(|by| by.max(1)) {
                let number = part % (by << 26);
                proptest::prop_assert_eq!(Divisor::new(by).quotient(number), number / by, "{} / {}", number, by);
            }
        }

        #[test]
        fn divisors_are_what_was_asked_for(numbers in proptest::collection::vec(1u64..100_000, 1..600)) {
            let mut divisors = Divisors::new();
            for by in numbers.iter().chain(&numbers) {
                proptest::prop_assert_eq!(divisors.of(*by).quotient(by << 20), 1 << 20);
            }
        }
    }

    #[test]
    fn what_does_not_fit_goes_the_slow_way() {
        assert!(Rows::new(&vec![part(1); MOST + 1], 9).is_none());
        assert!(Rows::new(&[part(HEAVY), part(1)], 0).is_none());
    }
}
