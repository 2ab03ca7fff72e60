//! Everything about the server and its models that is not inference.

use crate::server::metadata;
use crate::server::rest::{Answer, Client, ModelPath, parse};
use crate::server::settings::{self, Setting};
use crate::server::status::Refusal;
use crate::telemetry::{Command, prometheus};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub async fn server_metadata() -> Answer {
    Ok(Json(metadata::server_metadata()).into_response())
}

/// With a body: kserve's client fails on an empty one.
pub async fn live() -> Answer {
    Ok(Json(json!({ "live": true })).into_response())
}

pub async fn ready(Extension(client): Client) -> Answer {
    let ready = metadata::server_ready(&client.server.gateway);
    Ok((ready_status(ready), Json(json!({ "ready": ready }))).into_response())
}

fn ready_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub async fn model_metadata(Extension(client): Client, path: ModelPath) -> Answer {
    let catalog = client.server.gateway.catalog();
    Ok(Json(metadata::model_metadata(&catalog, &path.model, &path.version)?).into_response())
}

pub async fn model_ready(Extension(client): Client, path: ModelPath) -> Answer {
    let catalog = client.server.gateway.catalog();
    let ready = metadata::model_ready(&catalog, &path.model, &path.version)?;
    let body = json!({ "name": path.model, "ready": ready });
    Ok((ready_status(ready), Json(body)).into_response())
}

pub async fn model_config(Extension(client): Client, path: ModelPath) -> Answer {
    let catalog = client.server.gateway.catalog();
    Ok(Json(metadata::model_config(&catalog, &path.model, &path.version)?).into_response())
}

/// Of one model, or of all where the path names none.
pub async fn statistics(Extension(client): Client, path: ModelPath) -> Answer {
    let gateway = &client.server.gateway;
    let snapshot = gateway.fresh_snapshot().await;
    let catalog = gateway.catalog();
    let found = metadata::statistics(&catalog, &snapshot, &path.model, &path.version)?;
    Ok(Json(found).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IndexRequest {
    ready: bool,
}

pub async fn repository_index(Extension(client): Client, body: Bytes) -> Answer {
    let IndexRequest { ready } = parse(&body)?;
    let index = metadata::repository_index(&client.server.gateway.catalog(), ready);
    Ok(Json(index.models).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadRequest {
    parameters: BTreeMap<String, Value>,
}

pub async fn load(Extension(client): Client, path: ModelPath, body: Bytes) -> Answer {
    let LoadRequest { parameters } = parse(&body)?;
    settings::check_load_parameters(parameters.keys().map(String::as_str))?;
    run(&client.server.gateway, Command::Load { model: path.model }).await
}

pub async fn unload(Extension(client): Client, path: ModelPath) -> Answer {
    run(&client.server.gateway, Command::Unload { model: path.model }).await
}

/// Any command of the appliance's own, as `bcedge top` sends them.
pub async fn command(Extension(client): Client, body: Bytes) -> Answer {
    let command = serde_json::from_slice(&body)
        .map_err(|e| Refusal::invalid(format!("the JSON body is not a command: {e}")))?;
    run(&client.server.gateway, command).await
}

async fn run(gateway: &crate::server::gateway::Gateway, command: Command) -> Answer {
    gateway.command(command).await.map_err(Refusal::from)?;
    Ok(Json(json!({})).into_response())
}

pub async fn snapshot(Extension(client): Client) -> Answer {
    Ok(Json(&*client.server.gateway.snapshot()).into_response())
}

pub async fn metrics(Extension(client): Client) -> Answer {
    let text = prometheus::render(&*client.server.gateway.fresh_snapshot().await);
    Ok(([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response())
}

/// GET shows the settings, POST changes them and shows them.
pub async fn logging(Extension(client): Client, body: Bytes) -> Answer {
    let wanted: BTreeMap<String, Setting> = parse(&body)?;
    let settings = client.server.log.change(wanted.into_iter().collect())?;
    Ok(Json(settings.into_iter().collect::<BTreeMap<_, _>>()).into_response())
}

pub async fn trace() -> Answer {
    Err(settings::trace_unsupported().into())
}
