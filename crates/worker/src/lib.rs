//! What the miner and the validator share: following a run on chain, knowing who its members are
//! and where, and fetching from them what roots on chain vouch for.
//!
//! Nothing here decides what to train, to merge or to score.

pub mod answer;
pub mod command;
pub mod exchange;
pub mod fetch;
pub mod identity;
pub mod listen;
pub mod network_file;
pub mod onboard;
pub mod segment;
pub mod session;

use std::future::Future;
use std::time::Duration;

use iota_service::tasks::{Exit, Shutdown, Supervisor};

/// Runs a program's one task until it ends or the operator stops it. The task sees the request to stop and has
/// `grace` to put its affairs in order; then it is dropped.
///
/// # Errors
/// When the task failed or panicked, with its reason.
pub async fn supervise<F>(name: &str, grace: Duration, task: impl FnOnce(Shutdown) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut supervisor = Supervisor::new();
    let task = task(supervisor.shutdown());
    supervisor.spawn_critical(name, task);
    let report = supervisor.run(grace).await?;
    match report.exit {
        Exit::Failed { .. } | Exit::Panicked { .. } => anyhow::bail!("{}", report.exit),
        _ => Ok(()),
    }
}
