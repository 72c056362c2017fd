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
/// Names of the development keys, in the order in which they become authorities; the presets have the
/// first three.
pub const AUTHORITIES: [&str; 4] = ["alice", "bob", "charlie", "dave"];
/// Public keys of Alice, who governs a devnet alone if it begins with a runtime of an older version.
pub const ALICE: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
/// Public keys of Dave, the fourth authority: sr25519 of its account and its blocks, ed25519 of its votes.
const DAVE: (&str, &str) = (
    "306721211d5404bd9da88e0204360a1a9ab8b87c66c1bc2fcdd37f3c2222cc20",
    "5e639b43e0052c47447dac87d6fd2b6ec50bdd4d0f614e4299c665249bbd09d9",
);

/// Writes the spec and returns its path. The chain begins with the node's own runtime unless `runtime`
/// names a file with another; then Alice may allow its upgrade.
///
/// # Errors
/// When the node cannot write its preset or the preset has another shape than expected.
pub fn write(
    node: &Path,
    dir: &Path,
    authorities: u16,
    runtime: Option<&Path>,
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
    set_authorities(patch, authorities)?;
    if let Some(file) = runtime {
        let code = std::fs::read(file).with_context(|| format!("reading runtime {}", file.display()))?;
        patch["governance"]["admin"] = json!(address(ALICE)?);
        spec["genesis"]["runtimeGenesis"]["code"] = json!(format!("0x{}", hex::encode(code)));
    }
    let path = dir.join("chain-spec.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&spec)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The runtime that the node carries: what a chain begins with, and what an older one is upgraded to.
///
/// # Errors
/// When the node cannot write its preset, or carries none.
pub fn runtime_of(node: &Path) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(node)
        .args(["export-chain-spec", "--chain", "local"])
        .output()
        .context("running iota-node export-chain-spec")?;
    let spec: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no chain spec: {}", String::from_utf8_lossy(&output.stderr)))?;
    let code = spec.pointer("/genesis/runtimeGenesis/code").and_then(Value::as_str);
    let code = code.context("the chain spec has no /genesis/runtimeGenesis/code")?;
    hex::decode(code.trim_start_matches("0x")).context("the runtime in the chain spec is not hex")
}

fn address(public: &str) -> anyhow::Result<String> {
    let mut key = [0; 32];
    hex::decode_to_slice(public, &mut key)?;
    Ok(ss58::encode(&key))
}

/// The presets have one or three authorities; a devnet of two uses the first two of three, one of four adds
/// Dave.
fn set_authorities(patch: &mut Value, authorities: u16) -> anyhow::Result<()> {
    let (account, votes) = (address(DAVE.0)?, address(DAVE.1)?);
    let dave = json!([account, account, { "aura": account, "grandpa": votes }]);
    for (list, fourth) in [("/session/keys", dave), ("/governance/authorities", json!(account))] {
        let list = patch
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .with_context(|| format!("the preset has no {list}"))?;
        if authorities > 3 {
            list.push(fourth);
        }
        if list.len() < usize::from(authorities) {
            bail!("--authorities {authorities}: there are keys for {} only", list.len());
        }
        list.truncate(usize::from(authorities));
    }
    Ok(())
}
