//! Least squares over observations in memory that does not grow with them: normal equations,
//! Cholesky, and the contrasts that the design can tell.

use std::collections::BTreeMap;

use super::{count, nats, Observation};
use crate::ids::{Stage, Uid};

/// Most time bins; more are joined. An epoch has fewer local steps per miner than this resolves.
const MAX_BINS: usize = 64;
/// Samples that a time bin has at least on average, so that bins cost few degrees of freedom.
const SAMPLES_PER_BIN: usize = 32;
/// A column that lost all but this part of its square to the columns before it depends on them.
const DEPENDENT: f64 = 1e-9;
/// Slack in the test whether a contrast can be told; violations are of order 1.
const ESTIMABLE: f64 = 1e-6;

/// A difference between two miners of a stage in nats.
pub(super) struct Contrast {
    pub(super) effect: f64,
    /// Standard error.
    pub(super) error: f64,
}

/// A miner's place in the design.
#[derive(Clone, Copy, Default)]
struct Slot {
    samples: u32,
    /// `None` for the stage's reference miner and for miners without samples.
    column: Option<usize>,
}

/// Which columns an observation fills: constant, difficulty, time bins, miners.
struct Design<'a> {
    stages: Vec<BTreeMap<Uid, Slot>>,
    members: &'a [Vec<Uid>],
    bins: BTreeMap<u16, Option<usize>>,
    columns: usize,
    /// Centre and scale of difficulty, centre of loss: keeps the normal equations well conditioned.
    difficulty: (f64, f64),
    loss: f64,
}

impl<'a> Design<'a> {
    fn new(members: &'a [Vec<Uid>], observations: &[&Observation]) -> Self {
        let mut stages: Vec<BTreeMap<Uid, Slot>> =
            members.iter().map(|uids| uids.iter().map(|uid| (*uid, Slot::default())).collect()).collect();
        for seen in observations {
            for (slots, uid) in stages.iter_mut().zip(&seen.preference) {
                if let Some(slot) = slots.get_mut(uid) {
                    slot.samples = slot.samples.saturating_add(1);
                }
            }
        }
        let (bins, mut columns) = number_bins(observations, 2);
        for slots in &mut stages {
            columns = number_miners(slots, columns);
        }
        let samples = count(observations.len()).max(1.0);
        let total =
            |of: &dyn Fn(&Observation) -> f64| observations.iter().fold(0.0, |sum, seen| sum + of(seen));
        let centre = total(&|seen| seen.difficulty) / samples;
        let spread =
            (total(&|seen| (seen.difficulty - centre) * (seen.difficulty - centre)) / samples).sqrt();
        let loss = total(&|seen| nats(seen.loss_micro)) / samples;
        let scale = if spread > 0.0 && spread.is_finite() { spread } else { 1.0 };
        Self { stages, members, bins, columns, difficulty: (centre, scale), loss }
    }

    /// Non-zero columns of an observation, ascending, and its centred loss.
    fn row(&self, seen: &Observation, row: &mut Vec<(usize, f64)>) -> f64 {
        let (centre, scale) = self.difficulty;
        row.clear();
        row.extend([(0, 1.0), (1, (seen.difficulty - centre) / scale)]);
        row.extend(self.bins.get(&seen.time_bin).copied().flatten().map(|column| (column, 1.0)));
        let slots = self.stages.iter().zip(&seen.preference).filter_map(|(slots, uid)| slots.get(uid));
        row.extend(slots.filter_map(|slot| slot.column).map(|column| (column, 1.0)));
        nats(seen.loss_micro) - self.loss
    }

    fn slot(&self, stage: Stage, uid: Uid) -> Option<&Slot> {
        self.stages.get(usize::from(stage.0)).and_then(|slots| slots.get(&uid))
    }
}

/// Whether every preference is a member and the difficulty is a number that can be squared.
fn is_usable(members: &[Vec<Uid>], seen: &Observation) -> bool {
    seen.preference.len() == members.len()
        && seen.difficulty.abs() < 1e100
        && members.iter().zip(&seen.preference).all(|(uids, uid)| uids.contains(uid))
}

/// Joins time bins to at most as many as the samples carry; the first has no column.
fn number_bins(observations: &[&Observation], next: usize) -> (BTreeMap<u16, Option<usize>>, usize) {
    let mut bins: BTreeMap<u16, Option<usize>> =
        observations.iter().map(|seen| (seen.time_bin, None)).collect();
    let most = (observations.len() / SAMPLES_PER_BIN).clamp(1, MAX_BINS);
    let distinct = bins.len();
    let joined = most.min(distinct);
    for (rank, column) in bins.values_mut().enumerate() {
        let bin = rank.saturating_mul(joined).checked_div(distinct).unwrap_or(0);
        *column = bin.checked_sub(1).map(|index| next.saturating_add(index));
    }
    (bins, next.saturating_add(joined.saturating_sub(1)))
}

/// Gives columns to the miners with samples, but for the reference: the one with most samples,
/// lowest uid on ties. Returns the next free column.
fn number_miners(slots: &mut BTreeMap<Uid, Slot>, mut next: usize) -> usize {
    let most = slots.values().map(|slot| slot.samples).max().unwrap_or(0);
    let reference = slots.iter().find(|(_, slot)| slot.samples == most).map(|(uid, _)| *uid);
    for (uid, slot) in slots.iter_mut() {
        if Some(*uid) != reference && slot.samples > 0 {
            slot.column = Some(next);
            next = next.saturating_add(1);
        }
    }
    next
}

/// A square matrix by rows.
struct Square {
    size: usize,
    values: Vec<f64>,
}

impl Square {
    fn zero(size: usize) -> Self {
        Self { size, values: vec![0.0; size.saturating_mul(size)] }
    }

    fn offset(&self, row: usize, column: usize) -> usize {
        row.saturating_mul(self.size).saturating_add(column)
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        self.values.get(self.offset(row, column)).copied().unwrap_or(0.0)
    }

    fn at(&mut self, row: usize, column: usize) -> Option<&mut f64> {
        let offset = self.offset(row, column);
        self.values.get_mut(offset)
    }

    /// The first `len` values of a row.
    fn row(&self, row: usize, len: usize) -> &[f64] {
        let start = self.offset(row, 0);
        self.values.get(start..start.saturating_add(len)).unwrap_or(&[])
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// Lower Cholesky factor of a Gram matrix; rows and columns of dependent columns are 0.
struct Factor {
    lower: Square,
    dependent: Vec<usize>,
}

impl Factor {
    /// Factors the lower triangle of `gram`.
    fn new(gram: &Square) -> Self {
        let mut lower = Square::zero(gram.size);
        let mut dependent = Vec::new();
        for row in 0..gram.size {
            for column in 0..row {
                let pivot = lower.get(column, column);
                let rest = gram.get(row, column) - dot(lower.row(row, column), lower.row(column, column));
                let value = if pivot > 0.0 { rest / pivot } else { 0.0 };
                if let Some(slot) = lower.at(row, column) {
                    *slot = value;
                }
            }
            let own = lower.row(row, row);
            let square = gram.get(row, row) - dot(own, own);
            if square > DEPENDENT * gram.get(row, row) {
                if let Some(slot) = lower.at(row, row) {
                    *slot = square.sqrt();
                }
            } else {
                dependent.push(row);
            }
        }
        Self { lower, dependent }
    }

    fn rank(&self) -> usize {
        self.lower.size.saturating_sub(self.dependent.len())
    }

    /// `L y = right`, with 0 at dependent columns.
    fn forward(&self, right: &[f64]) -> Vec<f64> {
        let mut solved: Vec<f64> = Vec::with_capacity(right.len());
        for (row, value) in right.iter().enumerate() {
            let pivot = self.lower.get(row, row);
            let rest = value - dot(self.lower.row(row, row), &solved);
            solved.push(if pivot > 0.0 { rest / pivot } else { 0.0 });
        }
        solved
    }

    /// `L' x = right`, with 0 at dependent columns.
    fn backward(&self, right: &[f64]) -> Vec<f64> {
        let mut rest = right.to_vec();
        for row in (0..rest.len()).rev() {
            let pivot = self.lower.get(row, row);
            let value = rest.get(row).copied().unwrap_or(0.0);
            let solved = if pivot > 0.0 { value / pivot } else { 0.0 };
            for (slot, below) in rest.iter_mut().zip(self.lower.row(row, row)) {
                *slot -= below * solved;
            }
            if let Some(slot) = rest.get_mut(row) {
                *slot = solved;
            }
        }
        rest
    }
}

/// A fitted model.
pub(super) struct Fit<'a> {
    design: Design<'a>,
    gram: Square,
    factor: Factor,
    coefficients: Vec<f64>,
    /// Residual variance.
    variance: f64,
    freedom: usize,
}

impl<'a> Fit<'a> {
    /// Fits the usable observations, in the order given; `None` if they do not exceed the columns.
    pub(super) fn new(members: &'a [Vec<Uid>], observations: &[&Observation]) -> Option<Self> {
        let usable: Vec<&Observation> =
            observations.iter().copied().filter(|seen| is_usable(members, seen)).collect();
        let design = Design::new(members, &usable);
        let (gram, right) = accumulate(&design, &usable);
        let factor = Factor::new(&gram);
        let coefficients = factor.backward(&factor.forward(&right));
        let freedom = usable.len().checked_sub(factor.rank()).filter(|freedom| *freedom > 0)?;
        let mut fit = Self { design, gram, factor, coefficients, variance: 0.0, freedom };
        let squares =
            usable.iter().filter_map(|seen| fit.residual(seen)).fold(0.0, |sum, rest| sum + rest * rest);
        fit.variance = squares / count(freedom);
        Some(fit)
    }

    /// Residual degrees of freedom.
    pub(super) fn freedom(&self) -> usize {
        self.freedom
    }

    /// Usable observations that prefer this miner.
    pub(super) fn samples(&self, stage: Stage, uid: Uid) -> u32 {
        self.design.slot(stage, uid).map_or(0, |slot| slot.samples)
    }

    /// Loss less what the model expects; `None` for an observation that cannot be used.
    pub(super) fn residual(&self, seen: &Observation) -> Option<f64> {
        if !is_usable(self.design.members, seen) {
            return None;
        }
        let mut row = Vec::new();
        let loss = self.design.row(seen, &mut row);
        let value = |(column, x): &(usize, f64)| self.coefficients.get(*column).copied().unwrap_or(0.0) * x;
        Some(row.iter().fold(loss, |rest, term| rest - value(term)))
    }

    /// A miner's effect above its stage's reference miner, if the design can tell it.
    pub(super) fn level(&self, stage: Stage, uid: Uid) -> Option<f64> {
        let slot = self.design.slot(stage, uid).filter(|slot| slot.samples > 0)?;
        let Some(column) = slot.column else { return Some(0.0) };
        self.solve(&[(column, 1.0)]).map(|contrast| contrast.effect)
    }

    /// The difference between two miners of a stage, if the design can tell it.
    pub(super) fn contrast(&self, stage: Stage, uid: Uid, against: Uid) -> Option<Contrast> {
        if uid == against {
            return Some(Contrast { effect: 0.0, error: 0.0 });
        }
        let of = |uid, sign: f64| {
            let slot = self.design.slot(stage, uid).filter(|slot| slot.samples > 0)?;
            Some(slot.column.map(|column| (column, sign)))
        };
        let terms: Vec<(usize, f64)> = [of(uid, 1.0)?, of(against, -1.0)?].into_iter().flatten().collect();
        self.solve(&terms)
    }

    /// A linear combination of coefficients with its error; `None` if it depends on which of the
    /// dependent columns were set to 0, that is, if it is no combination of observations.
    fn solve(&self, terms: &[(usize, f64)]) -> Option<Contrast> {
        let mut wanted = vec![0.0; self.gram.size];
        for (column, sign) in terms {
            *wanted.get_mut(*column)? = *sign;
        }
        let half = self.factor.forward(&wanted);
        let weights = self.factor.backward(&half);
        let told = self.factor.dependent.iter().all(|column| {
            let reached = (0..self.gram.size).fold(0.0, |sum, row| {
                let gram =
                    if row >= *column { self.gram.get(row, *column) } else { self.gram.get(*column, row) };
                sum + gram * weights.get(row).copied().unwrap_or(0.0)
            });
            (reached - wanted.get(*column).copied().unwrap_or(0.0)).abs() < ESTIMABLE
        });
        let effect = dot(&wanted, &self.coefficients);
        let error = (self.variance * dot(&half, &half)).sqrt();
        (told && effect.is_finite() && error.is_finite()).then_some(Contrast { effect, error })
    }
}

/// Lower triangle of X'X, and X'y.
fn accumulate(design: &Design<'_>, observations: &[&Observation]) -> (Square, Vec<f64>) {
    let mut gram = Square::zero(design.columns);
    let mut right = vec![0.0; design.columns];
    let mut row = Vec::new();
    for seen in observations {
        let loss = design.row(seen, &mut row);
        for (position, (column, value)) in row.iter().enumerate() {
            if let Some(slot) = right.get_mut(*column) {
                *slot += value * loss;
            }
            for (earlier, other) in row.iter().take(position.saturating_add(1)) {
                if let Some(slot) = gram.at(*column, *earlier) {
                    *slot += value * other;
                }
            }
        }
    }
    (gram, right)
}
