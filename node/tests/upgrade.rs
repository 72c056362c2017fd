//! Three real authorities on loopback: they finalize, bear the loss of one and of two, and follow an
//! upgrade from the runtime of version 1 with its storage migration; then each proves that a block is final.
//!
//! `version-1/` holds what that version was: its runtime as the node built it, compressed, and the raw
//! genesis of the preset `local` without it. Run by `scripts/test` after the build, with
//! `IOTA_BIN_CHAIN` set to the folder of `iota-node`; it needs the runtime blob in it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use codec::{Compact, Decode, Encode};
use iota_runtime::opaque::Block;
use polkadot_sdk::{
    sc_consensus_grandpa::{FinalityProof, GrandpaJustification},
    sp_consensus_grandpa::AuthorityList,
    sp_io::hashing::{blake2_256, twox_128},
    sp_keyring::Ed25519Keyring,
};
use serde_json::{json, Value};

const GENESIS: &str = include_str!("version-1/local.json");
const RUNTIME: &[u8] = include_bytes!("version-1/runtime.compressed.wasm");
const NAMES: [&str; 3] = ["alice", "bob", "charlie"];
/// For one step: starting a node compiles the runtime, which takes a minute on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Blocks of a session once the chain has any: a set of voters ends with the second, and can be proved from then
/// on, after ten seconds instead of twenty minutes.
const SESSION_BLOCKS: u32 = 5;
/// Call 11 of pallet 0, in both versions: `System.apply_authorized_upgrade`.
const APPLY_UPGRADE: [u8; 2] = [0, 11];

fn program() -> PathBuf {
    let folder = std::env::var_os("IOTA_BIN_CHAIN")
        .expect("IOTA_BIN_CHAIN is not set; run scripts/test, or set it to the folder of iota-node");
    Path::new(&folder).join("iota-node")
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Where a pallet keeps a single value.
fn key(pallet: &str, item: &str) -> String {
    hex(&[twox_128(pallet.as_bytes()), twox_128(item.as_bytes())].concat())
}

/// The runtime of this version, as the node carries it.
fn new_runtime() -> Vec<u8> {
    let output = Command::new(program()).args(["export-chain-spec", "--chain", "local"]).output().unwrap();
    let spec: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = spec["genesis"]["runtimeGenesis"]["code"].as_str().unwrap();
    hex::decode(code.trim_start_matches("0x")).unwrap()
}

/// Version 1 as it began, with two additions: it has nobody who could allow an upgrade, so the genesis
/// does; and later versions find the length of their sessions.
fn spec(upgrade: &[u8]) -> Vec<u8> {
    let mut spec: Value = serde_json::from_str(GENESIS).unwrap();
    let top = &mut spec["genesis"]["raw"]["top"];
    top[hex(b":code")] = json!(hex(RUNTIME));
    top[key("System", "AuthorizedUpgrade")] = json!(hex(&(blake2_256(upgrade), true).encode()));
    top[key("Governance", "SessionBlocks")] = json!(hex(&SESSION_BLOCKS.encode()));
    serde_json::to_vec(&spec).unwrap()
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Network {
    folder: PathBuf,
    /// Peer and RPC ports.
    ports: [(u16, u16); 3],
    nodes: [Option<Child>; 3],
    /// Peer id of the first node, which the others are told.
    peer: Option<String>,
}

impl Network {
    fn new(upgrade: &[u8]) -> Self {
        let folder = std::env::temp_dir().join(format!("iota-upgrade-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("spec.json"), spec(upgrade)).unwrap();
        let ports = NAMES.map(|_| (free_port(), free_port()));
        Self { folder, ports, nodes: [None, None, None], peer: None }
    }

    fn start(&mut self, node: usize) {
        let (port, rpc) = self.ports[node];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", NAMES[node])))
            .unwrap();
        let mut command = Command::new(program());
        command
            .arg("--chain")
            .arg(self.folder.join("spec.json"))
            .arg("--base-path")
            .arg(self.folder.join(NAMES[node]))
            .arg(format!("--{}", NAMES[node]))
            .args(["--validator", "--force-authoring", "--no-telemetry", "--no-prometheus", "--no-mdns"])
            .args(["--node-key", &format!("{:064x}", node + 1)])
            .args(["--port", &port.to_string(), "--rpc-port", &rpc.to_string()]);
        if let (Some(peer), true) = (&self.peer, node > 0) {
            let first = self.ports[0].0;
            command.args(["--bootnodes", &format!("/ip4/127.0.0.1/tcp/{first}/p2p/{peer}")]);
        }
        let errors = log.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        self.nodes[node] = Some(child);
    }

    fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The answer, or `None` while the node does not give one.
    fn ask(&self, node: usize, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let at = format!("127.0.0.1:{}", self.ports[node].1);
        let mut stream = TcpStream::connect(&at).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        // The node answers to its own address only, and closes the connection because we ask for it.
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            body.len()
        );
        write!(stream, "{head}\r\n\r\n{body}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let answer: Value = serde_json::from_str(body).ok()?;
        answer.get("result").cloned()
    }

    fn number(&self, node: usize, block: Value) -> Option<u32> {
        let header = self.ask(node, "chain_getHeader", block)?;
        u32::from_str_radix(header["number"].as_str()?.trim_start_matches("0x"), 16).ok()
    }

    fn best(&self, node: usize) -> Option<u32> {
        self.number(node, json!([]))
    }

    fn finalized(&self, node: usize) -> Option<u32> {
        let head = self.ask(node, "chain_getFinalizedHead", json!([]))?;
        self.number(node, json!([head]))
    }

    fn spec_version(&self, node: usize) -> Option<u64> {
        self.ask(node, "state_getRuntimeVersion", json!([]))?["specVersion"].as_u64()
    }

    /// Waits until all nodes have finalized `block`.
    fn until_final(&self, what: &str, block: u32) {
        self.until(what, || {
            (0..3).all(|node| self.finalized(node).is_some_and(|finalized| finalized >= block))
        });
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let from = Instant::now();
        while !holds() {
            let heads: Vec<_> = (0..3).map(|node| (self.best(node), self.finalized(node))).collect();
            assert!(from.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}, best and final: {heads:?}");
            std::thread::park_timeout(Duration::from_millis(500));
        }
        println!("{what}: after {} s", from.elapsed().as_secs());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        (0..3).for_each(|node| self.kill(node));
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// What a node answers about a block that is final: the block whose votes prove it, the votes, and the
/// headers between.
fn proof(network: &Network, node: usize, block: u32) -> Option<FinalityProof<iota_runtime::Header>> {
    let answer = network.ask(node, "grandpa_proveFinality", json!([block]))?;
    let bytes = hex::decode(answer.as_str()?.trim_start_matches("0x")).ok()?;
    FinalityProof::decode(&mut bytes.as_slice()).ok()
}

/// Every node proves block 1 by the votes of the first set of voters, for its last block.
fn prove_finality(network: &Network) {
    use Ed25519Keyring::{Alice, Bob, Charlie, Dave, Eve, Ferdie};
    let proved = |node| proof(network, node, 1).is_some();
    network.until("a set of voters has ended", || (0..3).all(proved));
    let list = |keys: [Ed25519Keyring; 3]| -> AuthorityList {
        keys.iter().map(|key| (key.public().into(), 1)).collect()
    };
    let (voters, strangers) = (list([Alice, Bob, Charlie]), list([Dave, Eve, Ferdie]));
    for node in 0..3 {
        let proof = proof(network, node, 1).unwrap();
        let votes = GrandpaJustification::<Block>::decode(&proof.justification).unwrap();
        votes.verify(0, &voters).unwrap();
        assert!(votes.verify(1, &voters).is_err(), "votes of one set count for another");
        assert!(votes.verify(0, &strangers).is_err(), "the votes count for any set of voters");
        // From block 2 to the block that the votes are about, each header names the one before.
        let commit = &votes.justification.commit;
        assert_eq!(proof.block, commit.target_hash);
        assert_eq!(proof.unknown_headers.len(), usize::try_from(commit.target_number - 1).unwrap());
        assert_eq!(proof.unknown_headers.last().map(|header| header.hash()), Some(commit.target_hash));
        let first = network.ask(node, "chain_getBlockHash", json!([1])).unwrap();
        let mut parent = first.as_str().unwrap().to_string();
        for header in &proof.unknown_headers {
            assert_eq!(hex(header.parent_hash.as_bytes()), parent);
            parent = hex(header.hash().as_bytes());
        }
    }
}

/// The transaction that anybody may send once an upgrade is allowed: no signature, no fee.
fn upgrade_transaction(runtime: &[u8]) -> String {
    // 4: a transaction of version 4 that is not signed.
    let body = [&[4][..], &APPLY_UPGRADE, &runtime.encode()].concat();
    hex(&[Compact(u32::try_from(body.len()).unwrap()).encode(), body].concat())
}

#[test]
fn three_authorities_bear_losses_and_follow_an_upgrade() {
    let runtime = new_runtime();
    let mut network = Network::new(&runtime);
    network.start(0);
    network.until("the first authors", || network.best(0) >= Some(1));
    let peer = network.ask(0, "system_localPeerId", json!([])).unwrap();
    network.peer = peer.as_str().map(String::from);
    network.start(1);
    network.start(2);
    network.until_final("three finalize", 3);

    network.kill(2);
    let best = network.best(0).unwrap();
    network.until("two author", || network.best(0) >= Some(best + 6));
    network.start(2);
    network.until_final("the third is back", best + 6);

    network.kill(0);
    network.kill(1);
    let best = network.best(2).unwrap();
    network.start(0);
    network.start(1);
    network.until_final("two are back", best + 3);

    assert_eq!(network.spec_version(0), Some(1));
    let sent = network.ask(0, "author_submitExtrinsic", json!([upgrade_transaction(&runtime)]));
    assert!(sent.is_some(), "the upgrade was refused");
    let upgraded = || (0..3).all(|node| network.spec_version(node) > Some(1));
    network.until("all run the new version", upgraded);
    let best = network.best(0).unwrap();
    network.until_final("the new version finalizes", best + 5);

    // The migration of version 2: the fixed authorities became those of the session.
    let validators = network.ask(0, "state_getStorage", json!([key("Session", "Validators")])).unwrap();
    let three = validators.as_str().unwrap();
    assert_eq!((&three[..4], three.len()), ("0x0c", 4 + 3 * 64), "{three}");
    let methods = network.ask(0, "rpc_methods", json!([])).unwrap().to_string();
    assert!(methods.contains("payment_queryInfo"), "{methods}");
    prove_finality(&network);
}
