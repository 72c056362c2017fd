//! Least squares over observations in memory that does not grow with them: normal equations,
//! Cholesky, and the contrasts that the design can tell.

use std::collections::BTreeMap;

use super::{count, nats, Observation};
use crate::ids::{Sample, Stage, Uid};

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

/// The usable observations as columns of numbers: 24 bytes a row and two for each stage.
pub(super) struct Table {
    stages: usize,
    /// Place of the preferred miner among the members of its stage, row by row.
    places: Vec<u16>,
    reporters: Vec<Uid>,
    samples: Vec<Sample>,
    losses: Vec<f64>,
    difficulties: Vec<f64>,
    bins: Vec<u16>,
}

/// Places of a stage's members by uid; of a uid that stands twice the last counts.
fn places_of(members: &[Uid]) -> BTreeMap<Uid, u16> {
    members.iter().copied().zip(0..u16::MAX).collect()
}

impl Table {
    /// Keeps observations whose preferences are all members and whose difficulty is a number that
    /// can be squared, in the order given.
    pub(super) fn new(members: &[Vec<Uid>], observations: &[&Observation]) -> Self {
        let places: Vec<BTreeMap<Uid, u16>> = members.iter().map(|uids| places_of(uids)).collect();
        let mut table = Self {
            stages: members.len(),
            places: Vec::with_capacity(observations.len().saturating_mul(members.len())),
            reporters: Vec::new(),
            samples: Vec::new(),
            losses: Vec::new(),
            difficulties: Vec::new(),
            bins: Vec::new(),
        };
        let mut row = Vec::with_capacity(members.len());
        for seen in observations {
            row.clear();
            row.extend(places.iter().zip(&seen.preference).filter_map(|(of, uid)| of.get(uid).copied()));
            let complete = row.len() == members.len() && seen.preference.len() == members.len();
            if complete && seen.difficulty.abs() < 1e100 {
                table.places.extend_from_slice(&row);
                table.reporters.push(seen.reporter);
                table.samples.push(seen.sample);
                table.losses.push(nats(seen.loss_micro));
                table.difficulties.push(seen.difficulty);
                table.bins.push(seen.time_bin);
            }
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.losses.len()
    }

    fn rows(&self) -> impl Iterator<Item = &[u16]> {
        // One stage at least where there is a row: an observation without preferences has no miner.
        self.places.chunks_exact(self.stages.max(1))
    }

    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(super) fn bins_and_losses(&self) -> impl Iterator<Item = (u16, f64)> + '_ {
        self.bins.iter().copied().zip(self.losses.iter().copied())
    }

    /// Row and reporter of the observations that prefer a miner.
    fn preferring(&self, stage: usize, place: u16) -> impl Iterator<Item = (usize, Uid)> + '_ {
        let chosen = self.rows().enumerate().filter(move |(_, row)| row.get(stage) == Some(&place));
        chosen.filter_map(|(index, _)| self.reporters.get(index).map(|reporter| (index, *reporter)))
    }
}

/// A miner's place in the design.
#[derive(Clone, Copy, Default)]
struct Slot {
    samples: u32,
    /// `None` for the stage's reference miner and for miners without samples.
    column: Option<usize>,
}

/// One stage in the design.
struct StageSlots {
    places: BTreeMap<Uid, u16>,
    slots: Vec<Slot>,
}

impl StageSlots {
    fn get(&self, uid: Uid) -> Option<&Slot> {
        self.places.get(&uid).and_then(|place| self.slots.get(usize::from(*place)))
    }
}

/// Which columns an observation fills: constant, difficulty, time bins, miners.
struct Design {
    stages: Vec<StageSlots>,
    bins: BTreeMap<u16, Option<usize>>,
    columns: usize,
    /// Centre and scale of difficulty, centre of loss: keeps the normal equations well conditioned.
    difficulty: (f64, f64),
    loss: f64,
}

fn total(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

impl Design {
    fn new(members: &[Vec<Uid>], table: &Table) -> Self {
        let mut stages: Vec<StageSlots> = members
            .iter()
            .map(|uids| StageSlots { places: places_of(uids), slots: vec![Slot::default(); uids.len()] })
            .collect();
        for row in table.rows() {
            for (stage, place) in stages.iter_mut().zip(row) {
                if let Some(slot) = stage.slots.get_mut(usize::from(*place)) {
                    slot.samples = slot.samples.saturating_add(1);
                }
            }
        }
        let (bins, mut columns) = number_bins(&table.bins, 2);
        for stage in &mut stages {
            columns = number_miners(stage, columns);
        }
        let rows = count(table.len()).max(1.0);
        let centre = total(table.difficulties.iter().copied()) / rows;
        let spread = (total(table.difficulties.iter().map(|d| (d - centre) * (d - centre))) / rows).sqrt();
        let loss = total(table.losses.iter().copied()) / rows;
        let scale = if spread > 0.0 && spread.is_finite() { spread } else { 1.0 };
        Self { stages, bins, columns, difficulty: (centre, scale), loss }
    }

    /// Calls `each` with the non-zero columns of every row, ascending, and its centred loss.
    fn for_each_row(&self, table: &Table, mut each: impl FnMut(&[(usize, f64)], f64)) {
        let (centre, scale) = self.difficulty;
        let mut columns = Vec::with_capacity(table.stages.saturating_add(3));
        let rest = table.difficulties.iter().zip(&table.bins).zip(&table.losses);
        for (places, ((difficulty, bin), loss)) in table.rows().zip(rest) {
            columns.clear();
            columns.extend([(0, 1.0), (1, (difficulty - centre) / scale)]);
            columns.extend(self.bins.get(bin).copied().flatten().map(|column| (column, 1.0)));
            let slots = self.stages.iter().zip(places).filter_map(|(s, at)| s.slots.get(usize::from(*at)));
            columns.extend(slots.filter_map(|slot| slot.column).map(|column| (column, 1.0)));
            each(&columns, loss - self.loss);
        }
    }

    fn slot(&self, stage: Stage, uid: Uid) -> Option<&Slot> {
        self.stages.get(usize::from(stage.0)).and_then(|stage| stage.get(uid))
    }
}

/// Joins time bins to at most as many as the samples carry; the first has no column.
fn number_bins(seen: &[u16], next: usize) -> (BTreeMap<u16, Option<usize>>, usize) {
    let mut bins: BTreeMap<u16, Option<usize>> = seen.iter().map(|bin| (*bin, None)).collect();
    let most = (seen.len() / SAMPLES_PER_BIN).clamp(1, MAX_BINS);
    let distinct = bins.len();
    let joined = most.min(distinct);
    for (rank, column) in bins.values_mut().enumerate() {
        let bin = rank.saturating_mul(joined).checked_div(distinct).unwrap_or(0);
        *column = bin.checked_sub(1).map(|index| next.saturating_add(index));
    }
    (bins, next.saturating_add(joined.saturating_sub(1)))
}

/// Gives columns, in uid order, to the miners with samples, but for the reference: the one with most
/// samples, lowest uid on ties. Returns the next free column.
fn number_miners(stage: &mut StageSlots, mut next: usize) -> usize {
    let samples_at = |place: &u16| stage.slots.get(usize::from(*place)).map_or(0, |slot| slot.samples);
    let most = stage.places.values().map(samples_at).max().unwrap_or(0);
    let reference = stage.places.values().copied().find(|place| samples_at(place) == most);
    for place in stage.places.values() {
        let Some(slot) = stage.slots.get_mut(usize::from(*place)) else { continue };
        if Some(*place) != reference && slot.samples > 0 {
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
    /// Columns that the ones before them explain.
    dependent: Vec<usize>,
    /// Columns that are not 0 and explained by none before them.
    rank: usize,
}

impl Factor {
    /// Factors the lower triangle of `gram`.
    fn new(gram: &Square) -> Self {
        let mut lower = Square::zero(gram.size);
        let mut dependent = Vec::new();
        let mut rank = 0usize;
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
                rank = rank.saturating_add(1);
                if let Some(slot) = lower.at(row, row) {
                    *slot = square.sqrt();
                }
            } else if gram.get(row, row) > 0.0 {
                dependent.push(row);
            }
        }
        Self { lower, dependent, rank }
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
pub(super) struct Fit {
    design: Design,
    gram: Square,
    factor: Factor,
    coefficients: Vec<f64>,
    residuals: Vec<f64>,
    variance: f64,
    freedom: usize,
}

impl Fit {
    /// Fits a table; `None` if its rows do not exceed the columns.
    pub(super) fn new(members: &[Vec<Uid>], table: &Table) -> Option<Self> {
        let design = Design::new(members, table);
        let (gram, right) = accumulate(&design, table);
        let factor = Factor::new(&gram);
        let coefficients = factor.backward(&factor.forward(&right));
        let freedom = table.len().checked_sub(factor.rank).filter(|freedom| *freedom > 0)?;
        let mut residuals = Vec::with_capacity(table.len());
        design.for_each_row(table, |columns, loss| {
            let value = |(column, x): &(usize, f64)| coefficients.get(*column).copied().unwrap_or(0.0) * x;
            residuals.push(columns.iter().fold(loss, |rest, term| rest - value(term)));
        });
        let variance = total(residuals.iter().map(|rest| rest * rest)) / count(freedom);
        Some(Self { design, gram, factor, coefficients, residuals, variance, freedom })
    }

    /// Residual degrees of freedom.
    pub(super) fn freedom(&self) -> usize {
        self.freedom
    }

    /// Residual variance in square nats.
    pub(super) fn variance(&self) -> f64 {
        self.variance
    }

    /// Loss less what the model expects, row by row.
    pub(super) fn residuals(&self) -> &[f64] {
        &self.residuals
    }

    /// Observations that prefer this miner.
    pub(super) fn samples(&self, stage: Stage, uid: Uid) -> u32 {
        self.design.slot(stage, uid).map_or(0, |slot| slot.samples)
    }

    /// Row and reporter of the observations that prefer a miner.
    pub(super) fn preferring<'t>(
        &self,
        table: &'t Table,
        stage: Stage,
        uid: Uid,
    ) -> impl Iterator<Item = (usize, Uid)> + 't {
        let at = usize::from(stage.0);
        let place = self.design.stages.get(at).and_then(|stage| stage.places.get(&uid)).copied();
        table.preferring(at, place.unwrap_or(u16::MAX))
    }

    /// A miner's effect above its stage's reference miner, if the design can tell it.
    pub(super) fn level(&self, stage: Stage, uid: Uid) -> Option<f64> {
        let slot = self.design.slot(stage, uid).filter(|slot| slot.samples > 0)?;
        let Some(column) = slot.column else { return Some(0.0) };
        if self.factor.dependent.is_empty() {
            return self.coefficients.get(column).copied().filter(|level| level.is_finite());
        }
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
        let effect = dot(&wanted, &self.coefficients);
        let error = (self.variance * dot(&half, &half)).sqrt();
        let told = self.factor.dependent.is_empty() || self.is_told(&wanted, &half);
        (told && effect.is_finite() && error.is_finite()).then_some(Contrast { effect, error })
    }

    fn is_told(&self, wanted: &[f64], half: &[f64]) -> bool {
        let weights = self.factor.backward(half);
        self.factor.dependent.iter().all(|column| {
            let reached = (0..self.gram.size).fold(0.0, |sum, row| {
                let gram =
                    if row >= *column { self.gram.get(row, *column) } else { self.gram.get(*column, row) };
                sum + gram * weights.get(row).copied().unwrap_or(0.0)
            });
            (reached - wanted.get(*column).copied().unwrap_or(0.0)).abs() < ESTIMABLE
        })
    }
}

/// Lower triangle of X'X, and X'y.
fn accumulate(design: &Design, table: &Table) -> (Square, Vec<f64>) {
    let mut gram = Square::zero(design.columns);
    let mut right = vec![0.0; design.columns];
    let size = design.columns.max(1);
    design.for_each_row(table, |columns, loss| {
        for (position, (column, value)) in columns.iter().enumerate() {
            if let Some(slot) = right.get_mut(*column) {
                *slot += value * loss;
            }
            let Some(line) = gram.values.chunks_exact_mut(size).nth(*column) else { continue };
            for (earlier, other) in columns.iter().take(position.saturating_add(1)) {
                if let Some(slot) = line.get_mut(*earlier) {
                    *slot += value * other;
                }
            }
        }
    });
    (gram, right)
}
