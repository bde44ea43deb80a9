//! The paths and their answers.

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State as Shared};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Question, State, applied, pieces};
use crate::telemetry::metrics::TEXT_CONTENT_TYPE;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) fn router(state: State) -> Router {
    let mut router = Router::new()
        .route("/livez", get(|| async { answer(StatusCode::OK, TEXT, "alive\n") }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config));
    if state.explain.is_some() {
        router = router.route("/explain", get(explain));
    }
    if state.applied.is_some() {
        router = router.route("/applied", get(applied));
    }
    router.fallback(not_found).method_not_allowed_fallback(not_allowed).with_state(state)
}

async fn readyz(Shared(state): Shared<State>) -> Response {
    let pending = state.readiness.pending();
    if pending.is_empty() {
        return answer(StatusCode::OK, TEXT, "ready\n");
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready, waiting for: {}\n", pending.join(", ")))
}

async fn metrics(Shared(state): Shared<State>) -> Response {
    let body = pieces::written(move |out| state.telemetry.write_metrics(out));
    answer(StatusCode::OK, TEXT_CONTENT_TYPE, body)
}

async fn config(Shared(state): Shared<State>) -> Response {
    match tokio::task::spawn_blocking(move || json(&(state.config)())).await {
        Ok(Ok(json)) => answer(StatusCode::OK, JSON, json),
        Ok(Err(error)) => fault(&format!("the configuration could not be written as JSON: {error}")),
        Err(_) => fault("the configuration could not be read"),
    }
}

async fn explain(Shared(state): Shared<State>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let question = match Question::read(pairs) {
        Ok(question) => question,
        Err(problem) => return answer(StatusCode::BAD_REQUEST, TEXT, format!("{problem}\n")),
    };
    let Some(explain) = state.explain.clone() else {
        return not_found(Shared(state), Uri::from_static("/explain")).await;
    };
    match tokio::task::spawn_blocking(move || explain(&question)).await {
        Ok(Ok(value)) => {
            json(&value).map_or_else(|error| fault(&error.to_string()), |j| answer(StatusCode::OK, JSON, j))
        }
        Ok(Err(problem)) => answer(StatusCode::BAD_REQUEST, TEXT, format!("{problem}\n")),
        Err(_) => fault("the question could not be answered"),
    }
}

async fn applied(Shared(state): Shared<State>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let Some(view) = state.applied.clone() else {
        return not_found(Shared(state), Uri::from_static("/applied")).await;
    };
    let after = match applied::question(&pairs) {
        Ok(after) => after,
        Err(problem) => return answer(StatusCode::BAD_REQUEST, TEXT, format!("{problem}\n")),
    };
    let latest = match after {
        Some(after) => view.after(after).await,
        None => view.latest(),
    };
    json(latest.as_ref()).map_or_else(|error| fault(&error.to_string()), |j| answer(StatusCode::OK, JSON, j))
}

async fn not_found(Shared(state): Shared<State>, uri: Uri) -> Response {
    let path = uri.path().escape_debug();
    let mut known = vec!["/livez", "/readyz", "/metrics", "/config"];
    known.extend(state.explain.as_ref().map(|_| "/explain"));
    known.extend(state.applied.as_ref().map(|_| "/applied"));
    let last = known.pop().unwrap_or_default();
    let known = known.join(", ");
    answer(StatusCode::NOT_FOUND, TEXT, format!("there is no {path} here; there are {known} and {last}\n"))
}

async fn not_allowed() -> Response {
    answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are allowed\n")
}

impl Question {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut method = None;
        let mut url = None;
        let mut headers = Vec::new();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "header" => {
                    headers.push(value);
                    continue;
                }
                "method" => &mut method,
                "url" => &mut url,
                other => return Err(format!("`{other}` is not known; allowed are method, url and header")),
            };
            if place.replace(value).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        let url = url.ok_or("`url` is missing, as in /explain?method=GET&url=http://a.example/path")?;
        Ok(Question { method: method.unwrap_or_else(|| "GET".to_owned()), url, headers })
    }
}

fn json<T: serde::Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    Ok(json)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, body.into()).into_response()
}

fn fault(problem: &str) -> Response {
    tracing::error!(problem, "admin server");
    answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{problem}\n"))
}
