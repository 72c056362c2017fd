//! Numbers and facts about a running worker, on a local port: `/metrics` for Prometheus, `/status` as
//! JSON, `/health` for whoever restarts what hangs.
//!
//! The server is small on purpose: it listens on the loopback interface only, reads one short request per
//! connection, and answers from memory.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    time::{Duration, Instant},
};

use serde_json::{json, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::tasks::Shutdown;

/// Series kept; a label with unbounded values is a bug that must not eat the memory.
const MAX_SERIES: usize = 1024;

/// Longest request: a browser's headers fit.
const MAX_REQUEST_BYTES: usize = 8 << 10;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Exchanges at once; more wait in the system's queue.
const MAX_EXCHANGES: usize = 8;

/// Without a sign of life for so long a worker is not healthy: sixty of the shortest blocks, longer than a
/// node takes to restart.
const SILENCE: Duration = Duration::from_secs(60);

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

#[derive(Debug)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
}

#[derive(Debug, Default)]
struct Content {
    series: BTreeMap<&'static str, (&'static str, BTreeMap<String, Metric>)>,
    count: usize,
    facts: BTreeMap<&'static str, Value>,
    /// The last sign of life.
    alive: Option<Instant>,
}

/// All numbers and facts of a program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Content>>);

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of this name and label, made at the first call. `label` is a name and a value, if any.
    ///
    /// A name that is a gauge already, and a series beyond the limit of 1024, gives a counter that counts but
    /// is not shown; both are logged.
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &'static str, label: Option<(&str, &str)>) -> Counter {
        let fresh = Counter::default();
        match self.content().entry(name, help, label, Metric::Counter(fresh.clone())) {
            Some(Metric::Counter(counter)) => counter.clone(),
            _ => fresh,
        }
    }

    /// The gauge of this name and label, as [`Registry::counter`].
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str, label: Option<(&str, &str)>) -> Gauge {
        let fresh = Gauge::default();
        match self.content().entry(name, help, label, Metric::Gauge(fresh.clone())) {
            Some(Metric::Gauge(gauge)) => gauge.clone(),
            _ => fresh,
        }
    }

    /// Sets a fact for `/status`, such as the stage or why the worker is idle.
    pub fn set_fact(&self, name: &'static str, fact: Value) {
        self.content().facts.insert(name, fact);
    }

    /// A sign of life, such as a new finalized block.
    pub fn alive(&self) {
        self.content().alive = Some(Instant::now());
    }

    /// Why the worker is not healthy; `None` if it is.
    #[must_use]
    pub fn ailment(&self) -> Option<String> {
        match self.content().alive {
            None => Some("no finalized block has been seen yet".to_owned()),
            Some(last) if last.elapsed() > SILENCE => {
                let seconds = last.elapsed().as_secs();
                Some(format!("no finalized block for {seconds} s; look at the node and at the log"))
            }
            Some(_) => None,
        }
    }

    /// All numbers in Prometheus' text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let content = self.content();
        let mut text = String::new();
        for (name, (help, series)) in &content.series {
            let kind =
                if matches!(series.values().next(), Some(Metric::Counter(_))) { "counter" } else { "gauge" };
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (label, metric) in series {
                let _infallible = match metric {
                    Metric::Counter(counter) => writeln!(text, "{name}{label} {}", counter.value()),
                    Metric::Gauge(gauge) => writeln!(text, "{name}{label} {}", gauge.value()),
                };
            }
        }
        text
    }

    /// All facts and numbers as JSON: `{"facts": {..}, "metrics": {"name{label}": number}}`.
    #[must_use]
    pub fn status(&self) -> Value {
        let content = self.content();
        let mut metrics = serde_json::Map::new();
        for (name, (_, series)) in &content.series {
            for (label, metric) in series {
                let value = match metric {
                    Metric::Counter(counter) => json!(counter.value()),
                    Metric::Gauge(gauge) => json!(gauge.value()),
                };
                metrics.insert(format!("{name}{label}"), value);
            }
        }
        json!({ "facts": content.facts, "metrics": metrics })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic elsewhere cannot leave the maps half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn entry(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: Option<(&str, &str)>,
        fresh: Metric,
    ) -> Option<&Metric> {
        let label = label.map_or_else(String::new, label_text);
        let known = self.series.get(name);
        let same_kind = known
            .and_then(|(_, series)| series.values().next())
            .is_none_or(|first| std::mem::discriminant(first) == std::mem::discriminant(&fresh));
        let is_new = known.is_none_or(|(_, series)| !series.contains_key(&label));
        if !same_kind || (is_new && self.count >= MAX_SERIES) {
            tracing::warn!(name, label, same_kind, series = self.count, "metric is not shown");
            return None;
        }
        self.count += usize::from(is_new);
        let (_, series) = self.series.entry(name).or_insert_with(|| (help, BTreeMap::new()));
        Some(series.entry(label).or_insert(fresh))
    }
}

fn label_text((name, value): (&str, &str)) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

/// The endpoint, bound to a port of the loopback interface.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    registry: Registry,
}

impl Endpoint {
    /// Opens a port; 0 takes a free one.
    ///
    /// # Errors
    /// The port is in use; the text names it.
    pub async fn bind(port: u16, registry: Registry) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
            let text = format!("cannot serve metrics on 127.0.0.1:{port}: {error}; choose another port");
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self { listener, registry })
    }

    /// The open address.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until shutdown is requested.
    ///
    /// # Errors
    /// None at present: a failed exchange is logged and the next one served.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_EXCHANGES));
        let mut exchanges = tokio::task::JoinSet::new();
        loop {
            let place = Arc::clone(&places).acquire_owned().await?;
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let registry = self.registry.clone();
                        exchanges.spawn(async move {
                            // Whoever is slow or breaks off gets nothing; there is nobody to tell.
                            let _abandoned = timeout(PATIENCE, exchange(stream, &registry)).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "metrics connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
            while exchanges.try_join_next().is_some() {}
        }
    }
}

async fn exchange(mut stream: TcpStream, registry: &Registry) -> io::Result<()> {
    let request = read_head(&mut stream).await?;
    let (status, kind, body) = answer(&request, registry);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads up to the empty line that ends a request's head.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    let mut limited = stream.take(u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX));
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

fn answer(head: &[u8], registry: &Registry) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("GET"), Some("/metrics")) => ("200 OK", TEXT, registry.prometheus()),
        (Some("GET"), Some("/status")) => ("200 OK", "application/json", registry.status().to_string()),
        (Some("GET"), Some("/health")) => match registry.ailment() {
            None => ("200 OK", TEXT, "ok\n".to_owned()),
            Some(why) => ("503 Service Unavailable", TEXT, format!("{why}\n")),
        },
        (Some("GET"), _) => ("404 Not Found", TEXT, "try /metrics, /status or /health\n".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, "only GET is served\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started(registry: &Registry) -> (SocketAddr, Shutdown) {
        let endpoint = Endpoint::bind(0, registry.clone()).await.expect("a free port");
        let (address, shutdown) = (endpoint.address().expect("bound"), Shutdown::new());
        tokio::spawn(endpoint.serve(shutdown.clone()));
        (address, shutdown)
    }

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("served");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        // A refused request ends in a reset, which is an answer too.
        let _reset = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn numbers_and_facts_are_served() {
        let registry = Registry::new();
        registry.counter("iota_samples_total", "Samples done.", None).add(3);
        registry.gauge("iota_queue", "Waiting.", Some(("lane", "tr\"ain"))).set(1.5);
        registry.set_fact("stage", json!(2));
        let (address, _shutdown) = started(&registry).await;
        let metrics = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
        let expected =
            "# HELP iota_queue Waiting.\n# TYPE iota_queue gauge\niota_queue{lane=\"tr\\\"ain\"} 1.5\n\
                        # HELP iota_samples_total Samples done.\n# TYPE iota_samples_total counter\n\
                        iota_samples_total 3\n";
        assert!(metrics.ends_with(expected), "{metrics}");

        let sick = get(address, "GET /health HTTP/1.1\r\n\r\n").await;
        assert!(sick.starts_with("HTTP/1.1 503 ") && sick.contains("no finalized block"), "{sick}");
        registry.alive();
        let healthy = get(address, "GET /health HTTP/1.1\r\n\r\n").await;
        assert!(healthy.starts_with("HTTP/1.1 200 OK\r\n") && healthy.ends_with("ok\n"), "{healthy}");

        let status = get(address, "GET /status HTTP/1.1\r\n\r\n").await;
        let body: Value =
            serde_json::from_str(status.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
        assert_eq!(body["facts"]["stage"], json!(2));
        assert_eq!(body["metrics"]["iota_samples_total"], json!(3));
    }

    #[tokio::test]
    async fn other_requests_are_declined_and_the_endpoint_lives_on() {
        let (address, _shutdown) = started(&Registry::new()).await;
        assert!(get(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(get(address, "POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(MAX_REQUEST_BYTES));
        assert_eq!(get(address, &endless).await, "");
        let idle: Vec<_> = (0..MAX_EXCHANGES).map(|_| TcpStream::connect(address)).collect();
        let _idle = futures_join(idle).await;
        let patient = timeout(PATIENCE * 3, get(address, "GET /metrics HTTP/1.1\r\n\r\n")).await;
        assert!(patient.expect("idle connections are dropped").starts_with("HTTP/1.1 200"));
    }

    async fn futures_join<F: std::future::Future>(futures: Vec<F>) -> Vec<F::Output> {
        let mut outputs = Vec::new();
        for future in futures {
            outputs.push(future.await);
        }
        outputs
    }

    #[tokio::test]
    async fn shutdown_ends_the_endpoint_and_a_taken_port_is_named() {
        let endpoint = Endpoint::bind(0, Registry::new()).await.expect("a free port");
        let port = endpoint.address().expect("bound").port();
        let error = Endpoint::bind(port, Registry::new()).await.expect_err("taken").to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        let shutdown = Shutdown::new();
        shutdown.request();
        timeout(PATIENCE, endpoint.serve(shutdown)).await.expect("at once").expect("no error");
    }

    #[test]
    fn same_name_gives_the_same_number_and_series_are_bounded() {
        let registry = Registry::new();
        let count = |label: &str| registry.counter("c", "C.", Some(("peer", label)));
        count("a").add(1);
        assert_eq!(count("a").value(), 1);
        (0..2 * MAX_SERIES).for_each(|i| count(&i.to_string()).add(1));
        assert_eq!(registry.prometheus().lines().count(), MAX_SERIES + 2);
        registry.gauge("c", "C.", None).set(9.0);
        assert!(!registry.prometheus().lines().any(|line| line == "c 9"), "a counter is no gauge");
    }
}
