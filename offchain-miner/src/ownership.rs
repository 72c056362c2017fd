//! What an owner changes about a member: its hotkey, its coldkey, or that it is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{bail, Context};
use clap::{Args, Subcommand};
use iota_chain::{Call, Chain, Submitter};
use iota_protocol::hash::register_payload;
use iota_protocol::ids::{AccountKey, RunId};
use iota_protocol::view::MemberView;
use iota_service::keys::Hotkey;
use iota_service::ss58;
use iota_worker::answer::{waiting, Answer};
use iota_worker::command::Target;
use iota_worker::identity::{coldkey_signer, Identity};
use iota_worker::onboard;
use serde_json::json;

use crate::config::MinerConfig;

/// The member, by its hotkey, and who owns it.
#[derive(Args)]
pub struct Owned {
    #[command(flatten)]
    target: Target,
    /// Coldkey file of the owner, which signs and pays the fee.
    #[arg(long)]
    coldkey: PathBuf,
}

/// Arguments of `swap-hotkey`.
#[derive(Args)]
pub struct Swap {
    #[command(flatten)]
    owned: Owned,
    /// File of the hotkey that signs from the next epoch on; it consents by a signature.
    #[arg(long)]
    new_hotkey: PathBuf,
}

/// Changes of a member's owner.
#[derive(Subcommand)]
pub enum Coldkey {
    /// Name the account that may take this member over once the delay of five days is over.
    Announce {
        #[command(flatten)]
        owned: Owned,
        /// Its address.
        #[arg(long, value_parser = address)]
        to: AccountKey,
    },
    /// Take the announcement back.
    Cancel(Owned),
    /// Take over a member that was announced to this coldkey.
    TakeOver(Owned),
}

/// What owners can do.
pub enum Change {
    /// Give the seat up.
    Leave(Owned),
    /// Another hotkey.
    Swap(Swap),
    /// Another coldkey.
    Coldkey(Coldkey),
}

fn address(text: &str) -> Result<AccountKey, String> {
    ss58::decode(text).map(AccountKey).map_err(|error| error.to_string())
}

impl Change {
    fn owned(&self) -> &Owned {
        match self {
            Self::Leave(owned) | Self::Coldkey(Coldkey::Cancel(owned) | Coldkey::TakeOver(owned)) => owned,
            Self::Swap(swap) => &swap.owned,
            Self::Coldkey(Coldkey::Announce { owned, .. }) => owned,
        }
    }

    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.owned().target
    }

    /// Sends the change and waits until it is final.
    ///
    /// # Errors
    /// When the hotkey is no member, a key file cannot be read, or the chain refuses.
    pub async fn run(&self, config: &MinerConfig, answer: Answer) -> anyhow::Result<()> {
        let run = RunId(config.run);
        let coldkey = Hotkey::load(&self.owned().coldkey)?;
        let owner = AccountKey(coldkey.public());
        let hotkey = AccountKey(Hotkey::load(&config.hotkey)?.public());
        let chain = config.connect().await?;
        let member = onboard::find_member(&chain, run, hotkey).await?;
        let member = member.with_context(|| format!("hotkey {hotkey} is not registered in run {run}"))?;
        let (call, done) = self.call(&chain, run, &member, owner)?;
        let submitter = Submitter::new(Arc::clone(&chain), coldkey_signer(coldkey));
        waiting("waiting until the change is final", submitter.submit_finalized(&call)).await?;
        answer.say(
            format_args!("uid {} of run {run}: {done}", member.uid),
            &json!({ "run": run, "uid": member.uid, "done": done }),
        )
    }

    fn call(
        &self,
        chain: &Chain,
        run: RunId,
        member: &MemberView,
        owner: AccountKey,
    ) -> anyhow::Result<(Call, String)> {
        let uid = member.uid;
        let takes_over = matches!(self, Self::Coldkey(Coldkey::TakeOver(_)));
        if member.coldkey != owner && !takes_over {
            bail!("uid {uid} belongs to coldkey {}, not to {owner}; give its owner's file", member.coldkey);
        }
        Ok(match self {
            Self::Leave(_) => (Call::leave(run, uid), "leaves when the epoch closes".into()),
            Self::Swap(swap) => {
                let (new, proof) = consent(&swap.new_hotkey, chain, run, owner)?;
                let call = Call::swap_hotkey(run, uid, new, proof);
                (call, format!("hotkey {} signs from the next epoch on; start `run` with it and a new --data-dir then", ss58::encode(&new.0)))
            }
            Self::Coldkey(Coldkey::Announce { to, .. }) => {
                let done = format!("{} may take it over after five days of blocks", ss58::encode(&to.0));
                (Call::announce_coldkey(run, uid, *to), done)
            }
            Self::Coldkey(Coldkey::Cancel(_)) => (Call::cancel_coldkey(run, uid), "keeps its owner".into()),
            Self::Coldkey(Coldkey::TakeOver(_)) => {
                (Call::take_over(run, uid), format!("belongs to {}", ss58::encode(&owner.0)))
            }
        })
    }
}

/// The new hotkey and its consent to this owner.
fn consent(
    file: &Path,
    chain: &Chain,
    run: RunId,
    owner: AccountKey,
) -> anyhow::Result<(AccountKey, [u8; 64])> {
    let identity = Identity::new(Hotkey::load(file)?, chain.genesis(), run);
    let payload = register_payload(&chain.genesis(), run, &owner, &identity.public());
    Ok((identity.public(), identity.sign_raw(&payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_typing_error_is_no_owner() {
        let alice = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        assert_eq!(ss58::encode(&address(alice).unwrap().0), alice);
        assert!(address(&alice.replace('G', "H")).is_err());
    }
}
