//! A running devnet: nodes, members, and the chain as seen by an observer.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use iota_chain::Chain;
use iota_compute::data::{self, Dataset};
use iota_compute::presets;
use iota_protocol::ids::RunId;
use iota_protocol::params::RunParams;
use iota_protocol::work::Role;
use iota_worker::network_file::NetworkFile;

use crate::disk::SmallDisk;
use crate::genesis::{self, AUTHORITIES};
use crate::links::Links;
use crate::members::Member;
use crate::options::Options;
use crate::process::{free_port, stop_all, Process};
use crate::speed;

/// The run of every devnet.
pub const RUN: RunId = RunId(0);
/// How long a node may take to answer: it compiles its runtime, which is seconds of a free core and
/// minutes of a busy machine.
const NODE_START: Duration = Duration::from_secs(300);

/// Everything that was started.
pub struct Devnet {
    /// What it was made from.
    pub options: Options,
    /// Its folder.
    pub dir: PathBuf,
    /// Parameters of the run.
    pub params: RunParams,
    /// The prepared data set.
    pub dataset: Dataset,
    /// Members, miners first.
    pub members: Vec<Member>,
    /// Miners with funds that have not joined yet.
    pub spares: Vec<Member>,
    /// The observer's connection.
    pub chain: Arc<Chain>,
    /// Heals the observer's connection for as long as it is held.
    _heads: tokio::sync::watch::Receiver<Option<iota_chain::Head>>,
    /// WebSocket address of the first node.
    pub node_url: String,
    /// Nodes first, then members in their order.
    pub processes: Vec<Process>,
    nodes: usize,
    /// Dropped after the processes: members leave before their links and disks do.
    links: Option<Links>,
    disks: BTreeMap<String, SmallDisk>,
}

fn folder(options: &Options) -> anyhow::Result<PathBuf> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => tempfile::Builder::new().prefix("iota-devnet-").tempdir()?.keep(),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        bail!("--dir {} is not empty; give a new folder", dir.display());
    }
    Ok(dir)
}

/// Takes away the temporary folder of a devnet that never began; it is empty until the data is cut.
fn forget_if_ours(options: &Options, dir: &Path) {
    if options.dir.is_none() {
        // The error that counts is the one that is being reported.
        drop(std::fs::remove_dir(dir));
    }
}

fn prepare(options: &Options, dir: &Path) -> anyhow::Result<(RunParams, Dataset)> {
    let draft_data = iota_protocol::params::DataParams {
        manifest_root: iota_protocol::ids::Hash::ZERO,
        train_windows: 1,
        heldout_windows: 1,
    };
    // Unknown presets and too many stages are refused before the text is read.
    let make = |data| {
        presets::run_params(
            &options.preset,
            options.stages,
            options.seed,
            options.epochs,
            options.miners,
            data,
        )
    };
    let draft = make(draft_data)?;
    let out = dir.join("dataset");
    data::prepare(&options.data, &out, draft.model.seq_len, "see data/README.md", |_, _| {})?;
    let dataset = Dataset::open(&out, None)?;
    let mut params = make(dataset.data_params())?;
    if options.channels.is_some() || options.codec.is_some() {
        let channels = options.channels.unwrap_or(params.model.bottleneck);
        params = presets::with_boundary(&params, channels, options.codec.unwrap_or(params.train.wire))
            .context("--channels and --codec")?;
    }
    params.train.in_flight = options.in_flight.unwrap_or(params.train.in_flight);
    params.train.windows_per_sample = options.windows.unwrap_or(params.train.windows_per_sample);
    params.model.zero_boundary = options.control_zero;
    let blocks = match options.train_blocks {
        Some(blocks) => blocks,
        None => speed::stretched(params.phases.train)?,
    };
    params.phases.train = blocks;
    params.phases.score_commit = params.phases.score_commit.min(blocks * 3 / 5);
    params.phases.score_reveal = params.phases.score_reveal.min(blocks - params.phases.score_commit);
    params.validate()?;
    Ok((params, dataset))
}

impl Devnet {
    /// Starts nodes and members.
    ///
    /// # Errors
    /// When a step fails; what was started is stopped again.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        options.validate()?;
        let dir = folder(&options)?;
        let (params, dataset) = prepare(&options, &dir).inspect_err(|_| forget_if_ours(&options, &dir))?;
        let members = create_members(&options, &dir)?;
        let spares = create_spares(&options, &dir)?;
        let node = options.program("iota-node")?;
        let coldkeys: Vec<[u8; 32]> = members.iter().chain(&spares).map(|member| member.coldkey.0).collect();
        let spec = {
            let runtime = options.runtime.as_deref();
            genesis::write(&node, &dir, options.authorities, runtime, &params, &coldkeys)?
        };
        let disks = small_disks(&options, &members)?;
        let links = match options.link {
            Some(link) => Some(Links::start(link, members.len() + spares.len(), options.seed)?),
            None => None,
        };
        let (processes, node_urls) = start_nodes(&options, &node, &spec, &dir, links.as_ref())?;
        let node_url = node_urls.first().cloned().context("a devnet has at least one node")?;
        let chain = connect(&node_url, &processes).await?;
        invite(&chain, &dir, node_urls).await?;
        let nodes = processes.len();
        let _heads = chain.follow();
        let mut devnet = Self {
            options,
            dir,
            params,
            dataset,
            members,
            spares,
            chain,
            _heads,
            node_url,
            processes,
            nodes,
            links,
            disks,
        };
        devnet.register_all().await?;
        devnet.start_members()?;
        Ok(devnet)
    }

    async fn register_all(&self) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for member in self.members.clone() {
            let chain = Arc::clone(&self.chain);
            tasks.spawn(async move { member.register(&chain, RUN).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    fn start_members(&mut self) -> anyhow::Result<()> {
        for member in self.members.clone() {
            self.start_member(&member)?;
        }
        Ok(())
    }

    fn start_member(&mut self, member: &Member) -> anyhow::Result<()> {
        let program = self.options.program(match member.role {
            Role::Miner => "iota-miner",
            Role::Validator => "iota-validator",
        })?;
        let genesis = self.chain.genesis().to_string();
        // Links are numbered as processes are: this one's nodes have number 0.
        let number = self.processes.len() + 1 - self.nodes;
        let home =
            self.links.as_ref().and_then(|links| Some((links.namespace(number)?, links.address(number))));
        let listen = home.map_or(Ipv4Addr::LOCALHOST, |(_, address)| address);
        let mut args = member.args(&self.node_url, &genesis, &self.dir.join("dataset"), listen);
        if self.options.usual_priority {
            args.retain(|arg| arg != "--nice");
        }
        args.extend(self.options.member_args.get(&member.name).into_iter().flatten().cloned());
        let namespace = home.map(|(name, _)| name);
        self.processes.push(Process::start_in(namespace, &member.name, program, args, &self.dir)?);
        Ok(())
    }

    /// Registers and starts a spare miner while the run goes on.
    ///
    /// # Errors
    /// When there is no such spare, the chain refuses it or it cannot be started.
    pub async fn join_late(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.spares.iter().position(|member| member.name == name);
        let member = self.spares.remove(place.with_context(|| format!("no spare {name}"))?);
        member.register(&self.chain, RUN).await?;
        self.start_member(&member)?;
        self.members.push(member);
        Ok(())
    }

    /// A process by name (`node-0`, `miner-3`, `validator-1`).
    ///
    /// # Errors
    /// When there is none.
    pub fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.processes.iter_mut().find(|p| p.name() == name).with_context(|| format!("no process {name}"))
    }

    /// The link of a member, with the links that it is one of.
    #[must_use]
    pub fn link_of(&self, name: &str) -> Option<(&Links, usize)> {
        let place = self.processes.iter().position(|process| process.name() == name)?;
        Some((self.links.as_ref()?, (place + 1).checked_sub(self.nodes).filter(|number| *number > 0)?))
    }

    /// The disk of a member that has one of its own.
    #[must_use]
    pub fn disk_of(&self, name: &str) -> Option<&SmallDisk> {
        self.disks.get(name)
    }

    /// Names of the members' processes.
    #[must_use]
    pub fn member_names(&self) -> Vec<String> {
        self.processes.iter().skip(self.nodes).map(|process| process.name().to_owned()).collect()
    }

    /// Members' processes that have ended, other than `expected`.
    pub fn dead(&mut self, expected: &[String]) -> Vec<String> {
        let members = self.processes.iter_mut().skip(self.nodes);
        let dead = members.filter(|p| !expected.iter().any(|name| name == p.name())).filter_map(|p| {
            p.exited()
                .filter(|status| !status.success())
                .map(|status| format!("{} ({status}): {}", p.name(), p.tail(3)))
        });
        dead.collect()
    }

    /// Waits until all members have ended by themselves, at most so long.
    pub async fn let_members_finish(&mut self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline
            && self.processes.iter_mut().skip(self.nodes).any(|p| p.exited().is_none())
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops everything that was started. Returns who did not leave in good order, with the reason.
    pub fn stop(&mut self) -> Vec<String> {
        // Members first, so that they do not spend the end complaining about a dead node.
        let (nodes, members) = self.processes.split_at_mut(self.nodes);
        let mut unwell = stop_all(members);
        unwell.extend(stop_all(nodes));
        unwell
    }
}

/// What was started ends with it, in good order: a devnet that is interrupted leaves nobody behind.
impl Drop for Devnet {
    fn drop(&mut self) {
        for unwell in self.stop() {
            eprintln!("warning: {unwell}");
        }
    }
}

fn create_members(options: &Options, dir: &Path) -> anyhow::Result<Vec<Member>> {
    let miners = u32::from(options.miners) * u32::from(options.stages);
    let mut members = Vec::new();
    for number in 0..miners {
        members.push(Member::create(dir, format!("miner-{number}"), Role::Miner)?);
    }
    for number in 0..options.validators {
        members.push(Member::create(dir, format!("validator-{number}"), Role::Validator)?);
    }
    Ok(members)
}

fn small_disks(options: &Options, members: &[Member]) -> anyhow::Result<BTreeMap<String, SmallDisk>> {
    let of = |member: &&Member| options.small_disks.get(&member.name).copied();
    let sized = members.iter().filter_map(|member| Some((member, of(&member)?)));
    sized.map(|(member, mib)| Ok((member.name.clone(), SmallDisk::mount(&member.data_dir(), mib)?))).collect()
}

fn create_spares(options: &Options, dir: &Path) -> anyhow::Result<Vec<Member>> {
    (0..options.spares).map(|number| Member::create(dir, format!("spare-{number}"), Role::Miner)).collect()
}

fn start_nodes(
    options: &Options,
    node: &Path,
    spec: &Path,
    dir: &Path,
    links: Option<&Links>,
) -> anyhow::Result<(Vec<Process>, Vec<String>)> {
    let ports: Vec<(u16, u16)> = (0..options.authorities)
        .map(|_| Ok::<_, anyhow::Error>((free_port()?, free_port()?)))
        .collect::<Result<_, _>>()?;
    let rpc_port = |number: usize| match (number, options.rpc_port) {
        (0, Some(port)) => port,
        _ => ports[number].0,
    };
    let mut processes = Vec::new();
    for (number, authority) in AUTHORITIES.iter().enumerate().take(usize::from(options.authorities)) {
        let base = dir.join(format!("node-{number}"));
        let mut args: Vec<String> = [
            "--chain",
            &spec.display().to_string(),
            "--base-path",
            &base.display().to_string(),
            &format!("--{authority}"),
            "--validator",
            "--force-authoring",
            "--no-mdns",
            "--no-prometheus",
            "--no-telemetry",
            "--listen-addr",
            &format!("/ip4/127.0.0.1/tcp/{}", ports[number].1),
            "--rpc-max-connections",
            "500",
            "--unsafe-force-node-key-generation",
            "--allow-private-ip",
            "--state-pruning",
            "archive",
            "--blocks-pruning",
            "archive",
        ]
        .map(String::from)
        .into();
        // Where links are, the members' way to the node is one of them.
        let rpc = SocketAddrV4::new(home(links), rpc_port(number));
        args.extend(["--experimental-rpc-endpoint".into(), format!("listen-addr={rpc},max-connections=500")]);
        for (other, (_, p2p)) in ports.iter().enumerate().take(number) {
            let peer = node_peer_id(&dir.join(format!("node-{other}.log")))?;
            args.extend(["--bootnodes".into(), format!("/ip4/127.0.0.1/tcp/{p2p}/p2p/{peer}")]);
        }
        processes.push(Process::start(&format!("node-{number}"), node.to_owned(), args, dir)?);
    }
    let url = |number| format!("ws://{}", SocketAddrV4::new(home(links), rpc_port(number)));
    let urls = (0..processes.len()).map(url).collect();
    Ok((processes, urls))
}

/// Writes the file by which others join, as `iota-run network` does.
async fn invite(chain: &Chain, dir: &Path, rpc: Vec<String>) -> anyhow::Result<()> {
    let file = NetworkFile {
        name: "devnet".into(),
        genesis: chain.genesis().to_string(),
        run: RUN.0,
        rpc,
        bootnodes: chain.node_addresses().await?,
        explorer: None,
        faucet: chain.has_faucet().await?,
    };
    file.write(&dir.join("network.toml"))
}

/// The address at which nodes answer.
fn home(links: Option<&Links>) -> Ipv4Addr {
    links.map_or(Ipv4Addr::LOCALHOST, |links| links.address(0))
}

/// A node prints its peer id when it starts; later nodes dial it.
fn node_peer_id(log: &Path) -> anyhow::Result<String> {
    let deadline = Instant::now() + NODE_START;
    while Instant::now() < deadline {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let found =
            text.split_once("Local node identity is: ").and_then(|(_, rest)| rest.split_whitespace().next());
        if let Some(peer) = found {
            return Ok(peer.to_owned());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("{}: the node did not print its identity within {} s", log.display(), NODE_START.as_secs())
}

async fn connect(url: &str, processes: &[Process]) -> anyhow::Result<Arc<Chain>> {
    let deadline = Instant::now() + NODE_START;
    loop {
        match Chain::connect(url, None).await {
            Ok(chain) => return Ok(chain),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(300)).await,
            Err(error) => {
                let tail = processes.first().map(|node| node.tail(15)).unwrap_or_default();
                return Err(error).context(format!("the node does not answer; its last lines:\n{tail}"));
            }
        }
    }
}
