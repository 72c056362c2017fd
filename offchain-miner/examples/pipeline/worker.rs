//! One stage in a process of its own: the miner's training task, trainer, journal, store and network as
//! they are. Only the chain is made up: its members and its clock come from here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use iota_chain::Head;
use iota_compute::layout::StageLayout;
use iota_compute::outer::OuterState;
use iota_miner::gauges::Gauges;
use iota_miner::journal::EpochJournal;
use iota_miner::leave::Leaving;
use iota_miner::meter::WireMeter;
use iota_miner::store::Store;
use iota_miner::train::{EpochContext, TrainEpoch};
use iota_miner::trainer::Trainer;
use iota_protocol::ids::{Epoch, Hash, Stage, Uid};
use iota_protocol::view::{ClockView, RunState};
use iota_service::metrics::Counter;
use iota_worker::listen::{self, Grant};
use iota_worker::session::{peers, RunSnapshot, Views};
use serde::{Deserialize, Serialize};

use crate::made_up::{self, RUN};
use crate::process::{hear, say};
use crate::setting::{self, samples, TIMED, WARM_UP};

/// How often the count of finished samples is looked at: a thousandth of the time that is measured.
const LOOK: Duration = Duration::from_millis(2);
/// The first block of the epoch; the clock stands still at it.
const START: u32 = 1;

/// What a worker says when its samples are done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds from the last sample of the warm-up to the last of all.
    pub seconds: f64,
    /// Microseconds by part, in the ledger's order, summed over all samples, so that it is the same samples
    /// at every stage.
    pub parts: Vec<u64>,
    /// Microseconds of whole lives.
    pub life: u64,
    /// Bytes sent, by boundary.
    pub sent: Vec<(u16, u64)>,
    /// Resident memory at the end, bytes.
    pub resident: u64,
}

/// Runs a stage until the parent says stop.
///
/// # Errors
/// When anything of the stage fails.
pub fn run(folder: &Path, stages: u16, stage: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(folder, stages, Stage(stage)))
}

async fn work(folder: &Path, stages: u16, stage: Stage) -> anyhow::Result<()> {
    let dataset = Arc::new(setting::dataset(folder)?);
    let params = Arc::new(setting::run(stages, dataset.data_params())?);
    let home = folder.join(format!("worker-{stages}-{stage}-{}", std::process::id()));
    let store = Store::open(&home)?;
    let any_port = ["/ip4/127.0.0.1/tcp/0".to_owned()];
    let grant = Grant { private_addresses: true, ..Grant::default() };
    let (network, mut inbox) =
        listen::for_run(&home, &made_up::peer_key(stage.0), &params, &any_port, grant).await?;
    say(&network.listen_addresses().await)?;
    let addresses: Vec<String> = hear()?;
    let stages_of = (0..stages).map(Stage).collect::<Vec<_>>();
    let members = Arc::new(made_up::members(&addresses, &stages_of)?);
    network.set_peers(peers(&members)).await;

    let gauges = Gauges::default();
    let mut ctx = made_up::context(&params, Uid(stage.0), members, network, &store)?;
    (ctx.dataset, ctx.gauges) = (Some(dataset), gauges.clone());
    let (meter, epoch) = (ctx.meter.clone(), ctx.epoch);
    let (sender, mut views) = Views::channel();
    sender.send_replace(Some(snapshot(&ctx, epoch)));
    let over = snapshot(&ctx, epoch.next());
    let state = OuterState::initial(&params, &StageLayout::new(&params, stage)?);
    let mut trainer = Trainer::start(1, Arc::clone(&store), std::time::Duration::ZERO)?;
    let (journal, records) = EpochJournal::open(&store, epoch)?;
    let mut training = TrainEpoch::new(ctx, journal);
    training.begin(&state, &records, &mut trainer).await?;
    say(&"ready")?;
    let _go: String = hear()?;
    let watching = tokio::spawn(async move {
        let spent = watch(&gauges, &meter).await?;
        tokio::task::spawn_blocking(move || {
            say(&spent)?;
            hear::<String>()
        })
        .await??;
        sender.send_replace(Some(over));
        anyhow::Ok(())
    });
    training.run(&mut views, &mut inbox, &mut trainer, Leaving::never()).await?;
    watching.await?
}

/// Waits for the samples and tells what they took.
async fn watch(gauges: &Gauges, meter: &WireMeter) -> anyhow::Result<Spent> {
    let (times, done) = (gauges.sample_times(), gauges.registry());
    let done = done.counter("iota_backward_passes_total", "", None);
    reached(&done, samples(WARM_UP)).await;
    let start = Instant::now();
    reached(&done, samples(WARM_UP + TIMED)).await;
    let seconds = start.elapsed().as_secs_f64();
    // The last gradient is still on its way out.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(Spent {
        seconds,
        parts: times.parts().to_vec(),
        life: times.life(),
        sent: meter.totals(),
        resident: resident.context("no VmRSS in /proc/self/status")? * 1024,
    })
}

async fn reached(count: &Counter, wanted: u32) {
    while count.value() < u64::from(wanted) {
        tokio::time::sleep(LOOK).await;
    }
}

fn snapshot(ctx: &EpochContext, epoch: Epoch) -> RunSnapshot {
    let clock = ClockView {
        run: RUN,
        state: RunState::Running,
        epoch,
        start: START,
        extensions: 0,
        train_seed: ctx.train_seed,
        seed: None,
        data_base: 0,
        tokens: 0,
    };
    let schedule = clock.schedule(&ctx.params);
    RunSnapshot {
        head: Head { number: START, hash: Hash::ZERO },
        clock,
        members: Arc::clone(&ctx.members),
        schedule,
        params: Arc::clone(&ctx.params),
    }
}
