//! Files that the pages use, inside the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;

use super::Served;

/// An hour: a new version of the program is seen soon, and a page does not fetch a megabyte each time.
const CACHE: &str = "public, max-age=3600";

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route(
            "/assets/style.css",
            get(|| file("text/css; charset=utf-8", include_bytes!("../../assets/style.css"))),
        )
        .route("/assets/app.js", get(|| script(include_bytes!("../../assets/app.js"))))
        .route("/assets/echarts.min.js", get(|| script(include_bytes!("../../assets/echarts.min.js"))))
        .route(
            "/assets/echarts.LICENSE.txt",
            get(|| file("text/plain; charset=utf-8", include_bytes!("../../assets/echarts.LICENSE.txt"))),
        )
        .route("/favicon.ico", get(|| file("image/svg+xml", ICON)))
        .route("/assets/icon.svg", get(|| file("image/svg+xml", ICON)))
}

/// Three stages.
const ICON: &[u8] = br##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="#2563eb"><circle cx="5" cy="16" r="4"/><circle cx="16" cy="16" r="4"/><circle cx="27" cy="16" r="4"/><path d="M5 14.5h22v3H5z"/></g></svg>"##;

async fn script(bytes: &'static [u8]) -> Response {
    file("text/javascript; charset=utf-8", bytes).await
}

async fn file(kind: &'static str, bytes: &'static [u8]) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)], bytes).into_response()
}
