//! One row: a devnet behind its links until the second epoch's work is committed, and what was late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use iota_protocol::ids::Epoch;
use iota_protocol::phase::Phase;
use iota_protocol::view::{CommitView, MergeView};
use iota_protocol::work::{Role, ShardStatus};
use iota_tests::collect::Records;
use iota_tests::network::Devnet;

use crate::rows::{Outcome, Row, MINERS, VALIDATORS};

/// The measured epoch: in the one before it connections are made.
const MEASURED: Epoch = Epoch(1);
/// A row that takes longer has failed: its blocks are 90, and three extensions of `Train` are 93 more.
const PATIENCE: Duration = Duration::from_secs(400);
/// What a miner submits in an epoch.
const CALLS: [&str; 5] = ["commit_work", "attest", "blind_merge", "open_merge", "commit_root"];

/// A row from start to end.
///
/// # Errors
/// When the devnet does not start, a program ends early or the second epoch does not come.
pub async fn measure(row: &Row) -> anyhow::Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("iota-links-").tempdir()?;
    let mut devnet = Devnet::start(row.options(dir.path())?).await?;
    let seen = until_committed(&mut devnet).await;
    devnet.stop();
    let (records, extensions) = match seen {
        Ok(seen) => seen,
        Err(error) => {
            // The logs say why; they are kept then.
            anyhow::bail!("{error:#}; logs are in {}", dir.keep().display())
        }
    };
    let merges =
        |epoch| records.epochs.get(&epoch).map(|record| record.merges.as_slice()).unwrap_or_default();
    let tokens: Vec<f64> = [Epoch(0), MEASURED].map(|epoch| tokens(&devnet, merges(epoch).first())).to_vec();
    let rate = |(epoch, tokens): (u32, &f64)| tokens / seconds(&devnet, extensions.get(&epoch).copied());
    let agreed = merges(Epoch(0)).iter().flat_map(|merge| &merge.shards);
    let agreed = agreed.filter(|shard| matches!(shard, ShardStatus::Agreed(_) | ShardStatus::Single(_)));
    Ok(Outcome {
        row: row.name(),
        rates: (0..).zip(&tokens).map(rate).collect(),
        bytes_per_token: sent(&devnet) as f64 / tokens.iter().sum::<f64>().max(1.0),
        due: MINERS * (CALLS.len() as u32 + 1) + 2 * VALIDATORS,
        late: late(&records, &extensions),
        agreed: u32::try_from(agreed.count())?,
    })
}

/// Follows a devnet until the measured epoch's `Commit` is over; with the extensions of `Train`, by epoch.
async fn until_committed(devnet: &mut Devnet) -> anyhow::Result<(Records, BTreeMap<u32, u8>)> {
    let (mut records, mut extensions) = (Records::default(), BTreeMap::new());
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = records.look(devnet).await {
            tracing::debug!(%error, "looking again");
        }
        if let Some(clock) = &records.clock {
            extensions.insert(clock.epoch.0, clock.extensions);
            let phase = clock.schedule(&devnet.params).phase_at(records.block);
            if clock.epoch > MEASURED || (clock.epoch == MEASURED && phase > Phase::Commit) {
                return Ok((records, extensions));
            }
        }
        let dead = devnet.dead(&[]);
        anyhow::ensure!(dead.is_empty(), "a program ended early:\n{}", dead.join("\n"));
        anyhow::ensure!(Instant::now() < deadline, "no two epochs within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Tokens that a stage's committers have worked on.
fn tokens(devnet: &Devnet, merge: Option<&MergeView>) -> f64 {
    let samples: u32 = merge.iter().flat_map(|merge| &merge.commits).map(|own| own.work.samples).sum();
    f64::from(samples) * f64::from(devnet.params.tokens_per_sample())
}

/// Length of `Train`, blocks of a second each.
fn seconds(devnet: &Devnet, extensions: Option<u8>) -> f64 {
    let phases = &devnet.params.phases;
    f64::from(phases.train + u32::from(extensions.unwrap_or(0)) * (phases.train + phases.commit))
}

/// Bytes that miners sent at the boundary; they write them down with every commit.
fn sent(devnet: &Devnet) -> u64 {
    let miners = devnet.members.iter().filter(|member| member.role == Role::Miner);
    let counts = miners.filter_map(|member| std::fs::read(member.data_dir().join("wire.json")).ok());
    let counts = counts.filter_map(|text| serde_json::from_slice::<BTreeMap<u16, u64>>(&text).ok());
    counts.flat_map(BTreeMap::into_values).sum()
}

/// What was due and is not on chain, or made the chain wait: all calls of the first epoch, its scores, and the
/// commits of the second.
fn late(records: &Records, extensions: &BTreeMap<u32, u8>) -> Vec<String> {
    let mut late = Vec::new();
    for (epoch, calls) in [(0, &CALLS[..]), (1, &CALLS[..1])] {
        let merges = records.epochs.get(&Epoch(epoch)).map(|record| record.merges.as_slice());
        let commits: Vec<&CommitView> =
            merges.unwrap_or_default().iter().flat_map(|merge| &merge.commits).collect();
        for call in calls {
            let made = commits.iter().filter(|commit| made(commit, call)).count();
            let missed = usize::try_from(MINERS).unwrap_or(0).saturating_sub(made);
            late.extend((0..missed).map(|_| format!("{call} of epoch {epoch}")));
        }
        let waited = extensions.get(&epoch).copied().unwrap_or(0);
        late.extend((0..waited).map(|_| format!("commit_work of epoch {epoch}, by an extension of Train")));
    }
    let scores = records.epochs.get(&Epoch(0)).map(|record| record.scores.as_slice()).unwrap_or_default();
    let revealed = scores.iter().filter(|score| score.entries.is_some()).count();
    let due = usize::try_from(VALIDATORS).unwrap_or(0);
    late.extend((scores.len()..due).map(|_| "commit_scores of epoch 0".to_owned()));
    late.extend((revealed..due).map(|_| "reveal_scores of epoch 0".to_owned()));
    late
}

fn made(commit: &CommitView, call: &str) -> bool {
    match call {
        "attest" => commit.attested.is_some(),
        "blind_merge" => commit.blind.is_some(),
        "open_merge" => commit.opened,
        "commit_root" => commit.root.is_some(),
        _ => true,
    }
}
