//! The program: watch the run, and score each epoch of training while the next one trains.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{bail, Context};
use codec::Encode;
use iota_chain::Submitter;
use iota_compute::data::Dataset;
use iota_compute::outer::OuterState;
use iota_compute::Device;
use iota_network::{Inbound, Lane, Network};
use iota_protocol::clasp::{self, Observation};
use iota_protocol::deterrence::{audits_needed, LEAST_AUDIT_PPM};
use iota_protocol::evidence::{self, Pathways};
use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::report::{Report, REPORT_VERSION};
use iota_protocol::seed::audit_choices;
use iota_protocol::view::{MemberView, RunState};
use iota_protocol::wire::{self, FetchReply, FetchRequest};
use iota_protocol::work::Role;
use iota_protocol::{pathway, position};
use iota_service::journal::atomic_write;
use iota_service::keys::Hotkey;
use iota_service::tasks::Shutdown;
use iota_worker::identity::{bind_folder, peer_key, Identity};
use iota_worker::segment::sample_tokens;
use iota_worker::session::Session;
use iota_worker::{listen, onboard};
use tokio::sync::mpsc;

use crate::audit::{Audit, Auditor, Subject};
use crate::config::ValidatorConfig;
use crate::court::Court;
use crate::difficulty::Bigrams;
use crate::docket::{Dockets, Missing};
use crate::examine::{self, Examiner};
use crate::gather::{self, Evidence};
use crate::gauges::Gauges;
use crate::lines::{skips_that_stand_out, Lines};
use crate::retention::Tidy;
use crate::starts::Starts;
use crate::witness::Witness;
use crate::{evaluate, scores, transcripts};

/// Time bins of CLASP in one epoch: the loss falls within an epoch, and ten steps follow the curve.
const TIME_BINS: u32 = 10;
/// Reports kept for those who ask: as many epochs as the chain keeps commits, and one more.
const KEPT_REPORTS: u32 = 4;
/// Blocks of the commit window that are left when one more audit begins: its longest time, eight blocks of
/// a second, and two in which the row is sent.
const AUDIT_BLOCKS: u32 = 10;
/// Wait before a step that failed for lack of an answer is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Reports = Arc<Mutex<Vec<(Epoch, Arc<Vec<u8>>)>>>;

struct Validator {
    config: ValidatorConfig,
    session: Session,
    network: Network,
    hotkey_secret: Hash,
    submitter: Arc<Submitter>,
    examiner: Examiner,
    member: MemberView,
    dataset: Arc<Dataset>,
    bigrams: Bigrams,
    device: Device,
    reports: Reports,
    /// Held-out loss of the newest evaluated states, millionths of a nat.
    heldout: Option<(Epoch, u32)>,
    gauges: Gauges,
}

/// Runs a validator until the run has ended or an error needs the operator.
///
/// # Errors
/// With what failed and what to do about it.
pub async fn run(config: ValidatorConfig, stop: Shutdown) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        // Rows, salts and transcripts are on disk before their hashes leave: any moment is as good as any other.
        () = stop.requested() => Ok(()),
        result = work(config) => result,
    }
}

async fn work(config: ValidatorConfig) -> anyhow::Result<()> {
    let mut validator = start(config).await?;
    let mut scored: Option<Epoch> = None;
    let mut tidy = Tidy::new(&validator.config);
    loop {
        let view = validator.session.current().await?;
        tidy.look(view.epoch(), SystemTime::now());
        if view.is_running() {
            Witness::keep(&validator.config.data_dir, &view)?;
            // A run that settles twice has nothing to score in the second time.
            let trained = view.epoch().previous().filter(|epoch| !view.params.is_settling(*epoch));
            let due = trained.filter(|epoch| scored.is_none_or(|done| done < *epoch));
            if let Some(epoch) = due {
                match validator.score(epoch).await {
                    Ok(()) => {
                        validator.gauges.scored(epoch);
                        scored = Some(epoch);
                    }
                    Err(error) => {
                        validator.gauges.failed(&format!("epoch {epoch}: {error:#}"));
                        tracing::error!(%epoch, error = %format!("{error:#}"), "epoch not scored yet");
                        let now = validator.session.next().await?;
                        let open =
                            now.epoch() == epoch.next() && now.head.number < now.schedule.score_reveal().end;
                        if !open {
                            scored = Some(epoch);
                        }
                    }
                }
                continue;
            }
            if view.epoch().0 == 0 && validator.examiner.starts.is_empty() {
                let states = validator.evaluation(view.epoch()).await?;
                validator.keep_states(view.epoch(), states);
            }
        } else if view.clock.state == RunState::Ended {
            tidy.end();
            return Ok(());
        }
        validator.session.next().await?;
    }
}

async fn start(config: ValidatorConfig) -> anyhow::Result<Validator> {
    let run = RunId(config.run);
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("creating {}", config.data_dir.display()))?;
    let hotkey = Hotkey::load(&config.hotkey)?;
    let chain = config.connect().await?;
    let hotkey_secret = hash(Domain::Audit, &hotkey.expose_secret());
    let identity = Identity::new(hotkey, chain.genesis(), run);
    bind_folder(&config.data_dir, &identity)?;
    let params = onboard::run_params(&chain, run).await?;
    let dataset = Dataset::open(&config.dataset, Some(params.data.manifest_root))
        .with_context(|| format!("opening data set {}", config.dataset.display()))?;
    let peer = peer_key(&config.data_dir)?;
    let private = onboard::private_addresses(&chain, config.allow_private_addresses).await?;
    let announce = config.announce.clone();
    let grant = listen::Grant { private_addresses: private, announce, ..listen::Grant::default() };
    let (network, inbound) = listen::for_run(&config.data_dir, &peer, &params, &config.listen, grant).await?;
    let member = onboard::own_member(&chain, run, identity.public(), Role::Validator).await?;
    let submitter = Arc::new(Submitter::new(Arc::clone(&chain), identity.signer()));
    let mut session = Session::start(Arc::clone(&chain), run, network.clone()).await?;
    let members = session.current().await?.members;
    let endpoint = onboard::settled_endpoint(&network, &peer, &config.announce, &member, &members).await?;
    onboard::serve(&chain, &submitter, run, &member, &endpoint, &peer).await?;
    let reports = Reports::default();
    let dockets = Arc::new(Dockets::new(config.data_dir.clone()));
    tokio::spawn(serve_reports(inbound, run, session.clone(), Arc::clone(&reports), Arc::clone(&dockets)));
    let device = iota_compute::init_runtime(config.threads);
    let bigrams = Bigrams::count(&dataset)?;
    let gauges = Gauges::default();
    gauges.serve(config.metrics_port, session.clone(), member.uid).await?;
    tracing::info!(uid = %member.uid, hotkey = %member.hotkey, bigram_nats = dataset.bigram_entropy(), "validator ready");
    let dataset = Arc::new(dataset);
    let examiner = Examiner { network: network.clone(), run, dockets, starts: Starts::default() };
    let court = Court {
        session: session.clone(),
        submitter: Arc::clone(&submitter),
        member: member.clone(),
        hotkey_secret,
        examiner: examiner.clone(),
        dataset: Arc::clone(&dataset),
        device,
    };
    tokio::spawn(court.run());
    Ok(Validator {
        config,
        session,
        network,
        hotkey_secret,
        submitter,
        examiner,
        member,
        dataset,
        bigrams,
        device,
        reports,
        heldout: None,
        gauges,
    })
}

async fn serve_reports(
    mut inbound: mpsc::Receiver<Inbound>,
    run: RunId,
    session: Session,
    reports: Reports,
    dockets: Arc<Dockets>,
) {
    while let Some(request) = inbound.recv().await {
        if request.lane != Lane::Fetch {
            continue;
        }
        let reply = match wire::decode::<FetchRequest>(&request.bytes, request.bytes.len()) {
            // A row can be copied until the commits are in.
            Ok(FetchRequest::Report { run: asked, epoch }) if asked == run && is_closed(&session, epoch) => {
                let known = reports.lock().unwrap_or_else(PoisonError::into_inner);
                known
                    .iter()
                    .find(|(e, _)| *e == epoch)
                    .map_or(FetchReply::NotReady, |(_, bytes)| FetchReply::Bytes(bytes.to_vec()))
            }
            // A case holds a trainer state: for members, who may have to judge it.
            Ok(FetchRequest::Case { run: asked, epoch, uid, segment, part })
                if asked == run && request.listed =>
            {
                dockets.case_part(epoch, uid, segment, part).map_or(FetchReply::NotFound, FetchReply::Bytes)
            }
            Ok(FetchRequest::Report { run: asked, .. }) if asked == run => FetchReply::NotReady,
            _ => FetchReply::NotFound,
        };
        drop(request.reply.send(reply.encode()));
    }
}

/// Whether nobody can commit to a row for an epoch any more.
fn is_closed(session: &Session, epoch: Epoch) -> bool {
    session.peek().is_some_and(|view| {
        let scored_now = view.epoch() == epoch.next();
        view.epoch() > epoch.next()
            || (scored_now && view.head.number >= view.schedule.score_reveal().start)
            || view.clock.state == RunState::Ended
    })
}

impl Validator {
    /// Everything that one epoch of training needs from this validator.
    async fn score(&mut self, epoch: Epoch) -> anyhow::Result<()> {
        let dir = self.config.data_dir.clone();
        let reveal = match scores::recall(&dir, epoch) {
            Some(known) => known,
            None => {
                let (report, audits) = self.report(epoch).await?;
                self.publish(&report)?;
                transcripts::prepare(&dir, epoch, &audits)?;
                scores::prepare(&dir, epoch, report.row(), report.root())?
            }
        };
        // Evaluating is slow on a busy machine and must not keep the row from its windows.
        let (mut session, mut beside) = (self.session.clone(), self.session.clone());
        let submit = scores::commit_and_reveal(&mut session, &self.submitter, &self.member, epoch, &reveal);
        let prepared = transcripts::recall(&dir, epoch);
        let open = async {
            match &prepared {
                Some(own) => {
                    transcripts::commit_and_open(&mut beside, &self.submitter, &self.member, epoch, own).await
                }
                None => Ok(()),
            }
        };
        let (submitted, opened, evaluated) = tokio::join!(submit, open, self.evaluation(epoch.next()));
        match evaluated {
            Ok(states) => self.keep_states(epoch.next(), states),
            Err(error) => tracing::warn!(%epoch, %error, "held-out loss not measured"),
        }
        if let Err(error) = opened {
            tracing::warn!(%epoch, %error, "audit transcripts not opened");
        }
        submitted
    }

    fn publish(&self, report: &Report) -> anyhow::Result<()> {
        let epoch = report.epoch;
        self.gauges.reported(report);
        let json = serde_json::to_vec_pretty(report)?;
        atomic_write(&self.config.data_dir.join(format!("report-{epoch}.json")), &json)?;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|(known, _)| known.0.saturating_add(KEPT_REPORTS) > epoch.0);
        reports.push((epoch, Arc::new(report.encode())));
        Ok(())
    }

    async fn report(&mut self, epoch: Epoch) -> anyhow::Result<(Report, Vec<Audit>)> {
        let witness = Witness::recall(&self.config.data_dir, epoch)
            .with_context(|| format!("this validator was not there when epoch {epoch} trained"))?;
        let params = &witness.params;
        let found = gather::evidence(&self.session, &self.network, params, &witness, epoch).await?;
        let stages = witness.stages(params);
        let pathways = evidence::read(&found.receipts, &witness.routing(params), params.train.max_samples);
        let observations = self.observations(&witness, &pathways)?;
        let config = clasp::Config::default();
        let estimate = clasp::analyse(&stages, &observations, &config);
        let means = clasp::mean_z(&stages, &observations);
        let audits = self.audits(epoch, &witness, &found, &estimate.effects).await?;
        let lines = Lines { evidence: &found, pathways: &pathways, means: &means };
        let report = Report {
            version: REPORT_VERSION,
            run: self.session.run,
            epoch,
            miners: lines.of_committers(&estimate.effects, &audits),
            absent: lines.of_absent(&estimate.effects, &witness),
            control: estimate.control.as_ref().map(Into::into),
            skips: skips_that_stand_out(&pathways, &config),
            observations: observations.iter().map(Into::into).collect(),
            audits: audits.iter().map(Into::into).collect(),
            secret: Hash(self.secret(epoch)),
            next_secret: Report::secret_hash(&Hash(self.secret(epoch.next()))),
            heldout_micro: self.heldout.filter(|(of, _)| *of == epoch).map(|(_, micro)| micro),
        };
        Ok((report, audits))
    }

    /// The secret that chooses audits of an epoch; its hash stands in the report of the one before.
    fn secret(&self, epoch: Epoch) -> [u8; 32] {
        examine::secret(&self.hotkey_secret, self.session.run, epoch)
    }

    fn observations(&self, witness: &Witness, pathways: &Pathways) -> anyhow::Result<Vec<Observation>> {
        let params = &witness.params;
        let first = witness.weights(Stage(0));
        let n0 = u32::try_from(first.len()).unwrap_or(u32::MAX).max(1);
        let last_round = pathways.losses.last().map_or(0, |loss| loss.sample.0 / n0).saturating_add(1);
        let later: Vec<(Stage, Vec<(Uid, u32)>)> =
            (1..params.n_stages()).map(|stage| (Stage(stage), witness.weights(Stage(stage)))).collect();
        let mut observations = Vec::new();
        for loss in &pathways.losses {
            let rank = usize::try_from(position::rank_of(loss.sample, n0)).unwrap_or(usize::MAX);
            let Some((origin, _)) = first.get(rank) else { continue };
            let mut preference = vec![*origin];
            for (stage, weights) in &later {
                let order = pathway::preference(&witness.clock.train_seed, loss.sample, *stage, weights);
                preference.extend(order.first());
            }
            let (inputs, targets) =
                sample_tokens(&self.dataset, params, witness.clock.data_base, loss.sample)?;
            let bin = (loss.sample.0 / n0).saturating_mul(TIME_BINS) / last_round;
            observations.push(Observation {
                sample: loss.sample,
                preference,
                reporter: loss.reporter,
                loss_micro: loss.loss_micro,
                difficulty: self.bigrams.mean_bits(&inputs, &targets),
                time_bin: u16::try_from(bin).unwrap_or(u16::MAX),
            });
        }
        Ok(observations)
    }

    /// Audits this validator's seeded choice and the miner with the worst significant effect.
    async fn audits(
        &self,
        epoch: Epoch,
        witness: &Witness,
        evidence: &Evidence,
        effects: &[clasp::MinerEffect],
    ) -> anyhow::Result<Vec<Audit>> {
        let seed = self.seed_of(epoch).await?;
        let secret = self.secret(epoch);
        let auditor = Auditor {
            params: &witness.params,
            epoch,
            seed,
            secret,
            data_base: witness.clock.data_base,
            tokens: witness.clock.tokens,
            dataset: &self.dataset,
            device: self.device,
        };
        for (uid, wanted) in evidence.missing() {
            let Some(incarnation) = witness.member(uid).map(|member| member.incarnation) else { continue };
            self.examiner.dockets.miss(epoch, Missing { uid, incarnation, wanted })?;
        }
        let each = match self.config.audits {
            Some(each) => each,
            None => self.audits_needed(epoch, evidence).await?,
        };
        let mut audits = Vec::new();
        for uid in subjects(&seed, &secret, evidence, effects, each) {
            if self.config.audits.is_none() && !audits.is_empty() && !self.has_time_to_audit() {
                tracing::warn!(%epoch, done = audits.len(), wanted = each, "no time for more audits: the row is due");
                break;
            }
            let committed = evidence.commits.iter().find(|c| c.commit.uid == uid);
            let receipts = evidence.receipts.iter().find(|r| r.uid == uid);
            let member = gather::latest(&self.session, witness, uid);
            if let (Some(committed), Some(receipts), Some(member)) = (committed, receipts, member) {
                let subject = Subject {
                    member: &member,
                    stage: committed.stage,
                    work: &committed.commit.work,
                    receipts: &receipts.receipts,
                };
                audits.push(self.examiner.examine(&auditor, &subject).await?);
            }
        }
        Ok(audits)
    }

    /// Audits that this validator owes an epoch, if all that are permitted take as many.
    async fn audits_needed(&self, epoch: Epoch, evidence: &Evidence) -> anyhow::Result<u32> {
        let at = self.session.chain.at_finalized().await?;
        let snapshot = at.snapshot(self.session.run, epoch).await?.unwrap_or_default();
        let count = |all: usize| u32::try_from(all).unwrap_or(u32::MAX);
        Ok(audits_needed(count(snapshot.validators.len()), count(evidence.receipts.len()), LEAST_AUDIT_PPM))
    }

    /// Whether another audit ends before the row has to be sent.
    fn has_time_to_audit(&self) -> bool {
        self.session.peek().is_none_or(|view| {
            view.head.number.saturating_add(AUDIT_BLOCKS) < view.schedule.score_commit().end
        })
    }

    /// Seed of an epoch that has closed: the chain keeps it as the next epoch's pathway seed.
    async fn seed_of(&self, epoch: Epoch) -> anyhow::Result<Hash> {
        let at = self.session.chain.at_finalized().await?;
        let clock = at.clock(self.session.run).await?.context("the run is gone from the chain")?;
        if clock.epoch == epoch.next() {
            Ok(clock.train_seed)
        } else {
            bail!("epoch {epoch} is not the one before the current epoch {}", clock.epoch)
        }
    }

    /// Held-out loss of the states that an epoch starts with, kept as a checkpoint and in a file.
    async fn evaluation(&self, epoch: Epoch) -> anyhow::Result<Evaluated> {
        let states = match evaluate::states(&self.session, &self.network, epoch).await {
            Ok(states) => states,
            Err(error) => {
                tracing::debug!(%epoch, %error, "states not fetched yet; asking once more");
                tokio::time::sleep(RETRY).await;
                evaluate::states(&self.session, &self.network, epoch).await?
            }
        };
        let (session, dataset) = (self.session.clone(), Arc::clone(&self.dataset));
        let dir = self.config.data_dir.clone();
        tokio::task::spawn_blocking(move || {
            let loss = evaluate::heldout(&session, &dataset, &states)?;
            evaluate::keep(&dir, &session, &states)?;
            atomic_write(&dir.join(format!("heldout-{epoch}.json")), format!("{loss}\n").as_bytes())?;
            tracing::info!(%epoch, heldout_loss = loss, "evaluated the weights that the epoch starts with");
            let micro = (f64::from(loss) * 1e6).round().clamp(0.0, f64::from(u32::MAX)) as u32;
            Ok(Evaluated { states, micro })
        })
        .await
        .context("the evaluation was cut short")?
    }

    fn keep_states(&mut self, epoch: Epoch, evaluated: Evaluated) {
        self.gauges.heldout(evaluated.micro);
        self.heldout = Some((epoch, evaluated.micro));
        self.examiner.starts.keep(epoch, evaluated.states);
    }
}

/// States that an epoch starts with, and what they are worth on held-out text.
struct Evaluated {
    states: Vec<OuterState>,
    micro: u32,
}

/// So many miners by seed and secret, and the worst significant effect; without repetition. The latter is the
/// second, so that it is audited where time is short.
fn subjects(
    seed: &Hash,
    secret: &[u8; 32],
    evidence: &Evidence,
    effects: &[clasp::MinerEffect],
    count: u32,
) -> Vec<Uid> {
    let candidates: Vec<Uid> = evidence.receipts.iter().map(|miner| miner.uid).collect();
    let mut chosen = audit_choices(seed, secret, &candidates, count);
    let worst = effects
        .iter()
        .filter(|effect| effect.significant && effect.effect > 0.0)
        .max_by(|a, b| a.effect.total_cmp(&b.effect).then(b.uid.cmp(&a.uid)));
    if let Some(worst) = worst.filter(|worst| !chosen.contains(&worst.uid)) {
        chosen.insert(chosen.len().min(1), worst.uid);
    }
    chosen
}
