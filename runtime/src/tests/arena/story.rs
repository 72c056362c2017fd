//! What happened in a run, and the properties that are asserted of it, each by its name.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::{emission::SHARES, ids::Epoch, params::PPM, view::EpochReportView};

use super::super::{Balances, Iota, Runtime};
use super::{chain::params, fault::Fault, world::World};

/// What an epoch's honest work costs, as a part of its pay: assumed, as in the laboratory.
const COST: f64 = 0.6;
/// What an honest member's call may be refused for: somebody else was first, or it came too late to a decision.
const EXPECTED: [&str; 6] = [
    "AlreadyAccused",
    "AlreadyAsked",
    "AlreadyDecided",
    "AlreadyCommitted",
    "NothingHeld",
    "TooManyAccusations",
];

/// What pointed at a member first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sign {
    /// A verdict, or a proof of equivocation.
    Verdict,
    /// Pay that was held for want of evidence.
    Evidence,
    /// CLASP took pay.
    Clasp,
}

/// What happened in a run; members by their places.
#[derive(Default)]
pub struct Story {
    /// Epochs that closed.
    pub epochs: u32,
    /// Of the settled ones, those without a quorum.
    pub void: u32,
    /// Minted by the settled epochs.
    pub minted: u128,
    /// Samples that went all the way, by epoch.
    pub samples: Vec<u32>,
    /// First epoch in which something pointed at a member.
    pub pointed: BTreeMap<usize, (u32, Sign)>,
    /// Gated epochs.
    pub gated: BTreeSet<(usize, Epoch)>,
    /// Epochs whose pay was held.
    pub held: BTreeSet<(usize, Epoch)>,
    /// Epochs in which CLASP took pay.
    pub cut: BTreeMap<usize, u32>,
    /// Refused calls, of honest members or not, by the error's name.
    pub refused: BTreeMap<(bool, String), u32>,
    /// What each would have been paid if its stage had shared evenly.
    even: BTreeMap<usize, u128>,
    /// What each got in the same run without a cheat, where that is known.
    fair: Vec<u128>,
    /// Tokens in existence when everybody had joined.
    issued: u128,
}

impl Story {
    /// Nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on nothing is issued but what epochs mint.
    pub fn count_from_here(&mut self) {
        self.issued = Balances::total_issuance();
    }

    pub(super) fn point(&mut self, index: usize, epoch: Epoch, sign: Sign) {
        self.pointed.entry(index).or_insert((epoch.0, sign));
    }

    pub(super) fn refuse(&mut self, honest: bool, name: String) {
        *self.refused.entry((honest, name)).or_default() += 1;
    }

    /// Adds each miner's even part of its stage's share of an epoch.
    pub(super) fn even_parts(&mut self, report: &EpochReportView, stages: &[Vec<usize>]) {
        let whole = u128::from(PPM);
        let miners = report.split.minted * u128::from(SHARES.miners_ppm) / whole;
        for (stage, members) in params().stages.iter().zip(stages) {
            let part = miners * u128::from(stage.share_ppm) / whole / members.len().max(1) as u128;
            members.iter().for_each(|index| *self.even.entry(*index).or_default() += part);
        }
    }
}

impl World {
    /// What everybody has got so far.
    pub fn incomes(&self) -> Vec<u128> {
        self.actors.iter().map(|own| own.keys.income()).collect()
    }

    /// From here on what a miner keeps is measured by what it got in the same run without a cheat.
    pub fn measure_by(&mut self, fair: &[u128]) {
        self.story.fair = fair.to_vec();
    }

    /// What a miner kept, as a part of what it got without a cheat, or else of an even share of its stage's pay.
    pub fn kept(&self, index: usize) -> f64 {
        let even = self.story.even.get(&index).copied().unwrap_or(0);
        let fair = self.story.fair.get(index).copied().unwrap_or(even).max(1);
        self.actors[index].keys.income() as f64 / fair as f64
    }

    /// What a cheat gained beside honest work: 0 is as good, and below it cheating loses.
    pub fn gain(&self, cheats: &[usize]) -> f64 {
        let one = |index: &usize| {
            let saved = self.actors[*index].fault.map_or(0.0, Fault::saves);
            self.kept(*index) - 1.0 + saved * COST
        };
        cheats.iter().map(one).sum::<f64>() / cheats.len() as f64
    }

    /// Cheats that something pointed at, in how many epochs on average, and what it was.
    pub fn found(&self, cheats: &[usize]) -> (usize, f64, BTreeSet<Sign>) {
        let signs: Vec<_> = cheats.iter().filter_map(|own| self.story.pointed.get(own)).collect();
        let epochs =
            signs.iter().map(|(epoch, _)| f64::from(*epoch)).sum::<f64>() / signs.len().max(1) as f64;
        (signs.len(), epochs, signs.iter().map(|(_, sign)| *sign).collect())
    }

    /// Honest members with a gate or with pay on hold, and how often: accusing them was a mistake.
    pub fn punished(&self) -> usize {
        let honest = |own: &&(usize, Epoch)| self.actors[own.0].is_honest();
        self.story.gated.iter().filter(honest).count() + self.story.held.iter().filter(honest).count()
    }

    /// Everything that always holds between storage items does, and nothing is issued but what was minted.
    pub fn funds_are_conserved(&self) {
        Iota::check_invariants().unwrap_or_else(|error| panic!("{:?}: {error:?}", self.setup));
        let issued = Balances::total_issuance() - self.story.issued;
        assert_eq!(issued, pallet_iota::TotalMinted::<Runtime>::get(), "{:?}", self.setup);
    }

    /// No honest member is gated, and nobody's honest pay is held.
    pub fn nobody_honest_is_punished(&self) {
        let honest: Vec<_> = self
            .story
            .gated
            .iter()
            .chain(&self.story.held)
            .filter(|own| self.actors[own.0].is_honest())
            .collect();
        assert!(honest.is_empty(), "{:?}: {honest:?}", self.setup);
    }

    /// The chain takes what honest members send in time.
    pub fn nothing_honest_is_refused(&self) {
        let others = |own: &&(bool, String)| own.0 && !EXPECTED.contains(&own.1.as_str());
        let refused: Vec<_> = self.story.refused.keys().filter(others).collect();
        assert!(refused.is_empty(), "{:?}: {refused:?}", self.setup);
    }

    /// More than half of the stake revealed in every epoch.
    pub fn no_epoch_is_void(&self) {
        assert_eq!(self.story.void, 0, "{:?}: {:?}", self.setup, self.story.refused);
    }

    /// All that holds of every run in which validators with less than half of the stake cheat.
    pub fn holds_together(&self) {
        self.funds_are_conserved();
        self.nobody_honest_is_punished();
        self.nothing_honest_is_refused();
        self.no_epoch_is_void();
    }
}
