//! Dependencies point one way (design.md, section 3). Each line of ARCHITECTURE.md about what is
//! absent is an assertion here, over what cargo resolves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Normal dependencies of each package of the workspace, by name, direct and transitive.
struct Graph {
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let metadata =
            MetadataCommand::new().manifest_path(manifest).other_options(["--locked".into()]).exec().unwrap();
        let names: BTreeMap<_, _> =
            metadata.packages.iter().map(|p| (p.id.clone(), p.name.to_string())).collect();
        let resolve = metadata.resolve.unwrap();
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &resolve.nodes {
            let entry = direct.entry(names[&node.id].clone()).or_default();
            for dependency in &node.deps {
                if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                    entry.insert(names[&dependency.pkg].clone());
                }
            }
        }
        Self { direct }
    }

    fn of(&self, package: &str) -> &BTreeSet<String> {
        self.direct.get(package).unwrap_or_else(|| panic!("no package {package} in the workspace"))
    }

    /// Everything that `package` reaches.
    fn reach(&self, package: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.direct.get(&name).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    }
}

const OURS: [&str; 16] = [
    "iota-protocol",
    "iota-compute",
    "iota-network",
    "iota-chain",
    "iota-service",
    "iota-worker",
    "iota-miner",
    "iota-validator",
    "iota-explorer",
    "iota-tests",
    "iota-lab",
    "pallet-iota",
    "iota-runtime",
    "iota-node",
    "iota-wasm-builder",
    "iota-weights",
];

fn ours(graph: &Graph, package: &str) -> BTreeSet<String> {
    graph.of(package).iter().filter(|name| OURS.contains(&name.as_str())).cloned().collect()
}

#[track_caller]
fn uses_at_most(graph: &Graph, package: &str, allowed: &[&str]) {
    let extra: Vec<String> =
        ours(graph, package).into_iter().filter(|name| !allowed.contains(&name.as_str())).collect();
    assert!(extra.is_empty(), "{package} may use {allowed:?} of ours, but also uses {extra:?}");
}

#[track_caller]
fn does_not_reach(graph: &Graph, package: &str, forbidden: &[&str]) {
    let reach = graph.reach(package);
    let found: Vec<_> = forbidden.iter().filter(|name| reach.contains(**name)).collect();
    assert!(found.is_empty(), "{package} reaches {found:?}");
}

#[test]
fn dependencies_point_one_way() {
    let graph = Graph::read();
    uses_at_most(&graph, "iota-protocol", &[]);
    uses_at_most(&graph, "iota-service", &[]);
    uses_at_most(&graph, "iota-compute", &["iota-protocol"]);
    uses_at_most(&graph, "iota-network", &["iota-protocol"]);
    uses_at_most(&graph, "iota-chain", &["iota-protocol"]);
    let libraries = ["iota-protocol", "iota-compute", "iota-network", "iota-chain", "iota-service"];
    uses_at_most(&graph, "iota-worker", &libraries);
    let programs =
        ["iota-protocol", "iota-compute", "iota-network", "iota-chain", "iota-service", "iota-worker"];
    uses_at_most(&graph, "iota-miner", &programs);
    uses_at_most(&graph, "iota-validator", &programs);
    let reading = ["iota-protocol", "iota-network", "iota-chain", "iota-service"];
    uses_at_most(&graph, "iota-explorer", &reading);
    uses_at_most(&graph, "iota-lab", &["iota-protocol"]);
    uses_at_most(&graph, "pallet-iota", &["iota-protocol"]);
    uses_at_most(&graph, "iota-runtime", &["iota-protocol", "pallet-iota"]);
    uses_at_most(&graph, "iota-node", &["iota-runtime"]);
    uses_at_most(&graph, "iota-weights", &["iota-runtime", "pallet-iota"]);
}

#[test]
fn the_protocol_reaches_no_io_and_no_randomness() {
    does_not_reach(
        &Graph::read(),
        "iota-protocol",
        &["tokio", "libp2p", "subxt", "tch", "rand", "std-rand", "polkadot-sdk"],
    );
}

#[test]
fn only_compute_names_libtorch_only_chain_names_subxt_only_network_names_libp2p() {
    let graph = Graph::read();
    for (library, owner) in [("tch", "iota-compute"), ("subxt", "iota-chain"), ("libp2p", "iota-network")] {
        let users: Vec<&str> =
            OURS.into_iter().filter(|package| graph.of(package).contains(library)).collect();
        assert_eq!(users, [owner], "direct users of {library}");
    }
}

#[test]
fn workers_do_not_reach_the_runtime_and_the_chain_does_not_reach_the_workers() {
    let graph = Graph::read();
    for worker in ["iota-miner", "iota-validator", "iota-explorer", "iota-tests"] {
        does_not_reach(&graph, worker, &["pallet-iota", "iota-runtime", "polkadot-sdk"]);
    }
    does_not_reach(&graph, "iota-explorer", &["tch", "iota-compute"]);
    does_not_reach(&graph, "iota-node", &["tch", "iota-compute", "iota-network", "iota-chain"]);
}

#[test]
fn a_forbidden_dependency_would_be_seen() {
    let graph = Graph::read();
    assert!(graph.reach("iota-miner").contains("tch"), "the miner reaches libtorch through iota-compute");
    assert!(ours(&graph, "iota-miner").contains("iota-worker"));
}
