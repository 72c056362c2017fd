//! `iota-miner doctor`: looks at everything that `run` will need, says what is wrong and what to do.
//! Changes nothing. What it cannot find out it does not guess.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iota_chain::{At, Chain};
use iota_compute::data::Dataset;
use iota_protocol::ids::{parse_hex32, AccountKey, Hash, RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::view::MemberView;
use iota_service::keys::Hotkey;
use iota_service::ss58;
use serde::Serialize;

use crate::config::MinerConfig;

mod reach;

/// Bytes on disk for each parameter: weights and momentum (8) of two epochs, snapshots of masters and
/// moments (12) for audits, entries.
const DISK_PER_PARAMETER: u64 = 48;
/// Journals and codes of three epochs on a home connection.
const DISK_BASE: u64 = 1 << 30;
/// How long the node gets to finalize another block: ten of the shortest.
const FINALITY: Duration = Duration::from_secs(12);
/// How long a member gets to take a connection.
const DIAL: Duration = Duration::from_secs(3);
/// Members that are tried; more say nothing new.
const DIALS: usize = 16;

/// A block's time is its slot's beginning: a clock this far behind it is wrong.
const MOST_BEHIND: i64 = 1_000;
/// Blocks of a second are final two or three seconds later; a busy machine learns of them some seconds after that.
const MOST_AHEAD: i64 = 12_000;

/// How a thing stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not for long or not for everybody.
    Warn,
    /// `run` would fail or earn nothing.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub subject: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    pub advice: String,
}

fn ok(subject: &'static str, found: impl Into<String>) -> Finding {
    Finding { subject, level: Level::Ok, found: found.into(), advice: String::new() }
}

fn warn(subject: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { subject, level: Level::Warn, found: found.into(), advice: advice.into() }
}

fn fail(subject: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { subject, level: Level::Fail, found: found.into(), advice: advice.into() }
}

/// Looks at everything.
pub async fn examine(config: &MinerConfig) -> Vec<Finding> {
    let hotkey = Hotkey::load(&config.hotkey);
    let mut findings = vec![match &hotkey {
        Ok(key) => ok("hotkey", key.address()),
        Err(error) => {
            fail("hotkey", error.to_string(), "make one with `iota-miner keys new`, or give --hotkey FILE")
        }
    }];
    findings.push(device(config.threads));
    findings.extend(config.listen.iter().map(|address| listening(address)));
    findings.push(reach::announced(config));
    match connect(config).await {
        Err(finding) => findings.push(finding),
        Ok((chain, at)) => {
            findings.push(ok("chain", format!("genesis {}, block {}", chain.genesis(), at.head().number)));
            findings.push(clock(&chain, at.head().number).await);
            findings.push(finality(&chain, at.head().number).await);
            let key = hotkey.ok().map(|key| AccountKey(key.public()));
            findings.extend(of_run(config, &at, key).await);
        }
    }
    findings
}

fn device(threads: u32) -> Finding {
    let device = iota_compute::init_runtime(threads);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let found = format!("{device:?}, {threads} of {cores} cores for libtorch");
    match usize::try_from(threads) {
        Ok(wanted) if wanted <= cores => ok("device", found),
        _ => warn(
            "device",
            found,
            format!("--threads {cores} at most: more threads than cores slow each other"),
        ),
    }
}

async fn connect(config: &MinerConfig) -> Result<(std::sync::Arc<Chain>, At), Finding> {
    let genesis = match config.genesis.as_deref() {
        None => None,
        Some(text) => Some(parse_hex32(text).map(Hash).ok_or_else(|| {
            fail("chain", format!("genesis {text:?} is not 64 hex digits"), "copy it from the network's page")
        })?),
    };
    let advice = "start the node, or give the address of one with --node URL";
    let chain =
        Chain::connect(&config.node, genesis).await.map_err(|e| fail("chain", e.to_string(), advice))?;
    let at = chain.at_finalized().await.map_err(|e| fail("chain", e.to_string(), advice))?;
    Ok((chain, at))
}

/// This machine's clock against the newest final block's.
async fn clock(chain: &Chain, number: u32) -> Finding {
    let block = match chain.block(number).await {
        Ok(block) => block,
        Err(error) => return fail("clock", error.to_string(), "ask the node again"),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    match block.content.and_then(|content| i64::try_from(content.timestamp_ms).ok()) {
        Some(then) if then > 0 => differs(now.saturating_sub(then)),
        _ => {
            warn("clock", format!("block {number} says no time"), "try again when the chain has made blocks")
        }
    }
}

/// What a difference in milliseconds means; positive where this machine is ahead of the block.
fn differs(ahead: i64) -> Finding {
    let seconds = |ms: i64| ms as f64 / 1e3;
    let advice = "set the clock by NTP (timedatectl set-ntp true). Work and pay go by blocks, not by it, but --hours and a \
                  node on this machine go by it";
    if ahead < -MOST_BEHIND {
        let found = format!("this machine is {:.1} s behind the newest final block", seconds(-ahead));
        return warn("clock", found, advice);
    }
    if ahead > MOST_AHEAD {
        let found = format!("the newest final block is {:.1} s old by this machine's clock", seconds(ahead));
        return warn("clock", found, format!("if finality below is ok, {advice}"));
    }
    ok("clock", format!("the newest final block is {:.1} s old by it", seconds(ahead)))
}

async fn finality(chain: &std::sync::Arc<Chain>, seen: u32) -> Finding {
    let mut heads = chain.follow();
    let newer = async {
        loop {
            if let Some(head) = *heads.borrow_and_update() {
                if head.number > seen {
                    return Some(head.number);
                }
            }
            heads.changed().await.ok()?;
        }
    };
    match tokio::time::timeout(FINALITY, newer).await {
        Ok(Some(number)) => ok("finality", format!("block {number} followed block {seen}")),
        _ => fail(
            "finality",
            format!("no block after {seen} became final within {} s", FINALITY.as_secs()),
            "the node is still syncing or the chain's finality has stalled: workers act on final blocks only",
        ),
    }
}

async fn of_run(config: &MinerConfig, at: &At, key: Option<AccountKey>) -> Vec<Finding> {
    let run = RunId(config.run);
    let params = match at.run(run).await {
        Ok(Some(params)) => params,
        Ok(None) => {
            return vec![fail("run", format!("run {run} does not exist on this chain"), "give another --run")]
        }
        Err(error) => return vec![fail("run", error.to_string(), "ask the node again")],
    };
    let largest = params.stages.iter().map(|stage| stage.parameters).max().unwrap_or_default();
    let mut findings = vec![
        ok("run", format!("{} parameters in {} stages", params.total_parameters(), params.n_stages())),
        memory(largest_need(&params)),
        limit(config, &params),
        disk(&config.data_dir, largest),
        dataset(&config.dataset, &params),
    ];
    match at.members(run).await {
        Ok(members) => {
            findings.push(registration(&members, key));
            findings.extend(reach::published(&members, key));
            findings.push(reachable(&members, key).await);
        }
        Err(error) => findings.push(fail("members", error.to_string(), "ask the node again")),
    }
    findings
}

/// What the heaviest stage needs with all samples that it may have open.
fn largest_need(params: &RunParams) -> u64 {
    let of = |stage| {
        let need = crate::memory::need(params, Stage(stage));
        let open = u64::from(params.train.in_flight);
        need.stage.saturating_add(need.pass).saturating_add(need.sample.saturating_mul(open))
    };
    (0..params.n_stages()).map(of).max().unwrap_or_default()
}

/// Whether what the owner allows is enough for every stage.
fn limit(config: &MinerConfig, params: &RunParams) -> Finding {
    let Some(allowed) = config.max_memory else { return ok("memory limit", "none is set") };
    let stages = (0..params.n_stages()).map(Stage);
    let open = stages.map(|stage| crate::memory::most_open(Some(allowed), params, stage));
    let (fits, too_small): (Vec<_>, Vec<_>) = open.partition(Result::is_ok);
    match too_small.into_iter().find_map(Result::err) {
        None => {
            let open = fits.into_iter().flatten().min().unwrap_or_default();
            ok("memory limit", format!("{allowed}: every stage fits with {open} samples in flight or more"))
        }
        Some(error) if fits.is_empty() => fail("memory limit", error.to_string(), "raise max_memory"),
        Some(error) => warn("memory limit", error.to_string(), "raise max_memory: stages are given by lot"),
    }
}

fn memory(needed: u64) -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    compare("memory", free.map(|kib| kib << 10), needed, "close other programs, or use a machine with more")
}

fn disk(folder: &Path, parameters: u64) -> Finding {
    let needed = parameters.saturating_mul(DISK_PER_PARAMETER).saturating_add(DISK_BASE);
    // The folder may not exist yet; its nearest ancestor that does is on the same disk.
    let free = folder.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs4::available_space(path).ok()
    });
    compare("disk", free, needed, "free some space, or give a folder on another disk with --data-dir")
}

fn compare(subject: &'static str, free: Option<u64>, needed: u64, advice: &str) -> Finding {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    match free {
        None => warn(subject, "could not be measured", format!("{:.1} GiB are needed", gib(needed))),
        Some(free) => {
            let found = format!("{:.1} GiB free, {:.1} needed for the largest stage", gib(free), gib(needed));
            if free >= needed {
                ok(subject, found)
            } else {
                fail(subject, found, advice)
            }
        }
    }
}

fn dataset(folder: &Path, params: &RunParams) -> Finding {
    if !folder.exists() {
        return warn(
            "data set",
            format!("{} does not exist", folder.display()),
            "only middle stages work without; prepare it with `iota-miner data prepare`, then give --dataset DIR",
        );
    }
    match Dataset::open(folder, Some(params.data.manifest_root)) {
        Ok(_) => ok("data set", format!("{} has the run's root", folder.display())),
        Err(error) => fail("data set", error.to_string(), "use the run's own data set"),
    }
}

fn registration(members: &[MemberView], key: Option<AccountKey>) -> Finding {
    let Some(key) = key else { return fail("registration", "there is no hotkey to look for", "see above") };
    match members.iter().find(|member| member.hotkey == key) {
        None => fail(
            "registration",
            format!("{} is not a member of this run", ss58::encode(&key.0)),
            "register it with `iota-miner register --coldkey FILE`",
        ),
        Some(me) => {
            let stage = me.stage.map_or("no stage yet".into(), |stage| format!("stage {stage}"));
            ok("registration", format!("uid {}, {stage}", me.uid))
        }
    }
}

/// The port and the address of `/ip4/…/tcp/…` or `/ip6/…/tcp/…`; others are not looked at.
fn tcp(address: &str) -> Option<SocketAddr> {
    let mut parts = address.split('/').skip(1);
    let (kind, ip, transport, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !matches!(kind, "ip4" | "ip6") || transport != "tcp" {
        return None;
    }
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

fn listening(address: &str) -> Finding {
    let Some(socket) = tcp(address) else {
        return ok("listen", format!("{address} (only TCP addresses are tried here)"));
    };
    if let Err(error) = TcpListener::bind(socket) {
        return fail(
            "listen",
            format!("{address}: {error}"),
            "stop what uses the port, or give another --listen",
        );
    }
    if socket.ip().is_loopback() {
        return warn(
            "listen",
            format!("{address} is seen by this machine only"),
            "fine for a devnet at home",
        );
    }
    if socket.port() == 0 {
        return warn(
            "listen",
            format!("{address} takes another port at each start"),
            "behind a router give a fixed port and forward it",
        );
    }
    ok("listen", format!("{address} is free"))
}

/// Whether members take connections from here.
async fn reachable(members: &[MemberView], key: Option<AccountKey>) -> Finding {
    let others = members.iter().filter(|member| Some(member.hotkey) != key);
    let addresses: Vec<SocketAddr> = others
        .filter_map(|member| {
            let endpoint = member.endpoint.as_ref()?;
            endpoint.addresses.iter().find_map(|bytes| tcp(std::str::from_utf8(bytes).ok()?))
        })
        .take(DIALS)
        .collect();
    if addresses.is_empty() {
        return warn("peers", "no other member has published a TCP address", "wait for others to join");
    }
    let dials = addresses.iter().map(|address| async move {
        matches!(tokio::time::timeout(DIAL, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
    });
    let answered = futures::future::join_all(dials).await.into_iter().filter(|answered| *answered).count();
    let found = format!("{answered} of {} members that were tried take a connection", addresses.len());
    match answered {
        0 => fail("peers", found, "look at this machine's firewall and connection"),
        _ if answered * 2 < addresses.len() => {
            warn("peers", found, "samples will often have to be re-routed")
        }
        _ => ok("peers", found),
    }
}

/// The findings as lines.
#[must_use]
pub fn told(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { subject, level, found, advice } in findings {
        let mark = match level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        lines.push(format!("{mark} {subject}: {found}"));
        if !advice.is_empty() {
            lines.push(format!("       {advice}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_a_taken_port_is_found() {
        assert_eq!(tcp("/ip4/10.0.0.1/tcp/4001"), Some("10.0.0.1:4001".parse().unwrap()));
        assert_eq!(tcp("/ip6/::1/tcp/1/p2p/x"), Some("[::1]:1".parse().unwrap()));
        for other in ["", "/dns4/host/tcp/1", "/ip4/1.2.3.4/udp/1/quic-v1", "/ip4/1.2.3.4", "/ip4/x/tcp/1"] {
            assert_eq!(tcp(other), None, "{other}");
        }
        let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", held.local_addr().unwrap().port());
        assert_eq!(listening(&address).level, Level::Fail);
        drop(held);
        assert_eq!(listening(&address).level, Level::Warn, "free, and loopback");
    }

    #[test]
    fn a_clock_is_wrong_when_blocks_come_from_the_future_or_the_past() {
        for (ahead, level) in [
            (0, Level::Ok),
            (2_500, Level::Ok),
            (-900, Level::Ok),
            (-1_500, Level::Warn),
            (90_000, Level::Warn),
            (i64::MIN + 1, Level::Warn),
        ] {
            assert_eq!(differs(ahead).level, level, "{ahead} ms ahead");
        }
        assert!(differs(-61_500).found.contains("61.5 s behind"));
        assert!(differs(90_000).advice.contains("finality"), "an old block may be the chain's fault");
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_needed() {
        let finding = compare("memory", Some(1 << 30), 2 << 30, "buy more");
        assert_eq!((finding.level, finding.advice.as_str()), (Level::Fail, "buy more"));
        assert!(finding.found.contains("1.0 GiB free, 2.0 needed"), "{}", finding.found);
        assert_eq!(compare("memory", Some(2 << 30), 2 << 30, "").level, Level::Ok);
        assert_eq!(compare("memory", None, 1, "").level, Level::Warn);
        assert_eq!(memory(0).level, Level::Ok);
        assert_eq!(disk(Path::new("not/there/yet"), u64::MAX).level, Level::Fail);
    }

    #[tokio::test]
    async fn a_miner_with_nothing_hears_of_all_of_it_at_once() {
        let nowhere = MinerConfig {
            node: "ws://127.0.0.1:1".into(),
            hotkey: "not-there.json".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            ..MinerConfig::default()
        };
        let findings = examine(&nowhere).await;
        let failed: Vec<_> = findings.iter().filter(|f| f.level == Level::Fail).map(|f| f.subject).collect();
        assert_eq!(failed, ["hotkey", "chain"]);
        assert!(findings.iter().filter(|f| f.level == Level::Fail).all(|f| !f.advice.is_empty()));
    }
}
