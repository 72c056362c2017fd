//! Pages, JSON API and live updates over one database.
//!
//! Everything is served from this program: no other host is ever asked, which the content security
//! policy states to the browser. Pages are whole without JavaScript; charts and live updates are added
//! by a script of ours.

mod api;
mod assets;
mod audits;
mod live;
mod model;
mod page;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use audits::Audits;
use axum::extract::Request;
use axum::http::{header, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::Router;
use iota_service::tasks::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::{watch, Semaphore};
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::GovernorLayer;

use crate::follow::blocking;
use crate::manifest::Manifests;
use crate::store::{Reader, Store, StoreError};

/// Reads of the database at once: SQLite reads are short and bound by the processor, so more than a
/// few only wait for each other.
const READS: usize = 8;
/// Live connections at once; each holds a socket and a timer.
const LIVE: usize = 512;
/// Requests that an address may make at once, in seconds of its rate: a page with its assets and
/// charts, several times over.
const BURST_SECONDS: u32 = 10;
/// Between two clean-ups of the limiter's memory of addresses.
const FORGET: Duration = Duration::from_secs(60);

/// Nothing but our own files, no inline script or style, no frame around us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What all answers are made from.
#[derive(Clone)]
pub struct Served {
    store: Store,
    newest: watch::Receiver<Option<u32>>,
    reads: Arc<Semaphore>,
    live: Arc<Semaphore>,
    audits: Arc<Audits>,
    manifests: Arc<Manifests>,
    requests_per_second: u32,
}

impl Served {
    /// Serves `store`; `newest` tells when there is more in it.
    #[must_use]
    pub fn new(store: Store, newest: watch::Receiver<Option<u32>>, requests_per_second: u32) -> Self {
        Self {
            store,
            newest,
            reads: Arc::new(Semaphore::new(READS)),
            live: Arc::new(Semaphore::new(LIVE)),
            audits: Arc::new(Audits::default()),
            manifests: Arc::new(Manifests::default()),
            requests_per_second: requests_per_second.clamp(1, 1_000),
        }
    }

    /// Shows these manifests with the runs that name them.
    #[must_use]
    pub fn with_manifests(self, manifests: Manifests) -> Self {
        Self { manifests: Arc::new(manifests), ..self }
    }

    /// Reads the database off the runtime's threads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let _turn = self.reads.acquire().await.context("shutting down")?;
        let store = self.store.clone();
        Ok(blocking(move || work(&store.reader()?)).await?)
    }
}

/// A request that could not be answered. The reason goes to the log, not to strangers.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = %format!("{:#}", self.0), "request failed");
        (StatusCode::INTERNAL_SERVER_ERROR, "the explorer could not read its database\n").into_response()
    }
}

/// Routes without the rate limit, which needs a peer's address.
fn routes(served: Served) -> Router {
    Router::new()
        .merge(pages::routes())
        .merge(api::routes())
        .merge(live::routes())
        .merge(assets::routes())
        .fallback(pages::not_found)
        .layer(middleware::from_fn(headers))
        .with_state(served)
}

/// Answers until shutdown.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, served: Served, stop: Shutdown) -> anyhow::Result<()> {
    let rate = served.requests_per_second;
    let config = GovernorConfigBuilder::default()
        .period(Duration::from_secs(1) / rate)
        .burst_size(rate.saturating_mul(BURST_SECONDS))
        .finish()
        .context("a rate of zero limits nothing")?;
    let limiter = Arc::clone(config.limiter());
    let app = routes(served).layer(GovernorLayer::new(config));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let forgetting = async {
        loop {
            tokio::time::sleep(FORGET).await;
            limiter.retain_recent();
        }
    };
    tokio::select! {
        biased;
        // Live connections never end by themselves, so nobody is waited for.
        () = stop.requested() => Ok(()),
        served = axum::serve(listener, service) => served.context("serving pages"),
        () = forgetting => Ok(()),
    }
}

/// Headers of every answer.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
