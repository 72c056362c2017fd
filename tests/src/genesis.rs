//! The chain spec of a devnet: the node's own preset, with our accounts and our run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context};
use iota_protocol::params::RunParams;
use iota_service::ss58;
use serde_json::{json, Value};

/// What each coldkey starts with: a registration, a bond and fees many times over (9 decimals).
pub const ENDOWMENT: u64 = 10_000_000_000_000;
/// The faucet's account: the pallet id of the runtime, as every Substrate chain turns one into an account.
const FAUCET: &[u8; 12] = b"modliota/fct";
/// What the faucet begins with: a hundred drips.
const FAUCET_FUND: u64 = 100 * ENDOWMENT;
/// Zero bits of a request's work: some thousand hashes, because nobody attacks a devnet.
const FAUCET_BITS: u32 = 12;
/// Drips in a block: everybody on this machine may begin at once.
const FAUCET_PER_BLOCK: u32 = 16;
/// Blocks between two drips to one account.
const FAUCET_COOLDOWN: u32 = 60;
/// Names of the development keys, in the order in which they become authorities.
pub const AUTHORITIES: [&str; 3] = ["alice", "bob", "charlie"];

/// Writes the spec and returns its path.
///
/// # Errors
/// When the node cannot write its preset or the preset has another shape than expected.
pub fn write(
    node: &Path,
    dir: &Path,
    authorities: u16,
    params: &RunParams,
    coldkeys: &[[u8; 32]],
) -> anyhow::Result<PathBuf> {
    let preset = if authorities == 1 { "dev" } else { "local" };
    let output = Command::new(node)
        .args(["export-chain-spec", "--chain", preset])
        .output()
        .context("running iota-node export-chain-spec")?;
    if !output.status.success() {
        bail!("iota-node export-chain-spec failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut spec: Value = serde_json::from_slice(&output.stdout).context("the chain spec is not JSON")?;
    let patch = spec
        .pointer_mut("/genesis/runtimeGenesis/patch")
        .context("the chain spec has no /genesis/runtimeGenesis/patch")?;
    patch["iota"] = json!({ "runs": [params] });
    let balances = patch["balances"]["balances"].as_array_mut().context("the preset endows nobody")?;
    balances.extend(coldkeys.iter().map(|key| json!([ss58::encode(key), ENDOWMENT])));
    let mut faucet = [0; 32];
    faucet[..FAUCET.len()].copy_from_slice(FAUCET);
    balances.push(json!([ss58::encode(&faucet), FAUCET_FUND]));
    patch["faucet"] = json!({ "terms": {
        "drip": ENDOWMENT, "cooldown": FAUCET_COOLDOWN, "per_block": FAUCET_PER_BLOCK, "difficulty": FAUCET_BITS,
    } });
    limit_authorities(patch, authorities)?;
    let path = dir.join("chain-spec.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&spec)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The local preset has three authorities; a devnet of two uses the first two of them.
fn limit_authorities(patch: &mut Value, authorities: u16) -> anyhow::Result<()> {
    for list in ["/session/keys", "/governance/authorities"] {
        let list = patch
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .with_context(|| format!("the preset has no {list}"))?;
        if list.len() < usize::from(authorities) {
            bail!("--authorities {authorities}: the preset has keys for {} only", list.len());
        }
        list.truncate(usize::from(authorities));
    }
    Ok(())
}
