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

use iota_service::tasks::{Exit, Supervisor};

/// Time that tasks get to end after Ctrl-C: journals are synced at every step, so little is left.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a program's one task until it ends or the operator stops it.
///
/// # Errors
/// When the task failed or panicked, with its reason.
pub async fn supervise<F>(name: &str, task: F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut supervisor = Supervisor::new();
    supervisor.spawn_critical(name, task);
    let report = supervisor.run(GRACE).await?;
    match report.exit {
        Exit::Failed { .. } | Exit::Panicked { .. } => anyhow::bail!("{}", report.exit),
        _ => Ok(()),
    }
}
