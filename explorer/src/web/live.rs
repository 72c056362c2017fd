//! Live updates: a server-sent event for every new block in the database.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;
use futures::stream;

use super::{model, Served};

/// A comment line on a quiet stream, so that proxies keep it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/live", get(live))
}

/// Sends the status at once and after every block. Blocks that come faster than they are sent are
/// skipped, not queued.
async fn live(State(served): State<Served>) -> Response {
    let Ok(place) = served.live.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many live connections; try again later\n")
            .into_response();
    };
    let newest = served.newest.clone();
    let events =
        stream::unfold((served, newest, place, true), |(served, mut newest, place, first)| async move {
            if !first && newest.changed().await.is_err() {
                return None;
            }
            newest.borrow_and_update();
            let status = served.read(model::status).await.ok()?;
            let event = Event::default().event("block").json_data(&status).ok()?;
            Some((Ok::<_, Infallible>(event), (served, newest, place, false)))
        });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
