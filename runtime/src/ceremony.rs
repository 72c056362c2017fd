//! What the founders of a network bring together, and the genesis that follows from it.
//!
//! Only programs with `std` read this: the chain itself never sees a ceremony. [`Ceremony::genesis`]
//! puts keys, admin and runs into a preset and refuses what would make the network unsafe.

use std::{collections::BTreeSet, fmt};

use iota_protocol::{
    params::{ParamsError, RunParams},
    phase::Schedule,
};
use polkadot_sdk::{
    sp_consensus_aura::sr25519::AuthorityId as AuraId,
    sp_consensus_grandpa::AuthorityId as GrandpaId,
    sp_core::crypto::ByteArray,
    sp_keyring::{Ed25519Keyring, Sr25519Keyring},
};
use serde::Deserialize;
use serde_json::{json, Value};

use crate::{
    genesis::{self, multisig, PRODUCTION_RUNTIME_PRESET, TESTNET_LEAST_EPOCH, TESTNET_RUNTIME_PRESET},
    AccountId, SessionKeys,
};

/// An authority of the first session. The secret keys never leave its machine.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its account: takes fees, changes keys.
    pub account: AccountId,
    /// Authors blocks.
    pub aura: AuraId,
    /// Votes for finality.
    pub grandpa: GrandpaId,
}

/// What a network is for.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To try things: a faucet gives tokens to whoever asks.
    #[default]
    Testnet,
    /// Its token is worth something: no faucet, and one authority may fail.
    Production,
}

impl Kind {
    fn preset(self) -> &'static str {
        match self {
            Self::Testnet => TESTNET_RUNTIME_PRESET,
            Self::Production => PRODUCTION_RUNTIME_PRESET,
        }
    }

    /// Fewest authorities. Finality takes more than two thirds of them: four bear the loss of one, three of none.
    fn least_authorities(self) -> usize {
        match self {
            Self::Testnet => 1,
            Self::Production => 4,
        }
    }
}

/// Everything that a public network needs and no preset can hold.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Ceremony {
    /// Name for people.
    pub name: String,
    /// Name for folders and network protocols; no two networks share one.
    pub id: String,
    /// What the network is for; a test network if it is not said.
    #[serde(default)]
    pub kind: Kind,
    /// Who authors and finalizes from the first block on.
    pub authorities: Vec<Authority>,
    /// Who together are the admin.
    pub signatories: Vec<AccountId>,
    /// How many of them it takes: more than half.
    pub threshold: u16,
    /// Accounts that exist from the first block on, with what they hold in the smallest unit.
    pub balances: Vec<(AccountId, u64)>,
    /// Runs that exist from the first block on.
    #[serde(default)]
    pub runs: Vec<RunParams>,
    /// Where new nodes find the network, as multiaddresses with peer ids.
    #[serde(default)]
    pub boot_nodes: Vec<String>,
}

/// Why a ceremony makes no network.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CeremonyError {
    /// Nobody would author blocks, or the loss of one authority would halt a network of that kind.
    TooFewAuthorities {
        /// How many there are.
        authorities: usize,
        /// Fewest that the network's kind takes.
        least: usize,
    },
    /// An account or a key stands twice where it may stand once.
    Duplicate(String),
    /// The secret of this key is known to everybody.
    WellKnown(String),
    /// A multisig has at least two signatories, and the threshold is more than half of them.
    Threshold {
        /// Asked for.
        threshold: u16,
        /// How many there are.
        signatories: usize,
    },
    /// The run contradicts itself.
    Run {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        reason: ParamsError,
    },
    /// The run's epochs are shorter than a public network takes.
    ShortEpoch {
        /// Its place in the list.
        index: usize,
        /// Its blocks.
        blocks: u32,
    },
}

impl fmt::Display for CeremonyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewAuthorities { authorities, least } => {
                write!(f, "{authorities} authorities are named; expected at least {least}")
            }
            Self::Duplicate(key) => {
                write!(f, "{key} stands twice; give each authority and signatory its own")
            }
            Self::WellKnown(key) => {
                write!(f, "everybody knows the secret of {key}; make a key with `iota-node key generate`")
            }
            Self::Threshold { threshold, signatories } => write!(
                f,
                "threshold {threshold} of {signatories} signatories; expected at least two signatories and \
                 more than half of them"
            ),
            Self::Run { index, reason } => write!(f, "run {index}: {reason:?}; correct its parameters"),
            Self::ShortEpoch { index, blocks } => write!(
                f,
                "run {index}: an epoch of {blocks} blocks; expected at least {TESTNET_LEAST_EPOCH}, give \
                 phases.train more"
            ),
        }
    }
}

impl std::error::Error for CeremonyError {}

impl Ceremony {
    /// The genesis of the network, as a patch of the default configuration.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub fn genesis(&self) -> Result<Value, CeremonyError> {
        self.check_authorities()?;
        self.check_admin()?;
        for (account, _) in &self.balances {
            unknown(account)?;
        }
        self.check_runs()?;
        let mut patch = preset(self.kind);
        let keys = |authority: &Authority| {
            let keys = SessionKeys { aura: authority.aura.clone(), grandpa: authority.grandpa.clone() };
            (authority.account.clone(), authority.account.clone(), keys)
        };
        let accounts = |authority: &Authority| authority.account.clone();
        patch["session"] = json!({ "keys": self.authorities.iter().map(keys).collect::<Vec<_>>() });
        patch["governance"]["authorities"] = json!(self.authorities.iter().map(accounts).collect::<Vec<_>>());
        patch["governance"]["admin"] = json!(multisig(&self.signatories, self.threshold));
        let mut balances = patch["balances"]["balances"].as_array().cloned().unwrap_or_default();
        balances.extend(self.balances.iter().map(|entry| json!(entry)));
        patch["balances"]["balances"] = json!(balances);
        patch["iota"] = json!({ "runs": self.runs });
        Ok(patch)
    }

    fn check_authorities(&self) -> Result<(), CeremonyError> {
        let (authorities, least) = (self.authorities.len(), self.kind.least_authorities());
        if authorities < least {
            return Err(CeremonyError::TooFewAuthorities { authorities, least });
        }
        let mut seen = BTreeSet::new();
        for authority in &self.authorities {
            unknown(&authority.account)?;
            unknown(&authority.aura)?;
            unknown(&authority.grandpa)?;
            once(&mut seen, ("account", &authority.account))?;
            once(&mut seen, ("aura", &authority.aura))?;
            once(&mut seen, ("grandpa", &authority.grandpa))?;
        }
        Ok(())
    }

    fn check_admin(&self) -> Result<(), CeremonyError> {
        let mut seen = BTreeSet::new();
        for signatory in &self.signatories {
            unknown(signatory)?;
            once(&mut seen, ("signatory", signatory))?;
        }
        let signatories = self.signatories.len();
        let threshold = usize::from(self.threshold);
        if signatories < 2 || threshold > signatories || threshold.saturating_mul(2) <= signatories {
            return Err(CeremonyError::Threshold { threshold: self.threshold, signatories });
        }
        Ok(())
    }

    fn check_runs(&self) -> Result<(), CeremonyError> {
        for (index, run) in self.runs.iter().enumerate() {
            run.validate().map_err(|reason| CeremonyError::Run { index, reason })?;
            let blocks = Schedule::new(&run.phases, false, 0, 0).next_start();
            if blocks < TESTNET_LEAST_EPOCH {
                return Err(CeremonyError::ShortEpoch { index, blocks });
            }
        }
        Ok(())
    }
}

/// The preset of such networks; the runtime wrote it itself.
fn preset(kind: Kind) -> Value {
    let bytes = genesis::get(&kind.preset().into()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({}))
}

fn once<K: ByteArray + fmt::Display>(
    seen: &mut BTreeSet<(&'static str, Vec<u8>)>,
    (kind, key): (&'static str, &K),
) -> Result<(), CeremonyError> {
    if seen.insert((kind, key.to_raw_vec())) {
        Ok(())
    } else {
        Err(CeremonyError::Duplicate(format!("{kind} {key}")))
    }
}

/// Refuses keys whose secrets everybody knows.
fn unknown<K: ByteArray + fmt::Display>(key: &K) -> Result<(), CeremonyError> {
    let raw = key.as_slice();
    let sr25519 = Sr25519Keyring::iter().any(|known| known.public().as_slice() == raw);
    let ed25519 = Ed25519Keyring::iter().any(|known| known.public().as_slice() == raw);
    if sr25519 || ed25519 {
        Err(CeremonyError::WellKnown(key.to_string()))
    } else {
        Ok(())
    }
}
