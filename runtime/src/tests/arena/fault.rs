//! Every cheat by name, as the laboratory (`tests/lab`) names them, with what it does where a member acts.

use iota_protocol::seed::Draw;

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
    /// Trains on half of the tokens, and sends what comes of it twice.
    TrainsFewerTokens,
    /// Computes with weights in bf16 where fp32 is claimed.
    LowerPrecision,
    /// Claims twice the samples that it trained.
    ClaimsMoreSamples,
    /// Invents receipts for as many samples again.
    ForgedReceipts,
    /// Leaves out every second receipt.
    DeniedReceipts,
    /// Reports losses a fifth too low (last stage).
    ForgedLoss,
    /// Trains on easy texts of its own (stage 0).
    WrongPositions,
    /// Signs two bodies for one hop.
    Equivocates,
    /// Opens wrong merge results.
    WrongShard,
    /// Opens nothing.
    MissingShard,
    /// Opens wrong results together with fellow cheats.
    CollusiveShard,
    /// Serves an entry that does not fit its commitment.
    ChangedCommit,
    /// Takes samples from fellow cheats only.
    RefusesStrangers,
    /// Accepts samples and lets half of them time out.
    SlowLoris,
    /// Serves no evidence when asked on chain.
    RefusesEvidence,
    /// Answers that it serves evidence, and serves none.
    LiesAboutEvidence,
    /// Commits and merges, and never trains.
    NeverTrains,
    /// Not a cheat: takes a fifth of what others take.
    Straggler,
    /// Not a cheat: away for a third of each epoch.
    Flapping,
}

/// All cheats of miners, in the order of the table.
pub const CHEATS: [Fault; 22] = [
    Fault::ReplaysOldActivations,
    Fault::EchoesInput,
    Fault::ReturnsNoise,
    Fault::SkipsBackward,
    Fault::SkipsLocalSteps,
    Fault::TrainsFewerTokens,
    Fault::LowerPrecision,
    Fault::ClaimsMoreSamples,
    Fault::ForgedReceipts,
    Fault::DeniedReceipts,
    Fault::ForgedLoss,
    Fault::WrongPositions,
    Fault::Equivocates,
    Fault::WrongShard,
    Fault::MissingShard,
    Fault::CollusiveShard,
    Fault::ChangedCommit,
    Fault::RefusesStrangers,
    Fault::SlowLoris,
    Fault::RefusesEvidence,
    Fault::LiesAboutEvidence,
    Fault::NeverTrains,
];

impl Fault {
    /// Whether it breaks a rule; a slow or restless miner does not.
    pub fn is_cheat(self) -> bool {
        !matches!(self, Self::Straggler | Self::Flapping)
    }

    /// The stage in which this cheat does most.
    pub fn stage(self, stages: u16) -> u16 {
        match self {
            Self::WrongPositions => 0,
            Self::ForgedLoss => stages - 1,
            _ => stages / 2,
        }
    }

    /// How many it takes.
    pub fn least(self) -> u16 {
        if self == Self::CollusiveShard {
            2
        } else {
            1
        }
    }

    /// Nats that a sample loses when this miner computes its activations.
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
    pub fn saves(self) -> f64 {
        match self {
            Self::NeverTrains => 1.0,
            Self::ReplaysOldActivations | Self::EchoesInput | Self::ReturnsNoise => 0.95,
            // Backward is two thirds of the work of a pass.
            Self::SkipsBackward => 0.65,
            Self::LowerPrecision | Self::TrainsFewerTokens => 0.5,
            Self::SkipsLocalSteps => 0.05,
            Self::MissingShard => 0.03,
            _ => 0.0,
        }
    }

    /// Whether the replay of one of its segments shows it: what the calibration of audits measured, and what
    /// is compared exactly.
    pub fn shows_in_replay(self) -> bool {
        matches!(
            self,
            Self::ReplaysOldActivations
                | Self::EchoesInput
                | Self::ReturnsNoise
                | Self::SkipsBackward
                | Self::SkipsLocalSteps
                | Self::TrainsFewerTokens
                | Self::LowerPrecision
                | Self::ForgedReceipts
                | Self::ForgedLoss
                | Self::WrongPositions
        )
    }

    /// Whether validators cannot get its evidence.
    pub fn hides_evidence(self) -> bool {
        matches!(self, Self::RefusesEvidence | Self::LiesAboutEvidence)
    }

    /// Samples that it commits to, of so many done.
    pub fn claims(self, done: u32) -> u32 {
        match self {
            Self::ClaimsMoreSamples | Self::ForgedReceipts => done * 2,
            _ => done,
        }
    }

    /// The loss that a sample ends with where this miner started it (stage 0) or reports it (last stage).
    pub fn tells(self, loss: f64) -> f64 {
        match self {
            Self::WrongPositions => loss - 0.3,
            Self::ForgedLoss => loss * 0.8,
            _ => loss,
        }
    }

    /// Whether a sender gets it to take a sample, in this part (0 to 1) of the epoch and after so many of `fair`
    /// that others take.
    pub fn takes(self, from: Option<Self>, at: f64, taken: u32, fair: u32, draw: &mut Draw) -> bool {
        match self {
            Self::RefusesStrangers => from == Some(self),
            Self::SlowLoris => draw.below(2) == 0,
            Self::NeverTrains => false,
            Self::Straggler => f64::from(taken) <= f64::from(fair) / 5.0 * (at + 0.1),
            Self::Flapping => !(0.33..0.66).contains(&at),
            _ => true,
        }
    }
}

/// What a validator does wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ValidatorFault {
    /// Commits to what the honest revealed for the epoch before.
    CopiesScores,
    /// Gives everything to the miners with even uids.
    ScoresFriends,
    /// Gives everything to the lowest uid.
    SelfDeals,
    /// Never reveals.
    NotRevealing,
    /// Reveals an honest row under the root of a report that nobody ever sees.
    WithholdsReports,
    /// Scores one miner with nothing, accuses it, and calls it guilty.
    AccusesFalsely,
    /// Says of one miner that it cannot get its evidence.
    AsksForNothing,
}

/// All cheats of validators, in the order of the table.
pub const VALIDATOR_CHEATS: [ValidatorFault; 7] = [
    ValidatorFault::CopiesScores,
    ValidatorFault::ScoresFriends,
    ValidatorFault::SelfDeals,
    ValidatorFault::NotRevealing,
    ValidatorFault::WithholdsReports,
    ValidatorFault::AccusesFalsely,
    ValidatorFault::AsksForNothing,
];
