//! What an operator may know of a running miner: numbers for Prometheus, facts for the live view and
//! for `/status`. Whoever does something tells it here; nothing is decided from it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iota_network::NetworkStats;
use iota_protocol::receipt::LogEvent;
use iota_service::metrics::{Counter, Gauge, Registry};
use serde_json::{json, Value};

use crate::ledger::SampleTimes;
use crate::trainer::{Done, Outcome};

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
    passes: [Passes; 3],
    curve: Arc<Mutex<Curve>>,
}

/// The passes of one kind: how many, and how long they took in all.
#[derive(Clone, Debug)]
struct Passes {
    count: Counter,
    micros: Counter,
}

impl Passes {
    fn new(registry: &Registry, kind: &'static str) -> Self {
        let counter = |name, help| registry.counter(name, help, Some(("pass", kind)));
        Self {
            count: counter(
                "iota_passes_timed_total",
                "Passes through the model whose time was taken, by kind.",
            ),
            micros: counter("iota_pass_microseconds_total", "Time of those passes, codec included, by kind."),
        }
    }
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
            passes: ["forward", "backward", "both"].map(|kind| Passes::new(&registry, kind)),
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

    /// A pass came back from the trainer. The last stage's runs forward and backward at once.
    pub fn passed(&self, done: &Done) {
        let [forward, backward, both] = &self.passes;
        let passes = match done.outcome {
            Outcome::Forward { .. } => forward,
            Outcome::Backward { .. } => backward,
            Outcome::Loss { .. } => both,
            Outcome::Abandoned | Outcome::Failed(_) => return,
        };
        let took = done.timing.ended.saturating_duration_since(done.timing.began);
        passes.count.add(1);
        passes.micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What the network carried since the start, both lanes together: hops, and what members fetch from each other.
    pub fn carried(&self, stats: &NetworkStats) {
        let lanes = [("train", &stats.train), ("fetch", &stats.fetch)];
        for (lane, carried) in lanes {
            let set = |name, help, bytes: u64| {
                let counter = self.registry.counter(name, help, Some(("lane", lane)));
                counter.add(bytes.saturating_sub(counter.value()));
            };
            set(
                "iota_network_received_bytes_total",
                "Bytes received from other members, by lane.",
                carried.bytes_in,
            );
            set("iota_network_sent_bytes_total", "Bytes sent to other members, by lane.", carried.bytes_out);
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
    use std::time::Instant;

    use iota_protocol::ids::{Sample, Version};

    use super::*;
    use crate::trainer::Timing;

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
    fn passes_are_timed_by_kind_and_failed_ones_are_not() {
        let gauges = Gauges::default();
        let began = Instant::now();
        let nothing = Duration::ZERO;
        let done = |outcome, micros| Done {
            sample: Sample(1),
            outcome,
            events: Vec::new(),
            timing: Timing {
                began,
                ended: began + Duration::from_micros(micros),
                codec: nothing,
                hash: nothing,
                disk: nothing,
            },
        };
        let forward = || Outcome::Forward { codes: Vec::new(), version: Version(0) };
        gauges.passed(&done(forward(), 1_500));
        gauges.passed(&done(forward(), 500));
        gauges.passed(&done(Outcome::Backward { gradient: None, version: Version(0) }, 3_000));
        gauges.passed(&done(Outcome::Failed("no".into()), 70_000));
        let metric = |name: &str| gauges.status()["metrics"][name].as_u64().unwrap_or_default();
        assert_eq!(metric("iota_pass_microseconds_total{pass=\"forward\"}"), 2_000);
        assert_eq!(metric("iota_passes_timed_total{pass=\"forward\"}"), 2);
        assert_eq!(metric("iota_pass_microseconds_total{pass=\"backward\"}"), 3_000);
        assert_eq!(metric("iota_passes_timed_total{pass=\"both\"}"), 0);
    }

    #[test]
    fn traffic_of_both_lanes_is_told_and_never_falls() {
        let gauges = Gauges::default();
        let mut stats = NetworkStats::default();
        (stats.train.bytes_in, stats.fetch.bytes_in, stats.train.bytes_out) = (100, 20, 7);
        gauges.carried(&stats);
        stats.train.bytes_in = 250;
        gauges.carried(&stats);
        let status = gauges.status();
        let metric = |name: &str| status["metrics"][name].as_u64();
        assert_eq!(metric("iota_network_received_bytes_total{lane=\"train\"}"), Some(250));
        assert_eq!(metric("iota_network_received_bytes_total{lane=\"fetch\"}"), Some(20));
        assert_eq!(metric("iota_network_sent_bytes_total{lane=\"train\"}"), Some(7));
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
