//! What the samples that ran twice say: how much of the noise is the text's, which no covariate
//! took (design.md, section 9).

use std::collections::BTreeMap;

use super::count;
use super::regression::{Fit, Table};
use crate::ids::Sample;
use crate::position::repeated;

/// The noise of an epoch's losses, split by the samples that read the same text twice on other
/// pathways. Square nats.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Control {
    /// Pairs of samples with the same text.
    pub pairs: u32,
    /// Residual variance of the model: text that the covariates missed, and everything else.
    pub variance: f64,
    /// Half the mean square of the difference within a pair: everything but the text.
    pub without_text: f64,
}

impl Control {
    pub(super) fn new(table: &Table, fit: &Fit) -> Option<Self> {
        let rest: BTreeMap<Sample, f64> =
            table.samples().iter().copied().zip(fit.residuals().iter().copied()).collect();
        let pairs = rest.iter().filter_map(|(sample, second)| {
            repeated(*sample).and_then(|first| rest.get(&first)).map(|first| first - second)
        });
        let differences: Vec<f64> = pairs.collect();
        let squares = differences.iter().fold(0.0, |sum, difference| sum + difference * difference);
        (!differences.is_empty()).then(|| Self {
            pairs: u32::try_from(differences.len()).unwrap_or(u32::MAX),
            variance: fit.variance(),
            without_text: squares / (2.0 * count(differences.len())),
        })
    }

    /// The part of the residual variance that is the text's own, 0 to 1.
    #[must_use]
    pub fn text_share(&self) -> f64 {
        if self.variance > 0.0 {
            (1.0 - self.without_text / self.variance).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}
