//! Becoming a member: register a hotkey, bond, publish the endpoint. Every step is idempotent: it
//! reads the chain first and does only what is missing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Context};
use iota_chain::{Call, Chain, KeySigner, SubmitError, Submitter};
use iota_network::{Network, PeerKey, Reach};
use iota_protocol::hash::{register_payload, serve_payload};
use iota_protocol::ids::{parse_hex32, AccountKey, Hash, RunId};
use iota_protocol::params::RunParams;
use iota_protocol::view::MemberView;
use iota_protocol::work::{Endpoint, Role, MAX_ADDRESSES};
use serde_json::json;

use crate::answer::Answer;
use crate::identity::Identity;

/// Times that a registration is handed to a node.
const ATTEMPTS: u32 = 3;
/// Between two of them; two blocks of one second.
const BETWEEN: Duration = Duration::from_secs(2);
/// Before an address is published: AutoNAT tries every five seconds, and a place at a relay takes a few more. A
/// wrong address stands for an epoch.
const SETTLED: Duration = Duration::from_secs(15);

/// Connects to one of the nodes, to no other chain than that of `genesis` (64 hex digits), if one is told.
///
/// # Errors
/// When the genesis is no hash, or no node with it answers.
pub async fn connect(nodes: &str, genesis: Option<&str>) -> anyhow::Result<Arc<Chain>> {
    let hash =
        |text| parse_hex32(text).map(Hash).with_context(|| format!("genesis {text:?} is not 64 hex digits"));
    Ok(Chain::connect(nodes, genesis.map(hash).transpose()?).await?)
}

/// Whether members' addresses that point inwards are dialled: as the operator says, and otherwise on chains that
/// are for one machine or house, by what their spec says of them.
///
/// # Errors
/// When the node does not answer.
pub async fn private_addresses(chain: &Chain, told: Option<bool>) -> anyhow::Result<bool> {
    match told {
        Some(told) => Ok(told),
        None => Ok(chain.is_of_one_house().await?),
    }
}

/// Parameters of a run.
///
/// # Errors
/// When the run does not exist or the node does not answer.
pub async fn run_params(chain: &Chain, run: RunId) -> anyhow::Result<RunParams> {
    let params = chain.at_finalized().await?.run(run).await?;
    params.with_context(|| format!("run {run} does not exist on this chain"))
}

/// Finds the member that a hotkey is registered as.
///
/// # Errors
/// When the node does not answer.
pub async fn find_member(
    chain: &Chain,
    run: RunId,
    hotkey: AccountKey,
) -> anyhow::Result<Option<MemberView>> {
    let members = chain.at_finalized().await?.members(run).await?;
    Ok(members.into_iter().find(|member| member.hotkey == hotkey))
}

/// The member that a hotkey is registered as, in the role that the calling program plays.
///
/// # Errors
/// When it is not registered in that role, or the node does not answer.
pub async fn own_member(
    chain: &Chain,
    run: RunId,
    hotkey: AccountKey,
    role: Role,
) -> anyhow::Result<MemberView> {
    let member = find_member(chain, run, hotkey).await?;
    let Some(member) = member.filter(|member| member.role == role) else {
        let program = match role {
            Role::Miner => "iota-miner",
            Role::Validator => "iota-validator",
        };
        bail!("hotkey {hotkey} is not registered as a {role:?} in run {run}; use `{program} register`");
    };
    Ok(member)
}

/// Submits and waits for finality. A node that has just started refuses what is right for a moment, so that a
/// refusal counts only when it is repeated; what the chain itself refuses is final at once.
async fn hand_over(submitter: &Submitter, call: &Call) -> Result<(), SubmitError> {
    for attempt in 1..ATTEMPTS {
        match submitter.submit_finalized(call).await {
            Err(SubmitError::NotAccepted { reason, .. }) => tracing::debug!(attempt, reason, "trying again"),
            result => return result.map(drop),
        }
        tokio::time::sleep(BETWEEN).await;
    }
    submitter.submit_finalized(call).await.map(drop)
}

/// Registers the hotkey under a coldkey unless it is registered already; returns the member.
///
/// # Errors
/// When the price is above `max_price`, the coldkey cannot pay, the hotkey is registered in
/// another role or under another coldkey, or the node does not answer.
pub async fn register(
    chain: &Arc<Chain>,
    identity: &Identity,
    run: RunId,
    role: Role,
    coldkey: KeySigner,
    max_price: Option<u128>,
) -> anyhow::Result<MemberView> {
    let submitter = Submitter::new(Arc::clone(chain), coldkey);
    if let Some(member) = find_member(chain, run, identity.public()).await? {
        check_same(&member, role, submitter.account())?;
        return Ok(member);
    }
    let price = chain.at_finalized().await?.registration_price().await?;
    // Whoever registers in between raises the price by a twentieth; what is burned is the price.
    let max_price = max_price.unwrap_or_else(|| price.saturating_mul(2));
    if price > max_price {
        bail!("registration costs {price} now, above the maximum of {max_price}; raise --max-price or wait for the price to fall");
    }
    let payload = register_payload(&chain.genesis(), run, &submitter.account(), &identity.public());
    let call = Call::register(run, identity.public(), role, identity.sign_raw(&payload), max_price);
    hand_over(&submitter, &call).await?;
    find_member(chain, run, identity.public())
        .await?
        .context("registered, but without a seat yet: the run is full, and a member makes room when its epoch closes; run again then")
}

/// Says as whom a hotkey is registered.
///
/// # Errors
/// When the answer cannot be written.
pub fn say_registered(member: &MemberView, run: RunId, answer: Answer) -> anyhow::Result<()> {
    let MemberView { uid, incarnation, .. } = member;
    answer.say(
        format_args!("registered as uid {uid} (incarnation {incarnation}) in run {run}"),
        &json!({ "run": run, "uid": uid, "incarnation": incarnation }),
    )
}

fn check_same(member: &MemberView, role: Role, coldkey: AccountKey) -> anyhow::Result<()> {
    if member.role != role {
        bail!(
            "hotkey {} is already registered as {:?} with uid {}; use another hotkey",
            member.hotkey,
            member.role,
            member.uid
        );
    }
    if member.coldkey != coldkey {
        bail!(
            "hotkey {} is registered under coldkey {}, not {coldkey}; use that coldkey or another hotkey",
            member.hotkey,
            member.coldkey
        );
    }
    Ok(())
}

/// Publishes where the member can be reached, unless the chain already says so.
///
/// # Errors
/// When an address is too long or the chain refuses the call.
pub async fn serve(
    chain: &Chain,
    hotkey: &Submitter,
    run: RunId,
    member: &MemberView,
    endpoint: &Endpoint,
    peer: &PeerKey,
) -> anyhow::Result<()> {
    if member.endpoint.as_ref() == Some(endpoint) {
        return Ok(());
    }
    let payload = serve_payload(&chain.genesis(), &member.hotkey);
    let call = Call::serve(run, endpoint, peer.sign(&payload.0));
    if let Err(error) = hotkey.submit(&call).await {
        // Feeless once in an epoch; a second change must wait for the next one.
        tracing::warn!(%error, "endpoint not published; trying again in the next epoch");
    }
    Ok(())
}

/// Where others reach this member: what its owner announces, such as a forwarded port of a router; otherwise relays
/// that it has a place at because nobody gets through; otherwise where others got through, and what it listens on.
///
/// # Errors
/// When an address is none, or there are more or longer ones than the chain stores.
pub async fn endpoint(network: &Network, peer: &PeerKey, announce: &[String]) -> anyhow::Result<Endpoint> {
    let told = match announce {
        [] => reached(network.reach(), network.listen_addresses().await),
        given => given.to_vec(),
    };
    stored(peer, told)
}

/// The same once the network knows how it is reached: it is given time to find out where the chain lists another
/// address than this member would publish now, and somebody is there to tell.
///
/// # Errors
/// As [`endpoint`].
pub async fn settled_endpoint(
    network: &Network,
    peer: &PeerKey,
    announce: &[String],
    me: &MemberView,
    members: &[MemberView],
) -> anyhow::Result<Endpoint> {
    let now = endpoint(network, peer, announce).await?;
    let others = members.iter().any(|member| member.uid != me.uid && member.endpoint.is_some());
    if me.endpoint.as_ref() == Some(&now) || !others {
        return Ok(now);
    }
    let reach = network.settled_reach(SETTLED).await;
    tracing::info!(?reach, "how others reach this member");
    endpoint(network, peer, announce).await
}

fn reached(reach: Reach, own: Vec<String>) -> Vec<String> {
    match reach {
        Reach::Relayed(relays) => relays,
        Reach::Direct(seen) if seen.iter().any(|address| !own.contains(address)) => {
            let rest = own.into_iter().filter(|address| !seen.contains(address));
            let most = usize::try_from(MAX_ADDRESSES).unwrap_or(usize::MAX);
            seen.iter().cloned().chain(rest).take(most).collect()
        }
        // Nothing new: what is published stays as it is.
        Reach::Direct(_) | Reach::Unknown | Reach::Nowhere => own,
    }
}

fn stored(peer: &PeerKey, told: Vec<String>) -> anyhow::Result<Endpoint> {
    let mut addresses = Vec::new();
    for address in told {
        anyhow::ensure!(
            iota_network::is_address(&address),
            "{address:?} is no address; write /ip4/203.0.113.7/tcp/4001 or /dns4/NAME/tcp/4001"
        );
        let len = address.len();
        let bounded = address
            .into_bytes()
            .try_into()
            .map_err(|_| anyhow::anyhow!("listen address of {len} bytes is longer than the chain stores"))?;
        addresses.push(bounded);
    }
    let count = addresses.len();
    let addresses = addresses
        .try_into()
        .map_err(|_| anyhow::anyhow!("{count} listen addresses are more than the chain stores (5)"))?;
    Ok(Endpoint { peer: peer.public(), addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_published_only_where_nobody_gets_through() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let own = texts(&["/ip4/192.168.1.7/tcp/1", "/ip4/192.168.1.7/udp/1/quic-v1"]);
        assert_eq!(reached(Reach::Unknown, own.clone()), own);
        assert_eq!(reached(Reach::Nowhere, own.clone()), own);
        let relays = texts(&["/ip4/8.8.8.8/udp/1/quic-v1/p2p/12D3KooWRelay/p2p-circuit"]);
        assert_eq!(reached(Reach::Relayed(relays.clone()), own.clone()), relays);
        let seen = texts(&["/ip4/8.8.4.4/udp/7/quic-v1", "/ip4/192.168.1.7/tcp/1"]);
        assert_eq!(
            reached(Reach::Direct(seen.clone()), own.clone()),
            [seen[0].clone(), seen[1].clone(), own[1].clone()]
        );
        assert_eq!(reached(Reach::Direct(own[1..].to_vec()), own.clone()), own, "nothing new");
        let many: Vec<String> = (0..9).map(|port| format!("/ip4/8.8.4.4/tcp/{port}")).collect();
        assert_eq!(reached(Reach::Direct(many), own).len(), 5);
    }

    #[test]
    fn what_is_announced_has_to_be_an_address_and_fit_the_chain() {
        let peer = PeerKey::from_seed([3; 32]);
        let told = |addresses: &[&str]| stored(&peer, addresses.iter().map(|a| (*a).to_owned()).collect());
        let endpoint = told(&["/ip4/203.0.113.7/tcp/4001", "/dns4/miner.example/udp/4001/quic-v1"]).unwrap();
        assert_eq!(endpoint.peer, peer.public());
        assert_eq!(endpoint.addresses[0].to_vec(), b"/ip4/203.0.113.7/tcp/4001");
        assert!(told(&["203.0.113.7:4001"]).unwrap_err().to_string().contains("is no address"));
        assert!(told(&["/ip4/203.0.113.7/tcp/4001"; 6])
            .unwrap_err()
            .to_string()
            .contains("more than the chain"));
    }
}
