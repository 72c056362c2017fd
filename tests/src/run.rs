//! From start to summary.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use iota_compute::generate::generate;
use iota_protocol::ids::Epoch;
use iota_protocol::work::Role;

use crate::checks;
use crate::collect::Records;
use crate::network::Devnet;
use crate::progress::Progress;
use crate::summary::{self, Summary};

/// Between two looks at the chain: half of a block.
const LOOK: Duration = Duration::from_millis(500);
/// Validators evaluate the final weights after the last block of the run; on a busy machine that
/// takes a while. They end by themselves.
const LAST_WORK: Duration = Duration::from_secs(120);
/// Text that the sample goes on from; the first speaker of the shipped corpus's tragedies.
const PROMPT: &str = "ROMEO:\n";
/// Bytes of sampled text.
const SAMPLE: usize = 400;
/// The run may take three times its scheduled blocks before the observer gives up: extensions of
/// `Train` and a node restart fit, a dead network does not.
const PATIENCE: u32 = 3;

/// Follows a devnet to its end. `during` is called after each look and may break things.
///
/// # Errors
/// When the run does not end in time or a program dies that was not meant to.
pub async fn follow<F>(devnet: &mut Devnet, mut during: F) -> anyhow::Result<Records>
where
    F: AsyncFnMut(&mut Devnet, &Records) -> anyhow::Result<Vec<String>>,
{
    let mut progress = Progress::new();
    let mut records = Records { issuance_before: issuance_at_genesis(devnet).await?, ..Records::default() };
    let deadline = Instant::now() + time_limit(devnet);
    let mut may_be_dead = Vec::new();
    loop {
        match records.look(devnet).await {
            Ok(true) => break,
            Ok(false) => progress.show(devnet, &records),
            Err(error) => tracing::debug!(%error, "looking again"),
        }
        may_be_dead.extend(during(devnet, &records).await?);
        let dead = devnet.dead(&may_be_dead);
        if !dead.is_empty() {
            bail!("a program ended before the run did:\n{}", dead.join("\n"));
        }
        if Instant::now() > deadline {
            bail!(
                "the run did not end within {} s; logs are in {}",
                time_limit(devnet).as_secs(),
                devnet.dir.display()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    devnet.let_members_finish(LAST_WORK).await;
    progress.finish();
    Ok(records)
}

fn time_limit(devnet: &Devnet) -> Duration {
    let phases = &devnet.params.phases;
    let epoch = phases.train + phases.commit + phases.attest + phases.blind + phases.open + phases.root + 1;
    let blocks = epoch.saturating_mul(devnet.params.epochs + 1);
    // One-second blocks, and a minute for everybody to start.
    Duration::from_secs(u64::from(blocks.saturating_mul(PATIENCE)) + 60)
}

/// Issuance before anything was burned or minted: the genesis balances.
async fn issuance_at_genesis(devnet: &Devnet) -> anyhow::Result<u128> {
    Ok(devnet.chain.at_genesis().await?.issuance().await?)
}

/// Makes the summary of a finished run.
///
/// # Errors
/// When the model cannot be read back.
pub fn summarise(devnet: &Devnet, records: &Records) -> anyhow::Result<Summary> {
    let epochs = summary::epoch_lines(devnet, records);
    let emission = summary::emission(records);
    Ok(Summary {
        run: summary::run_facts(devnet, records),
        members: summary::member_lines(records),
        checks: checks::check(devnet, records, &epochs, &emission),
        epochs,
        emission,
        sample: sample(devnet)?,
    })
}

/// The checkpoint folder of the newest evaluation.
fn checkpoint(devnet: &Devnet) -> anyhow::Result<PathBuf> {
    let last = Epoch(devnet.params.epochs);
    let validators = devnet.members.iter().filter(|member| member.role == Role::Validator);
    let found = validators
        .map(|member| member.data_dir())
        .find(|dir| dir.join(format!("heldout-{last}.json")).exists());
    found
        .map(|dir| dir.join("checkpoint"))
        .context("no validator evaluated the final weights; see validator-*.log")
}

fn sample(devnet: &Devnet) -> anyhow::Result<String> {
    let dir = checkpoint(devnet)?;
    let mut weights = Vec::new();
    for number in 0..devnet.params.n_stages() {
        let stage = iota_protocol::ids::Stage(number);
        let path = dir.join(format!("stage-{stage}.safetensors"));
        weights
            .push(iota_compute::checkpoint::read(&path, crate::network::RUN, &devnet.params, stage)?.weights);
    }
    let text = generate(&devnet.params, &weights, PROMPT.as_bytes(), SAMPLE, 0.8, 40, devnet.params.seed)?;
    Ok(format!("{PROMPT}{}", String::from_utf8_lossy(&text)))
}
