//! The merge rule: how the entries of a stage's replicas become one update, the same bytes on every
//! machine and in every order.
//!
//! An entry is the canonical bytes of its chunks. A chunk is one exponent byte (0 to 19, the step
//! above `exponent_min`) for each block of 32 codes, followed by the codes as `i8` (-127 to 127).
//! A code stands for `code << step`, an integer, so sums are exact and rounding happens where this
//! file says so: half away from zero.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use codec::Encode;

use crate::fixed::isqrt_u128;
use crate::hash::{hash_parts, Domain};
use crate::ids::{Epoch, Hash, RunId, Stage};
use crate::params::{MergeParams, CODE_BLOCK, MAX_GROUP};
use crate::wide;
use crate::work::Bitmap;

use self::rows::Rows;

mod rows;
#[cfg(test)]
mod tests;

/// Distinct exponents of an entry: with 7-bit codes they span a ratio of 2^26 between the largest
/// and the smallest value, more than fp32 gradients of one tensor do.
pub const EXPONENT_STEPS: u8 = 20;
/// Largest magnitude of a code; -128 has no mirror image and is refused.
const MAX_CODE: u32 = 127;
/// Codes in one block.
const BLOCK: usize = CODE_BLOCK as usize;

/// One committer's chunks of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryShard<'a> {
    /// Samples that its author committed.
    pub samples: u32,
    /// Canonical chunk bytes, concatenated.
    pub bytes: &'a [u8],
}

/// Why entries cannot be merged. Entries that an owner attested never cause one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MergeError {
    /// `merge.chunk` is not a positive multiple of 32.
    Chunk(u32),
    /// No entry, or more than a stage has committers.
    Count(usize),
    /// An entry is not a whole number of chunks, or not as long as the first.
    Length {
        /// Position of the entry in the list.
        entry: usize,
        /// Length of the first entry in bytes.
        expected: usize,
        /// Its length in bytes.
        got: usize,
    },
    /// An entry has an exponent of 20 or more or a code of -128.
    Code {
        /// Position of the entry in the list.
        entry: usize,
    },
}

impl core::fmt::Display for MergeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Chunk(chunk) => write!(f, "merge.chunk is {chunk}, expected a positive multiple of 32"),
            Self::Count(count) => write!(f, "{count} entries to merge, expected 1 to {MAX_GROUP}"),
            Self::Length { entry, expected, got } => {
                write!(
                    f,
                    "entry {entry} has {got} bytes, expected {expected} and whole chunks; fetch it again"
                )
            }
            Self::Code { entry } => {
                write!(f, "entry {entry} has an exponent above 19 or a code of -128; do not attest it")
            }
        }
    }
}

impl core::error::Error for MergeError {}

/// Bytes of one chunk: an exponent for each block and a byte for each parameter.
#[must_use]
pub fn chunk_len(params: &MergeParams) -> usize {
    let chunk = usize::try_from(params.chunk).unwrap_or(usize::MAX);
    chunk.saturating_add(chunk / BLOCK)
}

/// Checks that bytes are whole canonical chunks. Owners attest only entries that pass.
///
/// # Errors
/// `Chunk`, `Length` or `Code`, with entry 0.
pub fn check_chunks(params: &MergeParams, bytes: &[u8]) -> Result<(), MergeError> {
    let layout = Layout::new(params)?;
    layout.check(0, bytes, bytes.len())
}

/// Merges one shard of a stage (design.md, section 8).
///
/// 1. Norm of an entry: `isqrt` of the sum of squares over the shard. Entries above twice the lower
///    median are scaled down to it, value by value.
/// 2. From three entries on, `max(1, floor(3N/10))` are dropped at each end of each coordinate,
///    sorted by value, then by weight.
/// 3. The rest is averaged with weights `min(samples, 2 * lower median of samples)`, with equal
///    weights where those are all 0.
/// 4. Each block is coded again with the smallest exponent that holds its largest value.
///
/// One entry is returned as it is.
///
/// # Errors
/// Only for entries that no honest owner attests, or parameters that `validate()` refuses.
///
/// # Complexity
/// One pass to check and measure, one to merge, of which a block of all entries is the unit; memory for the
/// result and one block of each entry.
pub fn merge_shard(params: &MergeParams, entries: &[EntryShard<'_>]) -> Result<Vec<u8>, MergeError> {
    let layout = Layout::new(params)?;
    let most = usize::try_from(MAX_GROUP).unwrap_or(usize::MAX);
    let Some(first) = entries.first().filter(|_| entries.len() <= most) else {
        return Err(MergeError::Count(entries.len()));
    };
    for (position, entry) in entries.iter().enumerate() {
        layout.check(position, entry.bytes, first.bytes.len())?;
    }
    if entries.len() == 1 {
        return Ok(first.bytes.to_vec());
    }
    Ok(Rule::new(&layout, entries).merge(entries, first.bytes.len()))
}

/// Where exponents and codes stand in a chunk.
struct Layout {
    blocks: usize,
    chunk_len: usize,
}

impl Layout {
    fn new(params: &MergeParams) -> Result<Self, MergeError> {
        if params.chunk == 0 || !params.chunk.is_multiple_of(CODE_BLOCK) {
            return Err(MergeError::Chunk(params.chunk));
        }
        let chunk = usize::try_from(params.chunk).map_err(|_| MergeError::Chunk(params.chunk))?;
        Ok(Self { blocks: chunk / BLOCK, chunk_len: chunk_len(params) })
    }

    fn check(&self, entry: usize, bytes: &[u8], expected: usize) -> Result<(), MergeError> {
        let whole = bytes.len().checked_rem(self.chunk_len) == Some(0);
        if !whole || bytes.len() != expected {
            return Err(MergeError::Length { entry, expected, got: bytes.len() });
        }
        let canonical = bytes.chunks_exact(self.chunk_len).all(|chunk| {
            let (exponents, codes) = chunk.split_at_checked(self.blocks).unwrap_or((&[], &[]));
            exponents.iter().all(|step| *step < EXPONENT_STEPS) && !codes.contains(&i8::MIN.cast_unsigned())
        });
        if canonical {
            Ok(())
        } else {
            Err(MergeError::Code { entry })
        }
    }

    /// Blocks of an entry in order: exponent step and codes.
    fn blocks<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u8, &'a [u8; BLOCK])> + 'a {
        let blocks = self.blocks;
        bytes.chunks_exact(self.chunk_len).flat_map(move |chunk| {
            let (exponents, codes) = chunk.split_at_checked(blocks).unwrap_or((&[], &[]));
            exponents.iter().copied().zip(codes.as_chunks::<BLOCK>().0)
        })
    }
}

wide! {
    /// Norm of an entry over the shard.
    fn norm(layout: &Layout, bytes: &[u8]) -> u128 {
        let mut squares = 0u128;
        for (step, codes) in layout.blocks(bytes) {
            // At most 32 times 127 squared: in the machine's own word the compiler does several at a time.
            let block = codes.iter().fold(0u32, |sum, code| {
                let code = i32::from(code.cast_signed());
                sum.wrapping_add(code.wrapping_mul(code).unsigned_abs())
            });
            squares = squares.saturating_add(u128::from(block).wrapping_shl(u32::from(step).wrapping_mul(2)));
        }
        isqrt_u128(squares)
    }
}

/// Lower median; 0 for none.
fn lower_median<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// `numerator / denominator` rounded half away from zero; 0 for a denominator of 0.
fn div_round(numerator: i128, denominator: i128) -> i64 {
    // Nearly every quotient of a merge fits 64 bits, where division is an order faster.
    let rounded = if let (Ok(small), Ok(by)) = (i64::try_from(numerator), i64::try_from(denominator)) {
        let magnitude = small.unsigned_abs();
        let by = by.unsigned_abs();
        let quotient = magnitude.checked_div(by).unwrap_or(0);
        let rest = magnitude.checked_rem(by).unwrap_or(0);
        u128::from(quotient.saturating_add(u64::from(by > 0 && rest >= by.saturating_sub(rest))))
    } else {
        let (magnitude, by) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        let quotient = magnitude.checked_div(by).unwrap_or(0);
        let rest = magnitude.checked_rem(by).unwrap_or(0);
        quotient.saturating_add(u128::from(by > 0 && rest >= by.saturating_sub(rest)))
    };
    let value = i64::try_from(rounded).unwrap_or(i64::MAX);
    if numerator < 0 {
        value.saturating_neg()
    } else {
        value
    }
}

/// What the rule needs to know of one entry.
#[derive(Clone, Copy)]
struct Part {
    weight: u32,
    /// `(cap, norm)` for an entry whose norm is above the cap.
    clip: Option<(i128, i128)>,
}

impl Part {
    fn value(&self, step: u8, code: u8) -> i64 {
        let value = i64::from(code.cast_signed()).wrapping_shl(u32::from(step));
        match self.clip {
            None => value,
            Some((cap, norm)) => div_round(i128::from(value).saturating_mul(cap), norm),
        }
    }
}

/// Clips, weights and trimming of one shard.
struct Rule<'l> {
    layout: &'l Layout,
    parts: Vec<Part>,
    trim: usize,
}

impl<'l> Rule<'l> {
    fn new(layout: &'l Layout, entries: &[EntryShard<'_>]) -> Self {
        let norms: Vec<u128> = entries.iter().map(|entry| norm(layout, entry.bytes)).collect();
        let cap = lower_median(norms.clone()).saturating_mul(2);
        let most = lower_median(entries.iter().map(|entry| entry.samples).collect()).saturating_mul(2);
        let parts = entries.iter().zip(norms).map(|(entry, norm)| {
            let clip = (norm > cap).then_some((
                i128::try_from(cap).unwrap_or(i128::MAX),
                i128::try_from(norm).unwrap_or(i128::MAX),
            ));
            Part { weight: entry.samples.min(most), clip }
        });
        let count = entries.len();
        let trim = if count < 3 { 0 } else { (count.saturating_mul(3) / 10).max(1) };
        Self { layout, parts: parts.collect(), trim }
    }

    fn merge(&self, entries: &[EntryShard<'_>], len: usize) -> Vec<u8> {
        match Rows::new(&self.parts, self.trim) {
            Some(rows) => merge_blocks(self, &mut Columns::Rows(Box::new(rows)), entries, len),
            None => merge_blocks(self, &mut self.unbounded(), entries, len),
        }
    }

    /// Columns without a limit on weights and their number.
    fn unbounded(&self) -> Columns {
        let columns = vec![(0i64, 0u32); self.parts.len().saturating_mul(BLOCK)];
        Columns::Wide { columns, height: self.parts.len(), trim: self.trim }
    }
}

wide! {
    /// Merges block after block.
    fn merge_blocks(rule: &Rule<'_>, columns: &mut Columns, entries: &[EntryShard<'_>], len: usize) -> Vec<u8> {
        let layout = rule.layout;
        let mut sources: Vec<_> = entries.iter().map(|entry| layout.blocks(entry.bytes)).collect();
        let mut out = Vec::with_capacity(len);
        let mut codes = Vec::with_capacity(layout.chunk_len);
        for _ in 0..len.checked_div(layout.chunk_len).unwrap_or(0) {
            for _ in 0..layout.blocks {
                for (position, (source, part)) in sources.iter_mut().zip(&rule.parts).enumerate() {
                    if let Some((step, codes)) = source.next() {
                        columns.fill(position, part, step, codes);
                    }
                }
                out.push(encode_block(&columns.average(), &mut codes));
            }
            out.append(&mut codes);
        }
        out
    }
}

/// A block of all entries, by coordinate.
enum Columns {
    /// The fast way, for all but extreme numbers.
    Rows(Box<Rows>),
    /// One item for each entry, coordinate after coordinate.
    Wide { columns: Vec<(i64, u32)>, height: usize, trim: usize },
}

impl Columns {
    /// Sets the block of the entry at `position`.
    #[inline(always)]
    fn fill(&mut self, position: usize, part: &Part, step: u8, codes: &[u8; BLOCK]) {
        match self {
            Self::Rows(rows) => rows.fill(position, part, step, codes),
            Self::Wide { columns, height, .. } => {
                for (column, code) in columns.chunks_exact_mut((*height).max(1)).zip(codes) {
                    if let Some(item) = column.get_mut(position) {
                        *item = (part.value(step, *code), part.weight);
                    }
                }
            }
        }
    }

    /// The merged values. They lie between those of the entries, which 27 bits and a sign hold.
    #[inline(always)]
    fn average(&mut self) -> [i32; BLOCK] {
        let (columns, height, trim) = match self {
            Self::Rows(rows) => return rows.average(),
            Self::Wide { columns, height, trim } => (columns, (*height).max(1), *trim),
        };
        let mut values = [0; BLOCK];
        for (value, column) in values.iter_mut().zip(columns.chunks_exact_mut(height)) {
            if trim > 0 {
                column.sort_unstable();
            }
            let kept = trim..column.len().saturating_sub(trim);
            *value = i32::try_from(average(column.get(kept).unwrap_or(&[]))).unwrap_or(0);
        }
        values
    }
}

/// Weighted mean, rounded half away from zero; with equal weights if all are 0.
fn average(items: &[(i64, u32)]) -> i64 {
    let weights = items.iter().fold(0i128, |sum, (_, weight)| sum.saturating_add(i128::from(*weight)));
    if weights == 0 {
        let sum = items.iter().fold(0i128, |sum, (value, _)| sum.saturating_add(i128::from(*value)));
        return div_round(sum, i128::try_from(items.len()).unwrap_or(i128::MAX));
    }
    let sum = items.iter().fold(0i128, |sum, (value, weight)| {
        sum.saturating_add(i128::from(*value).saturating_mul(i128::from(*weight)))
    });
    div_round(sum, weights)
}

/// Half away from zero of `magnitude / 2^step`.
#[inline(always)]
fn shift_round(magnitude: u32, step: u32) -> u32 {
    let half = 1u32.wrapping_shl(step) / 2;
    magnitude.saturating_add(half).wrapping_shr(step)
}

/// Appends the codes of a block and returns its exponent step: the smallest at which the largest
/// value still rounds to at most 127.
#[inline(always)]
fn encode_block(values: &[i32; BLOCK], codes: &mut Vec<u8>) -> u8 {
    let largest = values.iter().fold(0, |largest, value| value.unsigned_abs().max(largest));
    let last = EXPONENT_STEPS.saturating_sub(1);
    let step = (0..last).find(|step| shift_round(largest, u32::from(*step)) <= MAX_CODE).unwrap_or(last);
    let coded = values.map(|value| {
        let magnitude = shift_round(value.unsigned_abs(), u32::from(step)).min(MAX_CODE);
        let code = i32::try_from(magnitude).unwrap_or(0);
        let [code, ..] = (if value < 0 { code.wrapping_neg() } else { code }).to_le_bytes();
        code
    });
    codes.extend_from_slice(&coded);
    step
}

/// Hash of a merged shard, as owners open it.
#[must_use]
pub fn shard_hash(run: RunId, epoch: Epoch, stage: Stage, shard: u16, bytes: &[u8]) -> Hash {
    (run, epoch, stage, shard).using_encoded(|place| hash_parts(Domain::Shard, &[place, bytes]))
}

/// The entries that are merged: those that at least two thirds of the attesting owners hold.
///
/// `attested` has one item for each committer in uid order, `None` for one that did not attest. A
/// lone committer is its own set.
#[must_use]
pub fn entry_set(attested: &[Option<Bitmap>]) -> Bitmap {
    if attested.len() == 1 {
        return Bitmap::default().with(0);
    }
    let owners = attested.iter().flatten().count();
    (0..attested.len()).fold(Bitmap::default(), |set, position| {
        let holders = attested.iter().flatten().filter(|held| held.contains(position)).count();
        let enough = owners > 0 && holders.saturating_mul(3) >= owners.saturating_mul(2);
        if enough {
            set.with(position)
        } else {
            set
        }
    })
}
