//! What a replay shows, as measured: error rates read from the page that `scripts/bench audit` writes, so
//! that the laboratory and the page cannot differ.

use crate::outcome::share_at_most;
use crate::world::fault::Fault;

/// The page as it was when this program was built.
const PAGE: &str = include_str!("../../../docs/results/audit.md");
/// Headings of the two tables that are read.
const HONEST: &str = "## Honest machines against each other";
const CHEATS: &str = "## Cheats:";

/// A count of replays out of all that were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// How often it happened.
    pub hits: usize,
    /// Out of so many.
    pub of: usize,
}

impl Seen {
    /// The upper end of the rate's 95 % interval.
    #[must_use]
    pub fn at_most(self) -> f64 {
        share_at_most(self.hits, self.of)
    }
}

/// Honest segments that a check rejected, by the name of the check.
#[must_use]
pub fn false_rejects() -> Vec<(String, Seen)> {
    let row = |cells: &[&str]| Some((cells.first()?.to_string(), seen(cells.get(6)?, cells.get(1)?)?));
    rows(HONEST).iter().filter_map(|cells| row(cells)).collect()
}

/// Segments with a cheat that passed all checks, by the cheat's name on the page.
#[must_use]
pub fn false_accepts() -> Vec<(String, Seen)> {
    let row = |cells: &[&str]| Some((cells.first()?.to_string(), seen(cells.get(6)?, cells.get(1)?)?));
    rows(CHEATS).iter().filter_map(|cells| row(cells)).collect()
}

/// The largest upper bound over all cheats of the page.
#[must_use]
pub fn worst_false_accept() -> f64 {
    false_accepts().iter().map(|(_, seen)| seen.at_most()).fold(0.0, f64::max)
}

/// The largest upper bound over all checks of honest segments.
#[must_use]
pub fn worst_false_reject() -> f64 {
    false_rejects().iter().map(|(_, seen)| seen.at_most()).fold(0.0, f64::max)
}

/// The cheat of the page that stands for a fault; of several the one that is hardest to see.
#[must_use]
pub fn measured_as(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::ReplaysOldActivations => "activations of the sample before",
        Fault::EchoesInput => "input echoed",
        Fault::ReturnsNoise => "activations shuffled",
        Fault::SkipsBackward => "backward pass skipped",
        Fault::SkipsLocalSteps => "local step skipped",
        Fault::TrainsFewerTokens => "half of the tokens, sent twice",
        Fault::LowerPrecision => "weights in bf16",
        Fault::ForgedLoss => "loss reported 10 % too high",
        _ => return None,
    })
}

/// Probability, at least, that the replay of a segment shows a fault that was calibrated: one less the
/// upper end of the rate with which it passed.
#[must_use]
pub fn shown_at_least(fault: Fault) -> Option<f64> {
    let name = measured_as(fault)?;
    false_accepts().into_iter().find(|(own, _)| own == name).map(|(_, seen)| 1.0 - seen.at_most())
}

fn seen(hits: &str, of: &str) -> Option<Seen> {
    Some(Seen { hits: hits.parse().ok()?, of: of.parse().ok()? })
}

/// Cells of the first table under a heading that starts like this, without its head.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let after = PAGE.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let table = after.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    table.skip(2).map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::fault::CHEATS;

    #[test]
    fn the_page_is_read() {
        let (rejects, accepts) = (false_rejects(), false_accepts());
        assert_eq!(rejects.len(), 4, "{rejects:?}");
        assert!(accepts.len() >= 12, "{accepts:?}");
        assert!(rejects.iter().chain(&accepts).all(|(_, seen)| seen.of >= 100 && seen.hits <= seen.of));
    }

    #[test]
    fn every_fault_that_claims_to_be_measured_is_on_the_page() {
        for fault in CHEATS.into_iter().filter(|fault| measured_as(*fault).is_some()) {
            let shown = shown_at_least(fault).unwrap_or(0.0);
            assert!(shown > 0.5 && shown < 1.0, "{fault:?}: {shown}");
        }
    }

    #[test]
    fn rates_by_hand() {
        // None of 390: z^2 / (n + z^2) = 3.84 / 393.84.
        assert!((Seen { hits: 0, of: 390 }.at_most() - 0.009_755).abs() < 1e-5);
        assert!(Seen { hits: 5, of: 10 }.at_most() > 0.7);
    }
}
