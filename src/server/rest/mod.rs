//! REST: `/v2/...` as JSON, tensors in JSON or binary.

mod admin;
mod data;
pub mod enum_names;
mod infer;
mod shared_memory;

use crate::server::connection::Connection;
use crate::server::status::{Code, Refusal};
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// Every handler's view of its client.
type Client = Extension<Arc<Connection>>;

/// A refusal as an HTTP response: `{"error": "…"}`.
#[derive(Debug)]
pub struct Error(Refusal);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error(refusal)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.0.code.http(), Json(json!({ "error": self.0.message }))).into_response()
    }
}

type Answer = Result<Response, Error>;

/// All routes. The request's body has been read, within bounds, before it comes here.
pub fn router() -> Router {
    Router::new()
        .route("/v2", get(admin::server_metadata))
        .route("/v2/", get(admin::server_metadata))
        .route("/v2/health/live", get(admin::live))
        .route("/v2/health/ready", get(admin::ready))
        .merge(models())
        .merge(shared_memory::routes())
        .route("/v2/repository/index", post(admin::repository_index))
        .route("/v2/repository/models/{model}/load", post(admin::load))
        .route("/v2/repository/models/{model}/unload", post(admin::unload))
        .route("/v2/logging", get(admin::logging).post(admin::logging))
        .route("/v2/trace/setting", get(admin::trace).post(admin::trace))
        .route("/v2/models/{model}/trace/setting", get(admin::trace).post(admin::trace))
        .route("/v2/bcedge/snapshot", get(admin::snapshot))
        .route("/v2/bcedge/command", post(admin::command))
        .route("/metrics", get(admin::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
}

/// What there is for a model, with and without its version.
fn models() -> Router {
    let mut router = Router::new().route("/v2/models/stats", get(admin::statistics));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(model, get(admin::model_metadata))
            .route(&format!("{model}/ready"), get(admin::model_ready))
            .route(&format!("{model}/config"), get(admin::model_config))
            .route(&format!("{model}/stats"), get(admin::statistics))
            .route(&format!("{model}/infer"), post(infer::infer));
    }
    router
}

async fn unknown_path(uri: Uri) -> Error {
    let path = crate::server::parameters::shorten(uri.path());
    Error(Refusal::new(
        Code::NotFound,
        format!("nothing is at '{path}'; the API begins at /v2, metrics are at /metrics"),
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path = crate::server::parameters::shorten(uri.path());
    let message = format!("'{path}' does not take {method}");
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "error": message }))).into_response()
}

/// The model a path names.
struct ModelPath {
    model: String,
    /// Empty when the path has none.
    version: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ModelPath, Error> {
        let path = axum::extract::Path::<HashMap<String, String>>::from_request_parts(parts, state);
        let axum::extract::Path(mut path) =
            path.await.map_err(|e| Error(Refusal::invalid(e.body_text())))?;
        let mut take = |name| path.remove(name).unwrap_or_default();
        Ok(ModelPath { model: take("model"), version: take("version") })
    }
}

/// A JSON body; an empty one is `T`'s default.
///
/// # Errors
/// INVALID_ARGUMENT that says where the JSON is wrong.
fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|e| Refusal::invalid(format!("the JSON body: {e}")))
}
