//! Every cheat by name, with what it does at each place where a miner acts.

use crate::calibration::shown_at_least;
use crate::noise::Noise;
use crate::toymerge::Owner;

/// What a miner does wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Sends activations of an earlier sample.
    ReplaysOldActivations,
    /// Sends its input on.
    EchoesInput,
    /// Sends noise.
    ReturnsNoise,
    /// Sends random gradients back.
    SkipsBackward,
    /// Never changes its weights.
    SkipsLocalSteps,
    /// Claims twice the samples that it trained.
    ClaimsMoreSamples,
    /// Trains on half of the tokens and sends what comes of them twice.
    TrainsFewerTokens,
    /// Computes with weights in bf16 where fp32 is claimed.
    LowerPrecision,
    /// Commits fifty times its update.
    ScaledUpdate,
    /// Commits its update turned around.
    FlippedUpdate,
    /// Commits the update of the epoch before. It saves one pass over its weights, next to nothing: local steps
    /// that it left out would show in their replay.
    StaleUpdate,
    /// Adds always the same direction to its update.
    DriftingUpdate,
    /// Stays one standard deviation below the honest updates.
    PoisonWithinGate,
    /// Pulls one value of twenty elsewhere.
    BackdooredData,
    /// Reports losses a fifth too low (last stage).
    ForgedLoss,
    /// Invents receipts for as many samples again.
    ForgedReceipts,
    /// Leaves out every second receipt, so that its neighbours' passes do not stand.
    DeniedReceipts,
    /// Trains on easy texts of its own (stage 0).
    WrongPositions,
    /// Opens wrong merge results.
    WrongShard,
    /// Opens nothing.
    MissingShard,
    /// Opens wrong results together with its partner.
    CollusiveShard,
    /// Serves an entry that does not fit its commitment.
    ChangedCommit,
    /// Sends samples to fellow cheats only, as if others were unreachable.
    FavoursFriends,
    /// Sends nothing to half of a stage, to others in each epoch, and what it keeps from them to fellow cheats.
    StarvesSome,
    /// Sends nothing to the newest honest miner of the next stage.
    EclipsesNewcomer,
    /// Takes samples from fellow cheats only.
    RefusesStrangers,
    /// Accepts samples and lets half of them time out.
    SlowLoris,
    /// Not a cheat: five times slower than others.
    Straggler,
    /// Not a cheat: away for a third of each epoch.
    Flapping,
}

/// All cheats of miners in the order of the table.
pub const CHEATS: [Fault; 27] = [
    Fault::ReplaysOldActivations,
    Fault::EchoesInput,
    Fault::ReturnsNoise,
    Fault::SkipsBackward,
    Fault::SkipsLocalSteps,
    Fault::ClaimsMoreSamples,
    Fault::TrainsFewerTokens,
    Fault::LowerPrecision,
    Fault::ScaledUpdate,
    Fault::FlippedUpdate,
    Fault::StaleUpdate,
    Fault::DriftingUpdate,
    Fault::PoisonWithinGate,
    Fault::BackdooredData,
    Fault::ForgedLoss,
    Fault::ForgedReceipts,
    Fault::DeniedReceipts,
    Fault::WrongPositions,
    Fault::WrongShard,
    Fault::MissingShard,
    Fault::CollusiveShard,
    Fault::ChangedCommit,
    Fault::FavoursFriends,
    Fault::StarvesSome,
    Fault::EclipsesNewcomer,
    Fault::RefusesStrangers,
    Fault::SlowLoris,
];

impl Fault {
    /// The stage in which this cheat does most.
    #[must_use]
    pub fn stage(self, stages: u16) -> u16 {
        match self {
            Self::WrongPositions => 0,
            Self::ForgedLoss => stages - 1,
            _ => stages / 2,
        }
    }

    /// Nats that a sample loses when this miner computes its activations.
    #[must_use]
    pub fn harm(self) -> f64 {
        match self {
            Self::ReplaysOldActivations => 0.8,
            Self::EchoesInput => 0.4,
            Self::ReturnsNoise => 1.8,
            Self::LowerPrecision => 0.003,
            _ => 0.0,
        }
    }

    /// Part of an epoch's cost that it saves.
    #[must_use]
    pub fn saves(self) -> f64 {
        match self {
            Self::ReplaysOldActivations | Self::EchoesInput | Self::ReturnsNoise => 0.95,
            // Backward is two thirds of the work of a pass.
            Self::SkipsBackward => 0.65,
            Self::SkipsLocalSteps => 0.05,
            Self::LowerPrecision | Self::TrainsFewerTokens => 0.5,
            Self::MissingShard => 0.03,
            _ => 0.0,
        }
    }

    /// Probability that the replay of one of its segments shows it: what the calibration gives at least;
    /// all of them where hashes are compared exactly. One audit in four looks at the entry as well.
    #[must_use]
    pub fn shown_by_replay(self) -> f64 {
        match self {
            Self::ForgedReceipts | Self::WrongPositions => 1.0,
            Self::ScaledUpdate
            | Self::FlippedUpdate
            | Self::StaleUpdate
            | Self::DriftingUpdate
            | Self::PoisonWithinGate => 0.25,
            other => shown_at_least(other).unwrap_or(0.0),
        }
    }

    /// What it commits instead of its honest update.
    #[must_use]
    pub fn entry(self, honest: &[f64], before: &[f64], all: &[Vec<f64>]) -> Vec<f64> {
        let times = |factor: f64| honest.iter().map(|value| value * factor).collect();
        match self {
            Self::ReplaysOldActivations
            | Self::EchoesInput
            | Self::ReturnsNoise
            | Self::SkipsBackward
            | Self::SkipsLocalSteps => vec![0.0; honest.len()],
            Self::ScaledUpdate => times(50.0),
            Self::FlippedUpdate => times(-1.0),
            Self::StaleUpdate => before.to_vec(),
            Self::DriftingUpdate => honest
                .iter()
                .zip(0..)
                .map(|(value, at): (&f64, u32)| value + if at.is_multiple_of(2) { 0.3 } else { -0.3 })
                .collect(),
            Self::PoisonWithinGate => one_deviation_below(honest.len(), all),
            Self::BackdooredData => {
                let moved = |(at, value): (usize, &f64)| if at % 20 == 0 { value - 0.5 } else { *value };
                honest.iter().enumerate().map(moved).collect()
            }
            _ => honest.to_vec(),
        }
    }

    /// What it does as an owner of shards.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self {
            Self::WrongShard => Owner::Wrong,
            Self::MissingShard => Owner::Silent,
            Self::CollusiveShard => Owner::Colluding,
            _ => Owner::Honest,
        }
    }

    /// Whether others cannot verify its entry.
    #[must_use]
    pub fn hides_entry(self) -> bool {
        self == Self::ChangedCommit
    }

    /// Samples that it commits to, of so many done.
    #[must_use]
    pub fn claims(self, done: u32) -> u32 {
        match self {
            Self::ClaimsMoreSamples | Self::ForgedReceipts => done * 2,
            _ => done,
        }
    }

    /// The loss that it reports (last stage).
    #[must_use]
    pub fn reported(self, loss: f64) -> f64 {
        if self == Self::ForgedLoss {
            loss * 0.8
        } else {
            loss
        }
    }

    /// The loss of a sample that it starts (stage 0).
    #[must_use]
    pub fn started(self, loss: f64) -> f64 {
        if self == Self::WrongPositions {
            loss - 0.3
        } else {
            loss
        }
    }

    /// Whether it lets a sample that it took time out.
    pub fn drops(self, noise: &mut Noise) -> bool {
        self == Self::SlowLoris && noise.chance(0.5)
    }

    /// Samples of an epoch that it can take, of `fair` that others take.
    #[must_use]
    pub fn capacity(self, fair: u32) -> u32 {
        if self == Self::Straggler {
            fair / 5
        } else {
            u32::MAX
        }
    }

    /// Whether it is away when this part of the epoch (0 to 1) runs.
    #[must_use]
    pub fn is_away(self, at: f64) -> bool {
        self == Self::Flapping && (0.33..0.66).contains(&at)
    }

    /// Whether its own passes make it learn.
    #[must_use]
    pub fn learns(self) -> bool {
        self.saves() < 0.5 || matches!(self, Self::LowerPrecision | Self::TrainsFewerTokens)
    }
}

/// Mean of the honest updates less one standard deviation towards zero and beyond.
fn one_deviation_below(len: usize, all: &[Vec<f64>]) -> Vec<f64> {
    let count = all.len() as f64;
    let one = |at: usize| {
        let mean = all.iter().map(|entry| entry[at]).sum::<f64>() / count;
        let squares: f64 = all.iter().map(|entry| (entry[at] - mean) * (entry[at] - mean)).sum();
        mean - mean.signum() * (squares / count).sqrt()
    };
    (0..len).map(one).collect()
}

/// What a validator does wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ValidatorFault {
    /// Reveals the row that the first honest validator revealed for the epoch before.
    CopiesScores,
    /// Gives everything to the miners with even uids.
    ScoresFriends,
    /// Gives everything to uid 0, its own.
    SelfDeals,
    /// Never reveals.
    NotRevealing,
    /// Reveals an honest row and publishes no report.
    WithholdsReports,
    /// Scores uid 1 with nothing and accuses it.
    AccusesFalsely,
}

/// All cheats of validators in the order of the table.
pub const VALIDATOR_CHEATS: [ValidatorFault; 6] = [
    ValidatorFault::CopiesScores,
    ValidatorFault::ScoresFriends,
    ValidatorFault::SelfDeals,
    ValidatorFault::NotRevealing,
    ValidatorFault::WithholdsReports,
    ValidatorFault::AccusesFalsely,
];
