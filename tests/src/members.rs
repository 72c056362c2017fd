//! Keys, registration and command lines of the devnet's members.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use iota_chain::{Call, Chain, Submitter};
use iota_protocol::ids::{AccountKey, RunId};
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_worker::identity::{coldkey_signer, Identity};
use iota_worker::onboard;

/// Bond of each devnet validator, in the smallest unit: well above the minimum.
pub const BOND: u128 = 2_000_000_000_000;

/// One member to be: its keys and its folder.
#[derive(Clone, Debug)]
pub struct Member {
    /// `miner-0`, `validator-1`.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its folder.
    pub dir: PathBuf,
    /// Public hotkey.
    pub hotkey: AccountKey,
    /// Public coldkey.
    pub coldkey: AccountKey,
}

impl Member {
    /// Makes the folder and both key files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn create(base: &Path, name: String, role: Role) -> anyhow::Result<Self> {
        let dir = base.join(&name);
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let (hotkey, coldkey) = (Hotkey::generate(), Hotkey::generate());
        hotkey.save(&dir.join("hotkey.json"))?;
        coldkey.save(&dir.join("coldkey.json"))?;
        let (hotkey, coldkey) = (AccountKey(hotkey.public()), AccountKey(coldkey.public()));
        Ok(Self { name, role, dir, hotkey, coldkey })
    }

    /// Folder of journals and reports.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Registers the hotkey, and bonds a validator.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn register(&self, chain: &Arc<Chain>, run: RunId) -> anyhow::Result<()> {
        let hotkey = Hotkey::load(&self.dir.join("hotkey.json"))?;
        let coldkey = Hotkey::load(&self.dir.join("coldkey.json"))?;
        let identity = Identity::new(hotkey, chain.genesis(), run);
        let signer = coldkey_signer(coldkey);
        // All members register at once, and each raises the price for the next: any price will do.
        let any_price = Some(u128::MAX);
        let member = onboard::register(chain, &identity, run, self.role, signer.clone(), any_price)
            .await
            .with_context(|| format!("registering {}", self.name))?;
        if self.role == Role::Validator {
            let submitter = Submitter::new(Arc::clone(chain), signer);
            submitter
                .submit_finalized(&Call::bond(run, member.uid, BOND))
                .await
                .with_context(|| format!("bonding {}", self.name))?;
        }
        Ok(())
    }

    /// Arguments of its program.
    #[must_use]
    pub fn args(&self, node: &str, genesis: &str, dataset: &Path, listen: Ipv4Addr) -> Vec<String> {
        let mut args: Vec<String> =
            ["run", "--nice", "--node", node, "--genesis", genesis].map(String::from).into();
        let mut path = |flag: &str, value: &Path| args.extend([flag.to_owned(), value.display().to_string()]);
        path("--hotkey", &self.dir.join("hotkey.json"));
        path("--data-dir", &self.data_dir());
        path("--dataset", dataset);
        args.extend(["--listen".into(), format!("/ip4/{listen}/tcp/0")]);
        args
    }
}
