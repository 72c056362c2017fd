//! What an operator may know of a running validator: numbers for Prometheus and facts for `/status`.
//! Whoever does something tells it here; nothing is decided from it.

use iota_protocol::ids::{Epoch, Uid};
use iota_protocol::report::{Report, Verdict};
use iota_service::metrics::{Counter, Endpoint, Gauge, Registry};
use iota_service::tasks::Shutdown;
use iota_worker::session::Session;
use serde_json::json;

/// Handles on everything that is counted. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauges {
    registry: Registry,
    scored: Counter,
    failed: Counter,
    heldout: Gauge,
    train: Gauge,
    block: Gauge,
    epoch: Gauge,
}

impl Default for Gauges {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name, help| registry.counter(name, help, None);
        let gauge = |name, help| registry.gauge(name, help, None);
        Self {
            scored: counter("iota_epochs_scored_total", "Epochs whose row was committed and revealed."),
            failed: counter("iota_scoring_failures_total", "Attempts to score an epoch that failed."),
            heldout: gauge(
                "iota_heldout_loss_nats",
                "Held-out loss of the newest verified weights, nats per token.",
            ),
            train: gauge(
                "iota_train_loss_nats",
                "Mean loss over the samples of the last report, nats per token.",
            ),
            block: gauge("iota_block", "Newest finalized block."),
            epoch: gauge("iota_epoch", "Epoch of the run."),
            registry,
        }
    }
}

impl Gauges {
    /// Serves them on a port of this machine, if one is asked for, and follows the chain for them.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn serve(&self, port: Option<u16>, session: Session, uid: Uid) -> anyhow::Result<()> {
        let Some(port) = port else { return Ok(()) };
        self.registry.set_fact("run", json!(session.run));
        self.registry.set_fact("uid", json!(uid));
        let endpoint = Endpoint::bind(port, self.registry.clone()).await?;
        tracing::info!(address = %endpoint.address()?, "metrics at /metrics, status at /status, health at /health");
        tokio::spawn(endpoint.serve(Shutdown::new()));
        tokio::spawn(self.clone().follow(session));
        Ok(())
    }

    async fn follow(self, mut session: Session) {
        while let Ok(view) = session.next().await {
            self.registry.alive();
            self.block.set(f64::from(view.head.number));
            self.epoch.set(f64::from(view.epoch().0));
            self.registry.set_fact("phase", json!(view.phase()));
            self.registry.set_fact("state", json!(view.clock.state));
        }
    }

    /// A report was published.
    pub fn reported(&self, report: &Report) {
        self.registry.set_fact("reported_epoch", json!(report.epoch));
        self.registry.set_fact("miners_scored", json!(report.miners.len()));
        self.registry.set_fact("samples_seen", json!(report.observations.len()));
        if let Some(loss) = report.train_loss() {
            self.train.set(loss);
        }
        for audit in &report.audits {
            self.audited(audit.verdict);
        }
    }

    fn audited(&self, verdict: Verdict) {
        let label = match verdict {
            Verdict::Sound => "sound",
            Verdict::Invalid => "invalid",
            Verdict::Undecided => "undecided",
        };
        let help = "Audits done, by what they found.";
        self.registry.counter("iota_audits_total", help, Some(("verdict", label))).add(1);
    }

    /// An epoch's row is on chain.
    pub fn scored(&self, epoch: Epoch) {
        self.scored.add(1);
        self.registry.set_fact("scored_epoch", json!(epoch));
    }

    /// Scoring an epoch failed; it may be tried again.
    pub fn failed(&self, error: &str) {
        self.failed.add(1);
        self.registry.set_fact("last_failure", json!(error));
    }

    /// Held-out loss of the weights that an epoch starts with, millionths of a nat.
    pub fn heldout(&self, micro: u32) {
        self.heldout.set(f64::from(micro) / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audits_are_counted_by_what_they_found() {
        let gauges = Gauges::default();
        for verdict in [Verdict::Sound, Verdict::Sound, Verdict::Invalid] {
            gauges.audited(verdict);
        }
        gauges.scored(Epoch(4));
        gauges.failed("the node is away");
        gauges.heldout(1_500_000);
        let status = gauges.registry.status();
        let metric = |name: &str| status["metrics"][name].clone();
        assert_eq!(metric("iota_audits_total{verdict=\"sound\"}"), json!(2));
        assert_eq!(metric("iota_audits_total{verdict=\"invalid\"}"), json!(1));
        assert_eq!(
            (metric("iota_epochs_scored_total"), metric("iota_scoring_failures_total")),
            (json!(1), json!(1))
        );
        assert_eq!(metric("iota_heldout_loss_nats"), json!(1.5));
        assert_eq!(status["facts"]["scored_epoch"], json!(4));
    }
}
