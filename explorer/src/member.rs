//! A member as the explorer keeps and shows it. Texts that strangers wrote stay texts: what is no
//! UTF-8 is replaced, nothing is interpreted.

use iota_protocol::ids::{AccountKey, Hash, Incarnation, Stage, Uid};
use iota_protocol::view::MemberView;
use iota_protocol::work::Role;
use serde::{Deserialize, Serialize};

/// A member of a run at one block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Index within the run.
    pub uid: Uid,
    /// Its registration; never used again.
    pub incarnation: Incarnation,
    /// Signs work.
    pub hotkey: AccountKey,
    /// Owns and receives.
    pub coldkey: AccountKey,
    /// Miner or validator.
    pub role: Role,
    /// The stage that a miner holds.
    pub stage: Option<Stage>,
    /// ed25519 key of its peer, once it has published where it is.
    pub peer: Option<Hash>,
    /// Where it says that it can be reached.
    pub addresses: Vec<String>,
    /// Decides how many samples prefer it.
    pub weight: u32,
    /// Bond of a validator, smallest units.
    pub bond: u128,
    /// Block of registration.
    pub registered_at: u32,
}

impl From<&MemberView> for Member {
    fn from(view: &MemberView) -> Self {
        let addresses = view.endpoint.iter().flat_map(|endpoint| &endpoint.addresses);
        Self {
            uid: view.uid,
            incarnation: view.incarnation,
            hotkey: view.hotkey,
            coldkey: view.coldkey,
            role: view.role,
            stage: view.stage,
            peer: view.endpoint.as_ref().map(|endpoint| Hash(endpoint.peer)),
            addresses: addresses.map(|address| String::from_utf8_lossy(address).into_owned()).collect(),
            weight: view.weight,
            bond: view.bond,
            registered_at: view.registered_at,
        }
    }
}

/// Uids of every stage in uid order: what CLASP runs over.
#[must_use]
pub fn stages(members: &[Member], n_stages: u16) -> Vec<Vec<Uid>> {
    let of = |stage| members.iter().filter(move |member| member.stage == Some(stage));
    (0..n_stages).map(|stage| of(Stage(stage)).map(|member| member.uid).collect()).collect()
}
