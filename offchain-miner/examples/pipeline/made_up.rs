//! What a chain would say of the members of a measurement, and keys that all its processes can make.

use std::sync::Arc;

use anyhow::Context;
use iota_miner::gauges::Gauges;
use iota_miner::meter::WireMeter;
use iota_miner::store::Store;
use iota_miner::train::EpochContext;
use iota_network::{Network, PeerKey};
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::MemberView;
use iota_protocol::work::{Endpoint, Role};
use iota_service::keys::Hotkey;
use iota_worker::identity::Identity;
use tokio::sync::mpsc;

/// The run that is measured.
pub const RUN: RunId = RunId(0);

/// A member's first epoch.
///
/// # Errors
/// When it is no member or has no stage.
pub fn context(
    params: &Arc<RunParams>,
    uid: Uid,
    members: Arc<Vec<MemberView>>,
    network: Network,
    store: &Arc<Store>,
) -> anyhow::Result<EpochContext> {
    let me = members.get(usize::from(uid.0)).with_context(|| format!("uid {uid} is no member"))?.clone();
    // Nobody contradicts himself here, so nobody listens.
    let (proofs, _) = mpsc::channel(1);
    Ok(EpochContext {
        run: RUN,
        params: Arc::clone(params),
        epoch: Epoch(0),
        stage: me.stage.context("the member has no stage")?,
        identity: identity(uid.0),
        me,
        train_seed: Hash([5; 32]),
        data_base: 0,
        tokens: 0,
        members,
        network,
        store: Arc::clone(store),
        dataset: None,
        fault: None,
        proofs,
        meter: WireMeter::default(),
        gauges: Gauges::default(),
        most_open: iota_miner::memory::MOST_OPEN,
    })
}

/// Miners at these addresses, of these stages.
///
/// # Errors
/// When an address is longer than the chain takes.
pub fn members(addresses: &[String], stages: &[Stage]) -> anyhow::Result<Vec<MemberView>> {
    (0u16..).zip(addresses.iter().zip(stages)).map(|(uid, (at, stage))| member(uid, at, *stage)).collect()
}

fn member(uid: u16, address: &str, stage: Stage) -> anyhow::Result<MemberView> {
    let text = address.as_bytes().to_vec();
    let text = text.try_into().map_err(|_| anyhow::anyhow!("address {address} is too long for the chain"))?;
    let addresses = vec![text].try_into().map_err(|_| anyhow::anyhow!("too many addresses"))?;
    Ok(MemberView {
        uid: Uid(uid),
        incarnation: Incarnation(u32::from(uid)),
        hotkey: identity(uid).public(),
        coldkey: AccountKey([0; 32]),
        role: Role::Miner,
        stage: Some(stage),
        endpoint: Some(Endpoint { peer: peer_key(uid).public(), addresses }),
        weight: 1_000,
        bond: 0,
        registered_at: 0,
    })
}

/// The libp2p key of a member.
pub fn peer_key(uid: u16) -> PeerKey {
    PeerKey::from_seed(seed(101, uid))
}

fn identity(uid: u16) -> Identity {
    Identity::new(Hotkey::from_seed(seed(1, uid)), Hash([1; 32]), RUN)
}

fn seed(first: u8, uid: u16) -> [u8; 32] {
    let mut seed = [first; 32];
    [seed[0], seed[1]] = uid.to_le_bytes();
    seed
}
