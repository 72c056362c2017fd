//! What an operator may know of a running explorer: how far its index is, and whether it goes on.

use iota_service::metrics::{Counter, Endpoint, Gauge, Registry};
use iota_service::tasks::Shutdown;
use tokio::sync::watch;

/// Handles on everything that is counted.
#[derive(Debug)]
pub struct Gauges {
    registry: Registry,
    block: Gauge,
    indexed: Counter,
}

impl Default for Gauges {
    fn default() -> Self {
        let registry = Registry::new();
        Self {
            block: registry.gauge("iota_block", "Newest finalized block.", None),
            indexed: registry.counter("iota_indexed_blocks_total", "Blocks indexed since the start.", None),
            registry,
        }
    }
}

impl Gauges {
    /// Opens the local port; 0 takes a free one and logs it.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn open(&self, port: u16) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::bind(port, self.registry.clone()).await?;
        tracing::info!(address = %endpoint.address()?, "metrics at /metrics, status at /status, health at /health");
        Ok(endpoint)
    }

    /// Follows the newest block of the index until shutdown is requested.
    ///
    /// # Errors
    /// When the indexer has ended.
    pub async fn follow(
        self,
        mut newest: watch::Receiver<Option<u32>>,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        while !shutdown.is_requested() {
            self.seen(*newest.borrow_and_update());
            tokio::select! {
                changed = newest.changed() => {
                    // On the way out the indexer may be gone first.
                    anyhow::ensure!(changed.is_ok() || shutdown.is_requested(), "the indexer has ended");
                }
                () = shutdown.requested() => {}
            }
        }
        Ok(())
    }

    fn seen(&self, block: Option<u32>) {
        let Some(block) = block else { return };
        let before = self.block.value();
        self.registry.alive();
        self.block.set(f64::from(block));
        // The receiver shows the newest value only: blocks between two looks were indexed as well.
        let more = if before > 0.0 { f64::from(block) - before } else { 1.0 };
        self.indexed.add(more.max(0.0) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_index_is_seen_to_go_on_until_it_ends() {
        let gauges = Gauges::default();
        let registry = gauges.registry.clone();
        let (sender, receiver) = watch::channel(Some(7));
        let following = tokio::spawn(gauges.follow(receiver, Shutdown::new()));
        let reaches = async |block: f64, indexed: u64| loop {
            let metrics = registry.status()["metrics"].clone();
            if metrics["iota_block"] == block && metrics["iota_indexed_blocks_total"] == indexed {
                break;
            }
            tokio::task::yield_now().await;
        };
        reaches(7.0, 1).await;
        sender.send_replace(Some(10));
        reaches(10.0, 4).await;
        drop(sender);
        let ended = following.await.unwrap();
        assert!(ended.unwrap_err().to_string().contains("the indexer has ended"));
    }
}
