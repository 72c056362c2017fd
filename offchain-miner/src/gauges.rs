//! What an operator may know of a running miner: numbers for Prometheus, facts for the live view and
//! for `/status`. Whoever does something tells it here; nothing is decided from it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iota_protocol::receipt::LogEvent;
use iota_service::metrics::{Counter, Gauge, Registry};
use serde_json::{json, Value};

use crate::ledger::SampleTimes;

/// Losses kept for the curve: as many columns as a wide terminal has, each the mean of some samples.
const CURVE: usize = 200;
/// Samples in one point of the curve: single samples scatter by a tenth.
const SAMPLES_PER_POINT: u32 = 8;

/// Handles on everything that is counted. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauges {
    registry: Registry,
    forward: Counter,
    backward: Counter,
    steps: Counter,
    reroutes: Counter,
    in_flight: Gauge,
    service: Gauge,
    loss: Gauge,
    times: SampleTimes,
    curve: Arc<Mutex<Curve>>,
}

/// Mean losses of the last samples, oldest first.
#[derive(Debug, Default)]
struct Curve {
    points: VecDeque<f64>,
    sum: f64,
    count: u32,
}

impl Default for Gauges {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name, help| registry.counter(name, help, None);
        let gauge = |name, help| registry.gauge(name, help, None);
        Self {
            forward: counter("iota_forward_passes_total", "Forward passes that ran here."),
            backward: counter("iota_backward_passes_total", "Backward passes that ran here."),
            steps: counter("iota_local_steps_total", "Local optimizer steps."),
            reroutes: counter("iota_reroutes_total", "Samples that started again at another miner."),
            in_flight: gauge("iota_samples_in_flight", "Samples that this stage has begun and not finished."),
            service: gauge("iota_downstream_seconds", "Median time that the next stage takes for a sample."),
            loss: gauge("iota_loss_nats", "Mean loss of the last samples, nats per token; last stage only."),
            times: SampleTimes::new(&registry),
            curve: Arc::default(),
            registry,
        }
    }
}

impl Gauges {
    /// The registry behind it, for the endpoint.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// All facts and numbers, as `/status` shows them.
    #[must_use]
    pub fn status(&self) -> Value {
        self.registry.status()
    }

    /// A finalized block was seen.
    pub fn alive(&self) {
        self.registry.alive();
    }

    /// One sentence on what this miner is doing, or why it is doing nothing.
    pub fn doing(&self, what: impl Into<String>) {
        self.registry.set_fact("doing", json!(what.into()));
    }

    /// Sets a fact.
    pub fn fact(&self, name: &'static str, value: Value) {
        self.registry.set_fact(name, value);
    }

    /// Sets a number that has no handle of its own.
    pub fn number(&self, name: &'static str, help: &'static str, value: f64) {
        self.registry.gauge(name, help, None).set(value);
    }

    /// Bytes sent at one boundary so far.
    pub fn sent(&self, boundary: u16, total: u64) {
        let label = boundary.to_string();
        let counter = self.registry.counter(
            "iota_sent_bytes_total",
            "Bytes sent to neighbours at a stage boundary, by the boundary's number.",
            Some(("boundary", &label)),
        );
        counter.add(total.saturating_sub(counter.value()));
    }

    /// An event of the trainer's log.
    pub fn event(&self, event: &LogEvent) {
        match event {
            LogEvent::Forward { .. } => self.forward.add(1),
            LogEvent::Backward { .. } => self.backward.add(1),
            LogEvent::Step { .. } => self.steps.add(1),
            LogEvent::Abandon { .. } => {}
        }
    }

    /// Where the time of samples goes.
    #[must_use]
    pub fn sample_times(&self) -> SampleTimes {
        self.times.clone()
    }

    /// A sample started again elsewhere.
    pub fn rerouted(&self) {
        self.reroutes.add(1);
    }

    /// Samples that are open now.
    pub fn open(&self, samples: usize) {
        self.in_flight.set(samples as f64);
    }

    /// Median time that downstream takes.
    pub fn served(&self, median: Duration) {
        self.service.set(median.as_secs_f64());
    }

    /// Loss of a sample, nats per token.
    pub fn loss(&self, nats: f64) {
        let mut curve = self.curve.lock().unwrap_or_else(PoisonError::into_inner);
        curve.sum += nats;
        curve.count += 1;
        if curve.count < SAMPLES_PER_POINT {
            return;
        }
        let mean = curve.sum / f64::from(curve.count);
        (curve.sum, curve.count) = (0.0, 0);
        curve.points.push_back(mean);
        if curve.points.len() > CURVE {
            curve.points.pop_front();
        }
        self.loss.set(mean);
        self.registry.set_fact("losses", json!(curve.points));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_holds_means_and_forgets_the_oldest() {
        let gauges = Gauges::default();
        for sample in 0..SAMPLES_PER_POINT {
            assert_eq!(gauges.status()["facts"]["losses"], Value::Null, "no point before {sample} samples");
            gauges.loss(f64::from(sample));
        }
        assert_eq!(gauges.status()["facts"]["losses"], json!([3.5]), "the mean of 0 to 7");
        for _ in 0..2 * CURVE * usize::try_from(SAMPLES_PER_POINT).unwrap() {
            gauges.loss(1.0);
        }
        let points = gauges.status()["facts"]["losses"].as_array().unwrap().len();
        assert_eq!(points, CURVE);
        assert_eq!(gauges.status()["metrics"]["iota_loss_nats"], json!(1.0));
    }

    #[test]
    fn sent_bytes_follow_the_meter() {
        let gauges = Gauges::default();
        gauges.sent(1, 100);
        gauges.sent(1, 250);
        gauges.sent(1, 200);
        let counted = &gauges.status()["metrics"]["iota_sent_bytes_total{boundary=\"1\"}"];
        assert_eq!(counted, &json!(250), "a counter never falls");
    }
}
