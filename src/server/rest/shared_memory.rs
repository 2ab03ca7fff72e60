//! Shared memory over REST.

use crate::server::rest::{Answer, Client, Error, parse};
use crate::server::settings;
use crate::server::status::Refusal;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

pub fn routes() -> Router {
    Router::new()
        .route("/v2/systemsharedmemory/status", get(status_of_all))
        .route("/v2/systemsharedmemory/region/{region}/status", get(status))
        .route("/v2/systemsharedmemory/region/{region}/register", post(register))
        .route("/v2/systemsharedmemory/region/{region}/unregister", post(unregister))
        .route("/v2/systemsharedmemory/unregister", post(unregister_all))
        .route("/v2/cudasharedmemory/status", get(nothing_registered))
        .route("/v2/cudasharedmemory/region/{region}/status", get(nothing_registered))
        .route("/v2/cudasharedmemory/region/{region}/register", post(cuda_register))
        .route("/v2/cudasharedmemory/region/{region}/unregister", post(nothing_to_forget))
        .route("/v2/cudasharedmemory/unregister", post(nothing_to_forget))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registration {
    key: String,
    offset: u64,
    byte_size: u64,
}

async fn register(client: Client, Path(region): Path<String>, body: Bytes) -> Answer {
    let Registration { key, offset, byte_size } = parse(&body)?;
    let Extension(client) = client;
    client.server.regions.register(client.peer, &region, &key, offset, byte_size)?;
    Ok(Json(json!({})).into_response())
}

async fn status(Extension(client): Client, Path(region): Path<String>) -> Answer {
    Ok(Json(client.server.regions.status(client.peer, &region)?).into_response())
}

async fn status_of_all(Extension(client): Client) -> Answer {
    Ok(Json(client.server.regions.status(client.peer, "")?).into_response())
}

async fn unregister(Extension(client): Client, Path(region): Path<String>) -> Answer {
    client.server.regions.unregister(client.peer, &region);
    Ok(Json(json!({})).into_response())
}

async fn unregister_all(Extension(client): Client) -> Answer {
    client.server.regions.unregister(client.peer, "");
    Ok(Json(json!({})).into_response())
}

async fn nothing_registered() -> Answer {
    Ok(Json(json!([])).into_response())
}

async fn nothing_to_forget() -> Answer {
    Ok(Json(json!({})).into_response())
}

async fn cuda_register() -> Error {
    let refusal: Refusal = settings::cuda_shared_memory_unsupported();
    refusal.into()
}
