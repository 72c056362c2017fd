//! Carries a plan out on a running devnet, and starts again what ended: what a supervisor such as systemd
//! would do, and nothing that an operator would have to think about.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::collect::Records;
use crate::network::Devnet;
use crate::relay::LinkSpec;

use super::plan::{Kind, Planned};

/// A supervisor waits so long before it starts a program again that ended by itself.
const SUPERVISOR: Duration = Duration::from_secs(3);
/// A bad link: a few kilobytes a second, far away, with losses.
const BAD: &str = "rate=0.5mbit,rtt=200ms,loss=2%";

/// How one fault is undone.
#[derive(Clone, Debug)]
enum Undo {
    Restart,
    Resume,
    Mend,
    Unthrottle,
    Free,
}

struct Active {
    until: Instant,
    name: String,
    undo: Undo,
}

/// What the storm did.
#[derive(Default)]
pub struct Log {
    /// Faults by kind.
    pub counts: BTreeMap<Kind, u32>,
    /// Everything in order, for people.
    pub lines: Vec<String>,
    /// Members that were met by a fault, with the epoch.
    pub met: Vec<(String, u32)>,
    /// Programs that ended although nobody killed them.
    pub died: Vec<String>,
}

/// A storm over a devnet.
pub struct Storm {
    plan: std::vec::IntoIter<Planned>,
    next: Option<Planned>,
    link: LinkSpec,
    calm_epochs: u32,
    began: Option<Instant>,
    active: Vec<Active>,
    waiting: BTreeMap<String, Instant>,
    /// What happened.
    pub log: Log,
}

impl Storm {
    /// A storm that begins with epoch `calm_epochs`. Links are otherwise like `link`.
    pub fn new(plan: Vec<Planned>, link: LinkSpec, calm_epochs: u32) -> Self {
        let mut plan = plan.into_iter();
        let next = plan.next();
        Self {
            plan,
            next,
            link,
            calm_epochs,
            began: None,
            active: Vec::new(),
            waiting: BTreeMap::new(),
            log: Log::default(),
        }
    }

    /// To be called often. Returns the members whose end is not the devnet's business.
    pub async fn act(&mut self, devnet: &mut Devnet, records: &Records) -> anyhow::Result<Vec<String>> {
        let epoch = records.clock.as_ref().filter(|_| !records.epochs.is_empty()).map_or(0, |c| c.epoch.0);
        let over = epoch >= devnet.params.epochs;
        // Before the run begins nobody trains: a network that is still starting is not the storm's.
        if self.began.is_none() && !records.epochs.is_empty() && epoch >= self.calm_epochs {
            self.began = Some(Instant::now());
        }
        self.undo(devnet, over)?;
        self.supervise(devnet)?;
        while let (Some(began), Some(planned), false) = (self.began, self.next, over) {
            if began.elapsed() < planned.at {
                break;
            }
            self.next = self.plan.next();
            self.strike(devnet, planned, epoch).await?;
        }
        Ok(devnet.member_names())
    }

    fn undo(&mut self, devnet: &mut Devnet, all: bool) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<Active> = self.active.extract_if(.., |own| all || own.until <= now).collect();
        for Active { name, undo, .. } in due {
            match undo {
                Undo::Restart => devnet.process(&name)?.restart()?,
                Undo::Resume => devnet.process(&name)?.resume(),
                Undo::Mend => {
                    if let Some((links, number)) = devnet.link_of(&name) {
                        links.cut(number, false);
                    }
                }
                Undo::Unthrottle => {
                    if let Some((links, number)) = devnet.link_of(&name) {
                        links.change(number, self.link);
                    }
                }
                Undo::Free => {
                    if let Some(disk) = devnet.disk_of(&name) {
                        disk.free();
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts again what ended with an error although nobody killed it.
    fn supervise(&mut self, devnet: &mut Devnet) -> anyhow::Result<()> {
        let now = Instant::now();
        for name in devnet.member_names() {
            let killed = self.active.iter().any(|own| own.name == name && matches!(own.undo, Undo::Restart));
            let process = devnet.process(&name)?;
            let failed = process.exited().is_some_and(|status| !status.success());
            if killed || !failed {
                self.waiting.remove(&name);
                continue;
            }
            let since = *self.waiting.entry(name.clone()).or_insert(now);
            if now.duration_since(since) >= SUPERVISOR {
                self.log.died.push(format!("{name}: {}", process.tail(2)));
                process.restart()?;
                self.waiting.remove(&name);
            }
        }
        Ok(())
    }

    async fn strike(&mut self, devnet: &mut Devnet, planned: Planned, epoch: u32) -> anyhow::Result<()> {
        let Some(name) = self.target(devnet, planned) else { return Ok(()) };
        let until = Instant::now() + planned.lasts;
        let undo = match planned.kind {
            Kind::KillMiner | Kind::KillValidator | Kind::RestartNode => {
                devnet.process(&name)?.kill()?;
                Undo::Restart
            }
            Kind::StopMiner => {
                devnet.process(&name)?.pause();
                Undo::Resume
            }
            Kind::CutLink => {
                if let Some((links, number)) = devnet.link_of(&name) {
                    links.cut(number, true);
                }
                Undo::Mend
            }
            Kind::ThrottleLink => {
                if let Some((links, number)) = devnet.link_of(&name) {
                    links.change(number, BAD.parse()?);
                }
                Undo::Unthrottle
            }
            Kind::FullDisk => {
                if let Some(disk) = devnet.disk_of(&name) {
                    disk.fill()?;
                }
                Undo::Free
            }
            Kind::LateJoin => {
                // Registering waits for blocks, which a node that is down may hold up: then there is none.
                let joined = tokio::time::timeout(Duration::from_secs(20), devnet.join_late(&name)).await;
                if !matches!(joined, Ok(Ok(()))) {
                    self.log.lines.push(format!("epoch {epoch}: {name} could not join"));
                    return Ok(());
                }
                Undo::Free
            }
        };
        let (kind, lasts) = (planned.kind, planned.lasts.as_secs_f64());
        self.log.lines.push(format!("epoch {epoch}: {kind:?} {name} for {lasts:.1} s"));
        *self.log.counts.entry(kind).or_default() += 1;
        self.log.met.push((name.clone(), epoch));
        self.active.push(Active { until, name, undo });
        Ok(())
    }

    /// Whom a fault meets: somebody of its kind that none has met at present.
    fn target(&self, devnet: &mut Devnet, planned: Planned) -> Option<String> {
        let prefix = match planned.kind {
            Kind::KillValidator => "validator-",
            Kind::RestartNode => "node-",
            Kind::LateJoin => {
                return devnet.spares.first().map(|spare| spare.name.clone());
            }
            _ => "miner-",
        };
        let names: Vec<String> = devnet.processes.iter().map(|process| process.name().to_owned()).collect();
        let free = |name: &String| {
            name.starts_with(prefix)
                && !self.active.iter().any(|own| own.name == *name)
                && !self.waiting.contains_key(name)
                && (planned.kind != Kind::FullDisk || devnet.disk_of(name).is_some())
        };
        let mut all: Vec<String> = names.into_iter().filter(free).collect();
        if all.is_empty() {
            return None;
        }
        let place = planned.dice % all.len() as u64;
        Some(all.swap_remove(usize::try_from(place).unwrap_or(0)))
    }
}
