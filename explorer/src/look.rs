//! One look at a block: everything that the explorer keeps of it, read before anything is written.
//!
//! The clock and the issuance are read at every block. The rest is read only where it can have
//! changed: at blocks with an event of ours, at the change of an epoch, and after a gap.

use std::collections::BTreeSet;

use iota_chain::{AccountFunds, Block, ChainEvent, Funds, Head, Vesting};
use iota_protocol::court::CourtView;
use iota_protocol::ids::{AccountKey, Epoch, RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::view::{ClockView, EpochReportView, MergeView, RunState, ScoreView, SnapshotView};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::member::Member;
use crate::source::{Read, Source};

/// Our pallet's name in events.
pub const PALLET: &str = "Iota";
/// Epochs before the current one whose snapshot and scores may still change or be kept: the chain
/// keeps three.
const RECENT: u32 = 2;
/// Epochs whose reports the chain keeps; after a gap all of them are asked for.
const REPORTS_KEPT: u32 = 64;

/// What the store knows before the look.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Runs, with the epoch that each was in.
    pub runs: Vec<(RunId, Epoch)>,
    /// The block before is in the store with its state.
    pub continuous: bool,
}

/// Everything that one block tells.
#[derive(Clone, Debug)]
pub struct Look {
    /// The block.
    pub block: Block,
    /// Total issuance; `None` where the node has dropped the state.
    pub issuance: Option<u128>,
    /// The runs.
    pub runs: Vec<RunLook>,
}

/// One run at a block.
#[derive(Clone, Debug)]
pub struct RunLook {
    /// Its clock, with its id.
    pub clock: ClockView,
    /// Its parameters.
    pub params: RunParams,
    /// What changed, where something can have.
    pub detail: Option<Detail>,
}

/// Members and recent epochs of a run.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Members in uid order.
    pub members: Vec<Member>,
    /// The current epoch and those before it.
    pub epochs: Vec<EpochLook>,
    /// What vests and what may be claimed, where an epoch began or was paid.
    pub holdings: Option<Holdings>,
}

/// What members have, and what they have earned and not claimed.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// By member.
    pub vestings: Vec<Vesting>,
    /// By hotkey and coldkey of members, and by owner of what vests.
    pub accounts: Vec<AccountFunds>,
}

/// One epoch at a block. What the chain has not yet or no more is absent.
#[derive(Clone, Debug, Default)]
pub struct EpochLook {
    /// The epoch.
    pub epoch: Epoch,
    /// Merges in stage order; empty where none was read.
    pub merges: Vec<Option<MergeView>>,
    /// Who may be paid.
    pub snapshot: Option<SnapshotView>,
    /// Commits and reveals.
    pub scores: Vec<ScoreView>,
    /// Accusations, requests and held pay; `None` where there are none.
    pub court: Option<CourtView>,
    /// Emission.
    pub report: Option<EpochReportView>,
    /// Sums over accounts and a proof, read in the block that paid the epoch.
    pub paid: Option<Paid>,
}

/// What is read once, in the block that pays an epoch.
#[derive(Clone, Debug)]
pub struct Paid {
    /// What was held and owed.
    pub money: Money,
    /// Trie nodes that prove what was paid, under the block's state root.
    pub proof: Vec<Vec<u8>>,
}

/// What was held and owed in the block that paid an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Money {
    /// Sums over all accounts.
    pub funds: Funds,
    /// What each owner of a paid member may claim.
    pub claims: Vec<Claim>,
}

/// What an account may claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Who.
    pub coldkey: AccountKey,
    /// Smallest units.
    pub amount: u128,
}

/// Looks at a block.
///
/// # Errors
/// When the node does not answer. Nothing was written; look again.
pub async fn look<S: Source>(source: &S, number: u32, known: &Known) -> Read<Look> {
    let block = source.block(number).await?;
    let Some(content) = block.content.as_ref() else {
        return Ok(Look { block, issuance: None, runs: Vec::new() });
    };
    let at = block.head;
    let issuance = source.issuance(at).await?;
    let mut runs = Vec::new();
    for id in 0.. {
        let run = RunId(id);
        let before = known.runs.iter().find(|(known, _)| *known == run).map(|(_, epoch)| *epoch);
        let created = content.events.iter().any(|event| event.pallet == PALLET && event.name == "RunCreated");
        // Ids are dense: after the last known one there is one more only where one was made.
        if before.is_none() && known.continuous && !created {
            break;
        }
        let (Some(params), Some(clock)) = (source.run(at, run).await?, source.clock(at, run).await?) else {
            break;
        };
        let changed = content.events.iter().any(|event| concerns(event, run));
        let full = before.is_none() || !known.continuous;
        let detail = if full || changed || before != Some(clock.epoch) {
            let settled = content.events.iter().any(|e| concerns(e, run) && e.name == "EpochSettled");
            let begun = full || settled || before != Some(clock.epoch);
            Some(detail(source, at, &params, &clock, Scope { full, begun }).await?)
        } else {
            None
        };
        runs.push(RunLook { clock, params, detail });
    }
    Ok(Look { block, issuance: Some(issuance), runs })
}

/// Whether an event of ours names the run.
#[must_use]
pub fn concerns(event: &ChainEvent, run: RunId) -> bool {
    event.pallet == PALLET && number(&event.fields, "run") == Some(run.0)
}

/// A whole-number field of an event.
#[must_use]
pub fn number(fields: &Json, name: &str) -> Option<u32> {
    fields.get(name)?.as_str()?.parse().ok()
}

/// How much a detail takes in.
struct Scope {
    /// Everything that the chain still has, because it is not known what happened before.
    full: bool,
    /// An epoch began or was paid.
    begun: bool,
}

async fn detail<S: Source>(
    source: &S,
    at: Head,
    params: &RunParams,
    clock: &ClockView,
    scope: Scope,
) -> Read<Detail> {
    let members: Vec<Member> = source.members(at, clock.run).await?.iter().map(Member::from).collect();
    let holdings = if scope.begun { Some(holdings(source, at, clock.run, &members).await?) } else { None };
    let mut epochs = Vec::new();
    if clock.state != RunState::Waiting {
        let reach = if scope.full { REPORTS_KEPT } else { RECENT };
        for number in clock.epoch.0.saturating_sub(reach)..=clock.epoch.0 {
            epochs.push(epoch(source, at, params, clock, Epoch(number)).await?);
        }
    }
    Ok(Detail { members, epochs, holdings })
}

async fn holdings<S: Source>(source: &S, at: Head, run: RunId, members: &[Member]) -> Read<Holdings> {
    let vestings = source.vestings(at, run).await?;
    let keys = members.iter().flat_map(|member| [member.coldkey, member.hotkey]);
    let all: BTreeSet<_> = keys.chain(vestings.iter().map(|own| own.coldkey)).collect();
    let accounts = source.accounts(at, &all.into_iter().collect::<Vec<_>>()).await?;
    Ok(Holdings { vestings, accounts })
}

async fn epoch<S: Source>(
    source: &S,
    at: Head,
    params: &RunParams,
    clock: &ClockView,
    epoch: Epoch,
) -> Read<EpochLook> {
    let run = clock.run;
    let mut look = EpochLook { epoch, report: source.report(at, run, epoch).await?, ..EpochLook::default() };
    if clock.epoch.0.saturating_sub(epoch.0) <= RECENT {
        for stage in 0..params.n_stages() {
            look.merges.push(source.merge(at, run, epoch, Stage(stage)).await?);
        }
        look.snapshot = source.snapshot(at, run, epoch).await?;
        look.scores = source.scores(at, run, epoch).await?;
        look.court = Some(source.court(at, run, epoch).await?).filter(|court| !court.is_empty());
    }
    if let Some(report) = look.report.as_ref().filter(|report| report.block == at.number) {
        look.paid = Some(paid(source, at, run, report).await?);
    }
    Ok(look)
}

async fn paid<S: Source>(source: &S, at: Head, run: RunId, report: &EpochReportView) -> Read<Paid> {
    let owners = payees(report);
    let claims = source.accounts(at, &owners).await?;
    let claims = claims.iter().map(|own| Claim { coldkey: own.account, amount: own.claimable }).collect();
    let keys = crate::audit::proof::keys(run, report.epoch, &owners);
    Ok(Paid { money: Money { funds: source.funds(at).await?, claims }, proof: source.proof(at, keys).await? })
}

/// Owners of the members that an epoch paid, each once, in the order of their keys.
#[must_use]
pub fn payees(report: &EpochReportView) -> Vec<AccountKey> {
    let owners: BTreeSet<_> = report.payouts.iter().map(|payout| payout.coldkey).collect();
    owners.into_iter().collect()
}
