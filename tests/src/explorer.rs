//! An explorer of a running network: started, killed, stopped, and asked what it knows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::http;
use crate::process::{free_port, Process};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);

/// A running explorer.
pub struct Explorer {
    /// The program; its log lines are JSON.
    pub process: Process,
    /// Where it answers.
    pub address: String,
    /// Its index.
    pub data: PathBuf,
}

impl Explorer {
    /// Starts one whose index lies in `dir`, which nobody else uses. Requests are not limited: whoever compares asks for every block.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: PathBuf, node: &str, dir: &Path) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = dir.join("explorer.toml");
        std::fs::write(&config, "requests_per_second = 1000\n").context("writing the explorer's settings")?;
        let data = dir.join("explorer.sqlite");
        let (config, file) = (config.display().to_string(), data.display().to_string());
        let run = ["run", "--node", node, "--data", &file, "--listen", &address];
        let args = ["--json-log", "--config", &config].into_iter().chain(run).map(str::to_owned).collect();
        Ok(Self { process: Process::start("explorer", program, args, dir)?, address, data })
    }

    /// The newest indexed block; `None` before there is an answer.
    pub async fn newest(&self) -> Option<u64> {
        http::json(&self.address, "/api/v1/status").await.ok()?["newest"]["number"].as_u64()
    }

    /// Waits until a block is indexed; the newest one then.
    ///
    /// # Errors
    /// When it ends, or is not there after `patience`.
    pub async fn reaches(&mut self, block: u64, patience: Duration) -> anyhow::Result<u64> {
        let started = Instant::now();
        loop {
            if let Some(newest) = self.newest().await.filter(|newest| *newest >= block) {
                return Ok(newest);
            }
            anyhow::ensure!(self.process.exited().is_none(), "it ended:\n{}", self.process.tail(20));
            let late = started.elapsed() > patience;
            anyhow::ensure!(
                !late,
                "block {block} is not indexed after {patience:?}:\n{}",
                self.process.tail(20)
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGKILL, and the same again with the index that is left.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.restart()
    }

    /// Blocks that are indexed with their state, and how many there are from genesis to the newest.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn coverage(&self) -> anyhow::Result<(u64, u64)> {
        let status = http::json(&self.address, "/api/v1/status").await.map_err(anyhow::Error::msg)?;
        let newest = status["newest"]["number"].as_u64().context("nothing is indexed")?;
        let whole = status["blocks_with_state"].as_u64().context("no count of blocks")?;
        Ok((whole, newest.saturating_add(1)))
    }

    /// The audit of an epoch of run 0.
    ///
    /// # Errors
    /// When it does not answer, or knows no such epoch.
    pub async fn audit(&self, epoch: u32) -> anyhow::Result<Value> {
        let path = format!("/api/v1/runs/0/epochs/{epoch}/audit");
        http::json(&self.address, &path).await.map_err(anyhow::Error::msg)
    }

    /// The audit of an epoch, waited for until it passes: votes and reports come in after the block. What it says
    /// after `patience` otherwise.
    ///
    /// # Errors
    /// As [`Explorer::audit`].
    pub async fn passes(&self, epoch: u32, patience: Duration) -> anyhow::Result<Value> {
        let started = Instant::now();
        loop {
            let audit = self.audit(epoch).await?;
            if audit["verdict"] == "pass" || started.elapsed() > patience {
                return Ok(audit);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
