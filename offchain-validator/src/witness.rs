//! What a validator must remember of an epoch to score it later: who its members were, with which
//! pathway weights, and the clock. Written to disk at the epoch's first block that is seen.

use std::path::{Path, PathBuf};

use anyhow::Context;
use codec::{Decode, Encode};
use iota_protocol::ids::{Epoch, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::routes::Routing;
use iota_protocol::view::{ClockView, MemberView};
use iota_protocol::work::Role;
use iota_service::journal::atomic_write;
use iota_worker::session::{pathway_weight, RunSnapshot};

/// An epoch as it started.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Witness {
    /// Its clock.
    pub clock: ClockView,
    /// Its members.
    pub members: Vec<MemberView>,
    /// The run's parameters in it.
    pub params: RunParams,
}

fn path(dir: &Path, epoch: Epoch) -> PathBuf {
    dir.join(format!("witness-{epoch}"))
}

impl Witness {
    /// Remembers an epoch, unless it is remembered already.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn keep(dir: &Path, view: &RunSnapshot) -> anyhow::Result<()> {
        let path = path(dir, view.epoch());
        if path.exists() {
            return Ok(());
        }
        let params = (*view.params).clone();
        let witness = Self { clock: view.clock.clone(), members: view.members.to_vec(), params };
        atomic_write(&path, &witness.encode()).with_context(|| format!("writing {}", path.display()))
    }

    /// Recalls an epoch; nothing when this validator was not there.
    #[must_use]
    pub fn recall(dir: &Path, epoch: Epoch) -> Option<Self> {
        let bytes = std::fs::read(path(dir, epoch)).ok()?;
        Self::decode(&mut bytes.as_slice()).ok()
    }

    /// Miners of a stage in uid order.
    pub fn miners(&self, stage: Stage) -> impl Iterator<Item = &MemberView> {
        self.members.iter().filter(move |m| m.role == Role::Miner && m.stage == Some(stage))
    }

    /// Miners of a stage with their pathway weights.
    #[must_use]
    pub fn weights(&self, stage: Stage) -> Vec<(Uid, u32)> {
        self.miners(stage).map(|m| (m.uid, m.weight)).collect()
    }

    /// By what senders chose: the orders that their samples followed, relays counted.
    #[must_use]
    pub fn routing(&self, params: &RunParams) -> Routing {
        let stage = |stage| self.miners(Stage(stage)).map(|m| (m.uid, pathway_weight(m))).collect();
        Routing { seed: self.clock.train_seed, stages: (0..params.n_stages()).map(stage).collect() }
    }

    /// Uids of every stage, in stage order.
    #[must_use]
    pub fn stages(&self, params: &RunParams) -> Vec<Vec<Uid>> {
        (0..params.n_stages()).map(|stage| self.miners(Stage(stage)).map(|m| m.uid).collect()).collect()
    }

    /// A member by uid.
    #[must_use]
    pub fn member(&self, uid: Uid) -> Option<&MemberView> {
        self.members.iter().find(|member| member.uid == uid)
    }
}
