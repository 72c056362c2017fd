//! The JSON API. Read-only; the paths below are its whole surface, and its OpenAPI description is made
//! from them.

mod schemas;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use iota_protocol::ids::{Epoch, RunId};
use iota_protocol::work::Role;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use super::{model, Failure, Served};
use crate::bundle::Bundle;

/// Every path with what it answers, and the kind of its answer.
pub(super) const PATHS: [(&str, &str, &str); 12] = [
    ("/api/v1/status", "Where the index and all runs stand", "Status"),
    ("/api/v1/live", "Server-sent events: the status after every block", "Status"),
    ("/api/v1/runs/{run}", "A run: stages, epochs, losses, throughput", "Run"),
    (
        "/api/v1/runs/{run}/members",
        "Members with samples, CLASP, scores and pay of the newest paid epoch",
        "Members",
    ),
    (
        "/api/v1/runs/{run}/verdicts",
        "Accusations with votes, requests for evidence, held and lapsed pay",
        "Verdicts",
    ),
    (
        "/api/v1/runs/{run}/epochs/{epoch}",
        "An epoch: windows, miners, validators, agreement, pathways, payments, events",
        "Epoch",
    ),
    (
        "/api/v1/runs/{run}/epochs/{epoch}/audit",
        "The eleven invariants of an epoch's emission",
        "AuditOfEpoch",
    ),
    ("/api/v1/runs/{run}/epochs/{epoch}/bundle", "Everything that verify-epoch needs, as one file", "Bundle"),
    ("/api/v1/accounts/{account}", "An account, by address or 64 hex digits", "Account"),
    ("/api/v1/blocks/{block}", "A block and its events", "BlockPage"),
    ("/api/v1/search", "Where a text leads; the text in the parameter q", "[Hit]"),
    ("/api/openapi.json", "This description", "any"),
];

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/runs/{run}", get(run))
        .route("/api/v1/runs/{run}/members", get(members))
        .route("/api/v1/runs/{run}/verdicts", get(verdicts))
        .route("/api/v1/runs/{run}/epochs/{epoch}", get(epoch))
        .route("/api/v1/runs/{run}/epochs/{epoch}/audit", get(audit))
        .route("/api/v1/runs/{run}/epochs/{epoch}/bundle", get(bundle))
        .route("/api/v1/accounts/{account}", get(account))
        .route("/api/v1/blocks/{block}", get(block))
        .route("/api/v1/search", get(search))
        .route("/api/openapi.json", get(|| async { Json(openapi()) }))
}

/// A role as people write it.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Miner => "miner",
        Role::Validator => "validator",
    }
}

fn found<T: Serialize>(value: Option<T>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => missing(),
    }
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "nothing is known under this address" }))).into_response()
}

async fn status(State(served): State<Served>) -> Result<Response, Failure> {
    Ok(Json(served.read(model::status).await?).into_response())
}

async fn run(State(served): State<Served>, Path(run): Path<u32>) -> Result<Response, Failure> {
    let manifests = Arc::clone(&served.manifests);
    Ok(found(served.read(move |reader| model::run(reader, RunId(run), &manifests)).await?))
}

async fn members(State(served): State<Served>, Path(run): Path<u32>) -> Result<Response, Failure> {
    Ok(found(served.read(move |reader| model::members(reader, RunId(run))).await?))
}

async fn verdicts(State(served): State<Served>, Path(run): Path<u32>) -> Result<Response, Failure> {
    Ok(found(served.read(move |reader| model::verdicts(reader, RunId(run))).await?))
}

async fn epoch(State(served): State<Served>, Path((run, id)): Path<(u32, u32)>) -> Result<Response, Failure> {
    Ok(found(served.read(move |reader| model::epoch(reader, RunId(run), Epoch(id))).await?))
}

async fn audit(State(served): State<Served>, Path((run, id)): Path<(u32, u32)>) -> Result<Response, Failure> {
    let audits = Arc::clone(&served.audits);
    Ok(found(served.read(move |reader| audits.of(reader, RunId(run), Epoch(id))).await?))
}

/// How many changes of the voters the asker has, in an older bundle.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    known: u32,
}

async fn bundle(
    State(served): State<Served>,
    Path((run, id)): Path<(u32, u32)>,
    Query(Known { known }): Query<Known>,
) -> Result<Response, Failure> {
    let bundle = served.read(move |reader| Bundle::collect(reader, RunId(run), Epoch(id))).await?;
    let Some(bundle) = bundle else { return Ok(missing()) };
    let bundle = bundle.for_who_knows(known);
    let name = format!("attachment; filename=\"iota-run-{run}-epoch-{id}.json\"");
    Ok(([(header::CONTENT_DISPOSITION, name)], Json(bundle)).into_response())
}

async fn account(State(served): State<Served>, Path(text): Path<String>) -> Result<Response, Failure> {
    let Some(key) = model::parse_account(&text) else { return Ok(missing()) };
    Ok(Json(served.read(move |reader| model::account(reader, &key)).await?).into_response())
}

async fn block(State(served): State<Served>, Path(number): Path<u32>) -> Result<Response, Failure> {
    let (block, events) =
        served.read(move |reader| Ok((reader.block(number)?, reader.events_in(number)?))).await?;
    Ok(found(block.map(|block| json!({ "block": block, "events": events }))))
}

#[derive(Deserialize)]
struct Asked {
    q: String,
}

async fn search(State(served): State<Served>, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    Ok(Json(served.read(move |reader| model::search(reader, &asked.q)).await?).into_response())
}

/// The description that tools read.
fn openapi() -> Value {
    let paths: Map<String, Value> =
        PATHS.iter().map(|(path, what, kind)| ((*path).to_owned(), describe(path, what, kind))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "IOTA explorer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Read-only. Amounts are decimal text in the smallest unit; losses are in nats. \
                            Requests are limited by address: 429 says when to come back."
        },
        "paths": paths,
        "components": { "schemas": schemas::all() }
    })
}

fn describe(path: &str, what: &str, answer: &str) -> Value {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| {
            let kind = if name == "account" { "string" } else { "integer" };
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": kind } })
        })
        .collect();
    if path.ends_with("/search") {
        parameters
            .push(json!({ "name": "q", "in": "query", "required": true, "schema": { "type": "string" } }));
    }
    if path.ends_with("/bundle") {
        let says = "How many changes of the voters an older bundle has; they are left out";
        let of = json!({ "type": "integer", "minimum": 0 });
        parameters.push(json!({ "name": "known", "in": "query", "description": says, "schema": of }));
    }
    let kind = if path.ends_with("/live") { "text/event-stream" } else { "application/json" };
    json!({ "get": {
        "summary": what,
        "parameters": parameters,
        "responses": {
            "200": { "description": what, "content": { kind: { "schema": schemas::kind(answer) } } },
            "404": {
                "description": "Nothing is known under this address",
                "content": { "application/json": { "schema": schemas::kind("Error") } }
            },
            "429": { "description": "Too many requests from this address" }
        }
    } })
}
