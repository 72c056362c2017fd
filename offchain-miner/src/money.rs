//! What a miner's owner does with money: first tokens from a test network's faucet, a look at what is
//! owed and what still vests, and taking it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Context};
use clap::Args;
use iota_chain::{At, Call, Submitter};
use iota_protocol::ids::{AccountKey, Epoch, RunId};
use iota_protocol::view::{OwedView, VestingView};
use iota_service::keys::Hotkey;
use iota_service::ss58;
pub use iota_worker::answer::tokens;
use iota_worker::answer::{waiting, Answer, Sign};
use iota_worker::command::Target;
use iota_worker::identity::coldkey_signer;
use iota_worker::onboard;
use serde_json::json;

use crate::config::MinerConfig;

/// Between two looks while waiting for pay: a few blocks; pay changes once in an epoch.
const LOOK: Duration = Duration::from_secs(3);

/// Arguments of `claim`.
#[derive(Args)]
pub struct Claim {
    #[command(flatten)]
    target: Target,
    /// Key file of the account that is owed; it also signs and pays the fee.
    #[arg(long)]
    coldkey: PathBuf,
    /// Wait until there is something to claim, instead of saying that there is nothing.
    #[arg(long)]
    wait: bool,
}

/// Arguments of `faucet`.
#[derive(Args)]
pub struct Faucet {
    #[command(flatten)]
    target: Target,
    /// Key file of the account that gets the tokens.
    #[arg(long)]
    coldkey: PathBuf,
}

/// Arguments of `status`.
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    target: Target,
}

impl Claim {
    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Makes claimable what has vested of the account's members, then takes it.
    ///
    /// # Errors
    /// When there is nothing to take, or the chain refuses.
    pub async fn run(&self, config: &MinerConfig, answer: Answer) -> anyhow::Result<()> {
        let coldkey = Hotkey::load(&self.coldkey)?;
        let chain = config.connect().await?;
        let account = AccountKey(coldkey.public());
        let submitter = Submitter::new(Arc::clone(&chain), coldkey_signer(coldkey));
        let sign = Sign::show(if self.wait { "waiting for pay" } else { "looking for pay" });
        loop {
            let at = chain.at_finalized().await?;
            let view = chain.holdings(account).await?;
            for member in due(&at, &view).await? {
                submitter.submit_finalized(&Call::release(member.run, member.incarnation)).await?;
            }
            let owed = chain.at_finalized().await?.owed(account).await?;
            if owed > 0 {
                submitter.submit_finalized(&Call::claim(account)).await?;
                drop(sign);
                let address = ss58::encode(&account.0);
                return answer.say(
                    format_args!("paid {} to {address}", tokens(owed)),
                    &json!({ "paid": owed.to_string(), "coldkey": address }),
                );
            }
            if !self.wait {
                bail!("{}", nothing(account, &view));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Members of whose record something may be released now.
async fn due(at: &At, view: &OwedView) -> anyhow::Result<Vec<VestingView>> {
    let mut due = Vec::new();
    for member in &view.members {
        let epoch = at.clock(member.run).await?.map_or(Epoch(0), |clock| clock.epoch);
        let entry = member.entry > 0 && member.entry_until.is_some_and(|until| until <= epoch);
        if member.vested > 0 || entry {
            due.push(*member);
        }
    }
    Ok(due)
}

fn nothing(account: AccountKey, view: &OwedView) -> String {
    let address = ss58::encode(&account.0);
    let unvested: u128 = view.members.iter().map(|member| member.unvested).sum();
    match unvested {
        0 => format!("{address} is owed nothing; pay for an epoch is credited when the next one closes"),
        _ => format!(
            "{address} may claim nothing now, and {} vest over the coming epochs; try again in the next, or add --wait",
            tokens(unvested)
        ),
    }
}

impl Faucet {
    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks, and waits for the tokens.
    ///
    /// # Errors
    /// When the chain has no faucet, or it gives nothing now.
    pub async fn run(&self, config: &MinerConfig, answer: Answer) -> anyhow::Result<()> {
        let account = AccountKey(Hotkey::load(&self.coldkey)?.public());
        let chain = config.connect().await?;
        let asking = chain.request_drip(account);
        let amount =
            waiting("working for the faucet, then waiting until its tokens are final", asking).await?;
        let address = ss58::encode(&account.0);
        answer.say(
            format_args!("{address} got {} from the faucet", tokens(amount)),
            &json!({ "got": amount.to_string(), "coldkey": address }),
        )
    }
}

impl Status {
    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Says where the run and this miner stand, and what its owner is owed.
    ///
    /// # Errors
    /// When the hotkey is not registered, or the node does not answer.
    pub async fn run(&self, config: &MinerConfig, answer: Answer) -> anyhow::Result<()> {
        let hotkey = Hotkey::load(&config.hotkey)?;
        let chain = config.connect().await?;
        let run = RunId(config.run);
        let at = chain.at_finalized().await?;
        let missing = || format!("run {run} does not exist on this chain");
        let (clock, params) = (at.clock(run).await?, at.run(run).await?);
        let (clock, params) = clock.zip(params).with_context(missing)?;
        let member = onboard::find_member(&chain, run, AccountKey(hotkey.public())).await?;
        let Some(member) = member else {
            bail!("hotkey {} is not registered in run {run}", hotkey.address());
        };
        let view = chain.holdings(member.coldkey).await?;
        let own = |m: &&VestingView| (m.run, m.incarnation) == (run, member.incarnation);
        let vesting = view.members.iter().find(own);
        let (schedule, head) = (clock.schedule(&params), at.head().number);
        let phase = schedule.phase_at(head);
        let left = schedule.window(phase).end.saturating_sub(head);
        let facts = json!({
            "block": head, "run": run, "state": clock.state, "epoch": clock.epoch,
            "phase": format!("{phase:?}"), "phase_blocks_left": left,
            "uid": member.uid, "incarnation": member.incarnation, "stage": member.stage,
            "weight": member.weight, "hotkey": hotkey.address(),
            "coldkey": ss58::encode(&member.coldkey.0), "claimable": view.claimable.to_string(),
            "vested": vesting.map_or(0, |v| v.vested).to_string(),
            "unvested": vesting.map_or(0, |v| v.unvested).to_string(),
            "entry_hold": vesting.map_or(0, |v| v.entry).to_string(),
        });
        let mut lines = vec![format!(
            "block {head}: run {run} is {:?}, epoch {}, {phase:?} for {left} more blocks",
            clock.state, clock.epoch
        )];
        let stage = member.stage.map_or("none yet".into(), |stage| stage.to_string());
        lines.push(format!(
            "uid {} incarnation {} stage {stage} weight {}",
            member.uid, member.incarnation, member.weight
        ));
        lines.push(format!(
            "coldkey {} may claim {}",
            ss58::encode(&member.coldkey.0),
            tokens(view.claimable)
        ));
        lines.extend(vesting.map(vests).unwrap_or_default());
        answer.say(lines.join("\n"), &facts)
    }
}

/// What of a member's pay is on its way, and what is on hold.
fn vests(vesting: &VestingView) -> Vec<String> {
    let mut lines = vec![format!(
        "this miner's pay: {} vested and not yet released, {} vests later",
        tokens(vesting.vested),
        tokens(vesting.unvested)
    )];
    if vesting.entry > 0 {
        let until = vesting.entry_until.map_or("its first pay has vested".into(), |e| format!("epoch {e}"));
        lines.push(format!("on hold since the registration: {}, until {until}", tokens(vesting.entry)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::emission::UNIT;
    use iota_protocol::ids::Incarnation;

    #[test]
    fn who_can_claim_nothing_hears_whether_something_is_on_its_way() {
        let account = AccountKey([7; 32]);
        assert!(nothing(account, &OwedView::default()).contains("is owed nothing"));
        let member = VestingView {
            run: RunId(0),
            incarnation: Incarnation(1),
            vested: 0,
            unvested: 3 * UNIT,
            entry: 0,
            entry_until: None,
        };
        let view = OwedView { claimable: 0, members: vec![member] };
        let text = nothing(account, &view);
        assert!(text.contains("3 tokens vest") && text.contains("--wait"), "{text}");
    }
}
