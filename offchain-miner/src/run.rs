//! The program: connect, register if needed, then one epoch after the other.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use codec::Encode;
use iota_chain::Submitter;
use iota_compute::data::Dataset;
use iota_compute::outer::OuterState;
use iota_network::{Inbound, Lane, Network, PeerKey};
use iota_protocol::equivocation::Equivocation;
use iota_protocol::ids::{Epoch, Hash, RunId, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::phase::Phase;
use iota_protocol::view::{MemberView, RunState};
use iota_protocol::wire::{self, TrainReply, TrainRequest};
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_service::metrics::Endpoint;
use iota_service::quantity::BitRate;
use iota_service::tasks::Shutdown;
use iota_worker::identity::{bind_folder, peer_key, Identity};
use iota_worker::session::{RunSnapshot, Session};
use iota_worker::{listen, onboard};
use tokio::sync::{mpsc, watch, Semaphore};

use crate::answers::Answers;
use crate::config::{MinerConfig, Nat};
use crate::fault::Fault;
use crate::gauges::Gauges;
use crate::join::{self, Wanted};
use crate::journal::{EpochJournal, Record};
use crate::leave::{free_to_go, Leaving};
use crate::meter::WireMeter;
use crate::observe::Observer;
use crate::retention::Tidy;
use crate::serve::{Past, Server};
use crate::store::Store;
use crate::train::{EpochContext, TrainEpoch, Trained};
use crate::trainer::Trainer;
use crate::{commit, leave, limits, memory, merge, recall, root, signed};

/// Requests waiting for the training task or the fetch server: a stage's open samples (16) from
/// each direction, or one request from each of 32 peers; more are refused by dropping them.
const LANE_QUEUE: usize = 32;

/// Everything that lives as long as the program.
struct Miner {
    config: MinerConfig,
    session: Session,
    network: Network,
    identity: Identity,
    submitter: Arc<Submitter>,
    member: MemberView,
    store: Arc<Store>,
    dataset: Option<Arc<Dataset>>,
    trainer: Trainer,
    inbox: mpsc::Receiver<Inbound>,
    past: watch::Sender<Vec<Past>>,
    proofs: mpsc::Sender<Equivocation>,
    meter: WireMeter,
    gauges: Gauges,
    peer: PeerKey,
    served_in: Option<Epoch>,
    stop: Shutdown,
    /// Whether samples may be in its hands, or their commit.
    training: watch::Sender<bool>,
    /// Samples that may be open at once in this epoch.
    most_open: usize,
}

/// Runs a miner until the run has ended, the operator stops it, or an error needs the operator.
///
/// # Errors
/// With what failed and what to do about it.
pub async fn run(config: MinerConfig, gauges: Gauges, stop: Shutdown) -> anyhow::Result<()> {
    if let Some(fault) = config.fault {
        tracing::warn!(?fault, "THIS MINER MISBEHAVES ON PURPOSE");
    }
    gauges.doing("connecting to the node");
    let mut miner = tokio::select! {
        biased;
        () = stop.requested() => return Ok(()),
        started = start(config, gauges, stop.clone()) => started?,
    };
    let training = miner.training.subscribe();
    tokio::select! {
        biased;
        result = work(&mut miner) => result,
        () = free_to_go(&stop, training) => Ok(()),
    }
}

/// One epoch after the other.
async fn work(miner: &mut Miner) -> anyhow::Result<()> {
    // Published at the start; the finalized view learns of it a few blocks later.
    miner.served_in = Some(miner.session.current().await?.epoch());
    let mut tidy = Tidy::after(miner.config.keep_days.get());
    loop {
        let view = miner.session.current().await?;
        if view.clock.state == RunState::Ended {
            tidy.end(&miner.store);
            return Ok(());
        }
        tidy.look(&miner.store, view.epoch(), SystemTime::now());
        match assigned(&view, &miner.member) {
            Some(stage) if miner.works_in(&view) => {
                // A stage that does not fit is the owner's to decide on: idling in it would earn nothing.
                miner.most_open = memory::most_open(miner.config.max_memory, &view.params, stage)?;
                if let Err(error) = miner.epoch(&view, stage).await {
                    if miner.stop.is_requested() {
                        return miner.meter.save(&miner.config.data_dir);
                    }
                    tracing::error!(epoch = %view.epoch(), error = %format!("{error:#}"), "epoch failed; going on with the next");
                    miner.refuse_until_after(&view).await?;
                }
            }
            _ => {
                miner.gauges.doing(why_idle(&view, miner));
                miner.keep_served(&view).await?;
                miner.refuse_once().await?;
            }
        }
    }
}

/// Why there is nothing to train now.
fn why_idle(view: &RunSnapshot, miner: &Miner) -> String {
    if let Some(why) = limits::resting(&miner.config.data_dir, miner.config.hours) {
        return why;
    }
    if view.clock.state == RunState::Waiting {
        return "waiting: the run begins when every stage has enough miners that can be reached".into();
    }
    if view.clock.state == RunState::Paused {
        return format!(
            "waiting: the run pauses before epoch {}; it goes on when its owner says so",
            view.epoch()
        );
    }
    if miner.session.params.is_settling(view.epoch()) {
        return "waiting: nothing is trained in the last epoch, it settles the pay of the one before".into();
    }
    "waiting for a stage: they are given when an epoch closes, to miners that can be reached".into()
}

/// Opens the local port, if one is asked for.
async fn serve_metrics(port: Option<u16>, gauges: &Gauges) -> anyhow::Result<()> {
    let Some(port) = port else { return Ok(()) };
    let endpoint = Endpoint::bind(port, gauges.registry()).await?;
    tracing::info!(address = %endpoint.address()?, "metrics at /metrics, status at /status, health at /health");
    tokio::spawn(endpoint.serve(Shutdown::new()));
    Ok(())
}

fn assigned(view: &RunSnapshot, member: &MemberView) -> Option<Stage> {
    view.member(member.uid).filter(|m| m.incarnation == member.incarnation).and_then(|m| m.stage)
}

async fn start(config: MinerConfig, gauges: Gauges, stop: Shutdown) -> anyhow::Result<Miner> {
    let run = RunId(config.run);
    // Before the network: what is wrong on this machine shows at once, node or no node.
    let hotkey = Hotkey::load(&config.hotkey)?;
    let chain = config.connect().await?;
    let identity = Identity::new(hotkey, chain.genesis(), run);
    bind_folder(&config.data_dir, &identity)?;
    let store = Store::open(&config.data_dir)?;
    let params = onboard::run_params(&chain, run).await?;
    let dataset = open_dataset(&config.dataset, params.data.manifest_root)?;
    let peer = peer_key(&config.data_dir)?;
    let member = onboard::own_member(&chain, run, identity.public(), Role::Miner).await?;
    let most_open = memory::check(config.max_memory, &params, member.stage)?;
    if config.max_memory.is_some() {
        store.spare_memory();
    }
    let private = onboard::private_addresses(&chain, config.allow_private_addresses).await?;
    let grant = listen::Grant { private_addresses: private, ..grant(&config, &params) };
    let (network, inbound) = listen::for_run(&config.data_dir, &peer, &params, &config.listen, grant).await?;
    let submitter = Arc::new(Submitter::new(Arc::clone(&chain), identity.signer()));
    let mut session = Session::start(Arc::clone(&chain), run, network.clone()).await?;
    let members = session.current().await?.members;
    let endpoint = onboard::settled_endpoint(&network, &peer, &config.announce, &member, &members).await?;
    onboard::serve(&chain, &submitter, run, &member, &endpoint, &peer).await?;
    let (past, past_reader) = watch::channel(recall::all(&store));
    let server = Server {
        run,
        me: member.uid,
        store: Arc::clone(&store),
        dataset: dataset.clone(),
        device: iota_compute::init_runtime(config.threads),
        past: past_reader,
        regenerations: Arc::new(Semaphore::new(1)),
        withholds_from: withholds_from(&config),
    };
    let answers = Answers {
        session: session.clone(),
        submitter: Arc::clone(&submitter),
        me: member.clone(),
        server: server.clone(),
    };
    tokio::spawn(answers.run());
    let (proofs, found) = mpsc::channel(signed::PROOFS);
    tokio::spawn(signed::report(found, Arc::clone(&submitter)));
    let inbox = dispatch(inbound, server);
    let pace = std::time::Duration::from_millis(config.pace_ms.into());
    let trainer = Trainer::start(config.threads, Arc::clone(&store), pace)?;
    tracing::info!(uid = %member.uid, hotkey = %member.hotkey, "miner ready");
    let meter = WireMeter::open(&config.data_dir);
    serve_metrics(config.metrics_port, &gauges).await?;
    let observer = Observer {
        session: session.clone(),
        network: network.clone(),
        me: member.clone(),
        gauges: gauges.clone(),
        meter: meter.clone(),
    };
    tokio::spawn(observer.run());
    Ok(Miner {
        stop,
        training: watch::Sender::new(false),
        served_in: None,
        most_open,
        peer,
        meter,
        gauges,
        config,
        session,
        network,
        identity,
        submitter,
        member,
        store,
        dataset,
        trainer,
        inbox,
        past,
        proofs,
    })
}

/// What the operator grants the network.
fn grant(config: &MinerConfig, params: &RunParams) -> listen::Grant {
    listen::Grant {
        upload_bytes_per_second: config.max_upload.map(BitRate::bytes_per_second),
        memory: memory::network(config.max_memory, params),
        announce: config.announce.clone(),
        nat: config.nat == Nat::Auto,
        relay: config.relay,
        ..listen::Grant::default()
    }
}

/// The epoch from which on a miner with that fault withholds its evidence.
fn withholds_from(config: &MinerConfig) -> Option<Epoch> {
    (config.fault == Some(Fault::RefusesEvidence)).then_some(Epoch(config.fault_from))
}

/// Opens the data set where there is one; a middle stage does without.
fn open_dataset(dir: &Path, manifest_root: Hash) -> anyhow::Result<Option<Arc<Dataset>>> {
    if !dir.exists() {
        tracing::warn!(dir = %dir.display(), "no data set; this miner can only hold a middle stage");
        return Ok(None);
    }
    let dataset = Dataset::open(dir, Some(manifest_root))
        .with_context(|| format!("opening data set {}", dir.display()))?;
    Ok(Some(Arc::new(dataset)))
}

/// Splits requests by lane; a full queue refuses by dropping.
fn dispatch(mut inbound: mpsc::Receiver<Inbound>, server: Server) -> mpsc::Receiver<Inbound> {
    let (train, inbox) = mpsc::channel(LANE_QUEUE);
    let (fetch, requests) = mpsc::channel(LANE_QUEUE);
    tokio::spawn(server.run(requests));
    tokio::spawn(async move {
        while let Some(request) = inbound.recv().await {
            let lane = match request.lane {
                Lane::Train => &train,
                Lane::Fetch => &fetch,
            };
            if lane.try_send(request).is_err() && lane.is_closed() {
                return;
            }
        }
    });
    inbox
}

impl Miner {
    fn works_in(&self, view: &RunSnapshot) -> bool {
        works(view, limits::resting(&self.config.data_dir, self.config.hours).as_deref())
    }

    /// One epoch: state, training, commit, merge, root.
    async fn epoch(&mut self, view: &RunSnapshot, stage: Stage) -> anyhow::Result<()> {
        let epoch = view.epoch();
        self.keep_served(view).await?;
        let run = self.session.run;
        let params = Arc::clone(&self.session.params);
        self.gauges.doing(format!("fetching and verifying the weights of stage {stage}"));
        let wanted = Wanted { run, params: &params, epoch, stage, me: self.member.uid };
        let state = join::obtain(&wanted, &mut self.session, &self.network, &self.store).await?;
        let ctx = self.context(view, stage);
        self.remember(&ctx);
        let (journal, records) = EpochJournal::open(&self.store, epoch)?;
        commit::reload(&self.store, &ctx);
        let committed = self.train_and_commit(&ctx, &state, journal, records).await;
        self.training.send_replace(false);
        let (mut journal, records) = committed?;
        self.meter.save(&self.config.data_dir)?;
        self.gauges.open(0);
        self.gauges.doing(format!("merging what the miners of stage {stage} learned"));
        let merged = {
            let participate =
                merge::take_part(&ctx, &mut self.session, &self.submitter, &state, &mut journal, &records);
            refusing(participate, &mut self.inbox, epoch.0).await
        };
        merged?;
        self.gauges.doing("applying the merged step and reporting its root");
        let applied = {
            let apply = root::apply_and_report(&ctx, &mut self.session, &self.submitter, &state);
            refusing(apply, &mut self.inbox, epoch.0).await
        };
        applied?;
        self.gauges.doing("done for this epoch; the next begins when it closes");
        self.refuse_until_after(view).await
    }

    /// Publishes our address where the chain has another or none: it could not be published in the
    /// last epoch, or the chain took it back after two missed commits. Asks once in an epoch.
    async fn keep_served(&mut self, view: &RunSnapshot) -> anyhow::Result<()> {
        let Some(me) = view.member(self.member.uid) else { return Ok(()) };
        if self.served_in == Some(view.epoch()) {
            return Ok(());
        }
        self.served_in = Some(view.epoch());
        let run = self.session.run;
        let endpoint = onboard::endpoint(&self.network, &self.peer, &self.config.announce).await?;
        onboard::serve(&self.session.chain, &self.submitter, run, me, &endpoint, &self.peer).await
    }

    fn context(&self, view: &RunSnapshot, stage: Stage) -> EpochContext {
        let me = view.member(self.member.uid).unwrap_or(&self.member).clone();
        let fault = self.config.fault_in(view.epoch());
        EpochContext {
            run: self.session.run,
            params: fault.map_or_else(|| Arc::clone(&view.params), |fault| fault.params(&view.params)),
            epoch: view.epoch(),
            stage,
            me,
            train_seed: view.clock.train_seed,
            data_base: view.clock.data_base,
            tokens: view.clock.tokens,
            members: Arc::clone(&view.members),
            identity: self.identity.clone(),
            network: self.network.clone(),
            store: Arc::clone(&self.store),
            dataset: self.dataset.clone(),
            fault,
            proofs: self.proofs.clone(),
            meter: self.meter.clone(),
            gauges: self.gauges.clone(),
            most_open: self.most_open,
        }
    }

    fn remember(&self, ctx: &EpochContext) {
        let past = ctx.past();
        if let Err(error) = recall::keep(&self.store, &past) {
            tracing::warn!(epoch = %ctx.epoch, %error, "not kept; a restart would not serve this epoch's audit");
        }
        self.past.send_modify(|known| {
            known.retain(|p| p.epoch != past.epoch && p.epoch.0.saturating_add(3) > past.epoch.0);
            known.push(past);
        });
    }

    /// `Train` and `Commit`. After a restart it goes on from the journal; what was committed stays.
    async fn train_and_commit(
        &mut self,
        ctx: &EpochContext,
        state: &OuterState,
        journal: EpochJournal,
        records: Vec<Record>,
    ) -> anyhow::Result<(EpochJournal, Vec<Record>)> {
        let committed = records.iter().find_map(|record| match record {
            Record::Commit(work) => Some(work.clone()),
            _ => None,
        });
        if let Some(work) = committed {
            self.submit_commit(ctx, &work).await?;
            return Ok((journal, records));
        }
        if self.session.current().await?.phase() > Phase::Commit {
            tracing::info!(epoch = %ctx.epoch, "joined after the commit window; waiting for the merged weights");
            return Ok((journal, records));
        }
        let (mut journal, mut records) = (journal, records);
        let mut trained = loop {
            let trained = self.train(ctx, state, journal, &records).await?;
            if trained.samples > 0 {
                break trained;
            }
            tracing::warn!(epoch = %ctx.epoch, "no sample was finished here; nothing to commit");
            drop(trained);
            self.training.send_replace(false);
            let extended = self.extended(ctx).await?;
            (journal, records) = EpochJournal::open(&self.store, ctx.epoch)?;
            if !extended {
                return Ok((journal, records));
            }
        };
        let local = self.trainer.weights().await?;
        let work = commit::prepare(ctx, state, &local, &mut trained)?;
        self.submit_commit(ctx, &work).await?;
        Ok((trained.journal, records))
    }

    /// Waits for the end of `Commit`; whether the chain then went back to `Train` because some stage
    /// had no commit.
    async fn extended(&mut self, ctx: &EpochContext) -> anyhow::Result<bool> {
        let epoch = ctx.epoch;
        let over = self.session.wait_until(|view| match view.phase() {
            _ if view.epoch() != epoch => Some(false),
            Phase::Train => Some(true),
            Phase::Commit => None,
            _ => Some(false),
        });
        Ok(refusing(over, &mut self.inbox, epoch.0).await?)
    }

    async fn submit_commit(
        &mut self,
        ctx: &EpochContext,
        work: &iota_protocol::work::WorkCommit,
    ) -> anyhow::Result<()> {
        self.gauges.doing("committing to the work of this epoch");
        let submit = commit::submit(ctx, &mut self.session, &self.submitter, work);
        let submit = leave::within(&self.stop, leave::COMMIT_BOUND, submit);
        let included = refusing(submit, &mut self.inbox, ctx.epoch.0).await.transpose()?;
        let included = included.context("stopped by the operator before the commit was included")?;
        if included {
            tracing::info!(epoch = %ctx.epoch, samples = work.samples, "work committed");
        } else {
            tracing::warn!(epoch = %ctx.epoch, "the commit window closed; this epoch's local weights are dropped");
        }
        Ok(())
    }

    async fn train(
        &mut self,
        ctx: &EpochContext,
        state: &OuterState,
        journal: EpochJournal,
        records: &[Record],
    ) -> anyhow::Result<Trained> {
        self.gauges.doing("training: samples pass through, as many at once as the run allows");
        let mut training = TrainEpoch::new(ctx.clone(), journal);
        training.begin(state, records, &mut self.trainer).await?;
        tracing::info!(epoch = %ctx.epoch, stage = %ctx.stage, "training");
        let leave = Leaving::on(self.stop.clone(), leave::BOUND);
        self.training.send_replace(true);
        let trained = training.run(self.session.views(), &mut self.inbox, &mut self.trainer, leave).await?;
        if self.stop.is_requested() {
            let view = self.session.current().await?;
            let commits = leave::commits_first(view.phase(), view.epoch() == ctx.epoch);
            anyhow::ensure!(commits, "stopped by the operator");
            tracing::info!(epoch = %ctx.epoch, "stopping after the commit of what was trained");
        }
        tracing::info!(epoch = %ctx.epoch, samples = trained.samples, loss = ?trained.mean_loss, "trained");
        Ok(trained)
    }

    /// Declines hops until the chain has moved past this view's epoch.
    async fn refuse_until_after(&mut self, view: &RunSnapshot) -> anyhow::Result<()> {
        let (epoch, state) = (view.epoch(), view.clock.state);
        let moved = self
            .session
            .wait_until(|view| (view.epoch() != epoch || view.clock.state != state).then_some(()));
        Ok(refusing(moved, &mut self.inbox, epoch.0).await?)
    }

    async fn refuse_once(&mut self) -> anyhow::Result<()> {
        let epoch = self.session.current().await?.epoch().0;
        refusing(self.session.next(), &mut self.inbox, epoch).await?;
        Ok(())
    }
}

/// Whether there is something to train now, and the owner lets us; `rests` is why not.
pub(crate) fn works(view: &RunSnapshot, rests: Option<&str>) -> bool {
    view.is_running() && !view.params.is_settling(view.epoch()) && rests.is_none()
}

/// What a miner answers that trains nothing now: `Busy` to hops of a later epoch, `Refused` to the rest, whereupon
/// they go to the next in their order.
pub(crate) fn refusal(bytes: &[u8], epoch: u32) -> TrainReply {
    match wire::decode::<TrainRequest>(bytes, bytes.len()) {
        Ok(TrainRequest::Hop(hop)) if hop.epoch > epoch => TrainReply::Busy,
        Ok(TrainRequest::Probe { .. }) => TrainReply::Unknown,
        _ => TrainReply::Refused,
    }
}

/// Drives a future while refusing what comes.
async fn refusing<T>(
    future: impl std::future::Future<Output = T>,
    inbox: &mut mpsc::Receiver<Inbound>,
    epoch: u32,
) -> T {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            result = &mut future => return result,
            Some(inbound) = inbox.recv() => {
                drop(inbound.reply.send(refusal(&inbound.bytes, epoch).encode()));
            }
        }
    }
}
