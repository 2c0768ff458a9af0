//! The REST part: sessions, sources, avatars, songs, health.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Fault};
use crate::live::AvatarEntry;
use crate::measure::LONGEST;
use crate::session::{Change, Session, SourceChoice};

pub(super) type Answer = Result<Response, Fault>;

/// JSON whose faults are said in our own form.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(JsonBody(value)),
            Err(rejection) => {
                let status = match &rejection {
                    JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => StatusCode::BAD_REQUEST,
                    other => other.status(),
                };
                Err(Fault(status, rejection.body_text()))
            }
        }
    }
}

fn describe(app: &App, session: &Session) -> Value {
    let mut value = serde_json::to_value(session.view()).expect("plain data");
    let id = &session.id;
    let token = app.guard.token.as_ref().map(|t| format!("?token={t}")).unwrap_or_default();
    for (key, path) in [
        ("overlay", format!("/overlay/{id}{token}")),
        ("whep", format!("/whep/{id}")),
        ("whip", format!("/whip/{id}")),
        ("events", format!("/api/sessions/{id}/events")),
        ("trace", format!("/api/sessions/{id}/trace")),
    ] {
        value[key] = path.into();
    }
    value
}

pub async fn make(State(app): State<App>, JsonBody(change): JsonBody<Change>) -> Answer {
    let session = app.sessions.make(false)?;
    if let Err(error) = session.change(&change) {
        app.sessions.remove(&session.id).await?;
        return Err(error.into());
    }
    let location = format!("/api/sessions/{}", session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(describe(&app, &session))).into_response())
}

pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Answer {
    Ok(Json(describe(&app, &*app.sessions.get(&id)?)).into_response())
}

pub async fn change(State(app): State<App>, Path(id): Path<String>, JsonBody(change): JsonBody<Change>) -> Answer {
    let session = app.sessions.get(&id)?;
    session.change(&change)?;
    Ok(Json(describe(&app, &session)).into_response())
}

pub async fn remove(State(app): State<App>, Path(id): Path<String>) -> Answer {
    app.sessions.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub async fn start(State(app): State<App>, Path(id): Path<String>) -> Answer {
    let session = app.sessions.get(&id)?;
    app.sessions.start(&session).await?;
    Ok(Json(describe(&app, &session)).into_response())
}

pub async fn stop(State(app): State<App>, Path(id): Path<String>) -> Answer {
    let session = app.sessions.get(&id)?;
    session.stop();
    Ok(Json(describe(&app, &session)).into_response())
}

pub async fn choose(State(app): State<App>, Path(id): Path<String>, JsonBody(choice): JsonBody<SourceChoice>) -> Answer {
    let session = app.sessions.get(&id)?;
    session.choose(choice)?;
    Ok(Json(describe(&app, &session)).into_response())
}

pub(super) fn multipart(error: MultipartError) -> Fault {
    Fault(error.status(), error.body_text())
}

/// The field `file`: its name and bytes, at most `limit`.
async fn file(mut form: Multipart, limit: usize) -> Result<(String, Bytes), Fault> {
    let too_large = || Fault(StatusCode::PAYLOAD_TOO_LARGE, format!("the file is larger than {} MB", limit >> 20));
    let fault = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => multipart(error),
    };
    while let Some(field) = form.next_field().await.map_err(fault)? {
        if field.name() == Some("file") {
            let name = field.file_name().unwrap_or("file").to_owned();
            let bytes = field.bytes().await.map_err(fault)?;
            if bytes.len() > limit {
                return Err(too_large());
            }
            return Ok((name, bytes));
        }
    }
    Err(Fault(StatusCode::BAD_REQUEST, "the form has no field named \"file\"".into()))
}

#[derive(Deserialize)]
pub struct TraceQuery {
    seconds: Option<f32>,
}

/// The last seconds, frame by frame, for a trace viewer.
pub async fn trace(State(app): State<App>, Path(id): Path<String>, Query(query): Query<TraceQuery>) -> Answer {
    let session = app.sessions.get(&id)?;
    let seconds = query.seconds.unwrap_or(5.0);
    let longest = LONGEST.as_secs_f32();
    if !(0.1..=longest).contains(&seconds) {
        return Err(Fault(StatusCode::BAD_REQUEST, format!("seconds must be from 0.1 to {longest}")));
    }
    let document = session.stats.trace.document(Instant::now(), Duration::from_secs_f32(seconds));
    let headers = [(header::CONTENT_DISPOSITION, "attachment; filename=\"odori-trace.json\"")];
    Ok((headers, Json(document)).into_response())
}

#[derive(Deserialize)]
pub struct UploadQuery {
    #[serde(default, rename = "loop")]
    looped: bool,
}

pub async fn upload(State(app): State<App>, Path(id): Path<String>, Query(query): Query<UploadQuery>, form: Multipart) -> Answer {
    let session = app.sessions.get(&id)?;
    let (name, bytes) = file(form, super::SONG_BYTES).await?;
    let of = session.clone();
    tokio::task::spawn_blocking(move || of.upload(&name, bytes, query.looped)).await.map_err(internal)??;
    Ok(Json(describe(&app, &session)).into_response())
}

/// A picture to dance in front of.
pub async fn backdrop(State(app): State<App>, Path(id): Path<String>, form: Multipart) -> Answer {
    let session = app.sessions.get(&id)?;
    let (_, bytes) = file(form, super::BACKGROUND_BYTES).await?;
    let of = session.clone();
    tokio::task::spawn_blocking(move || of.set_backdrop(&bytes)).await.map_err(internal)??;
    Ok(Json(describe(&app, &session)).into_response())
}

pub(super) fn internal(error: impl std::fmt::Display) -> Fault {
    Fault(StatusCode::INTERNAL_SERVER_ERROR, format!("an internal fault: {error}"))
}

pub(super) fn avatar(entry: &AvatarEntry) -> Value {
    json!({ "id": entry.id, "name": entry.name, "image": format!("/api/avatars/{}.png", entry.id), "back": entry.back })
}

pub async fn avatars(State(app): State<App>) -> Json<Value> {
    Json(app.sessions.shared.engine.avatars().iter().map(|a| avatar(a)).collect())
}

pub async fn import(State(app): State<App>, form: Multipart) -> Answer {
    let (name, bytes) = file(form, super::AVATAR_BYTES).await?;
    let engine = app.sessions.shared.engine.clone();
    let entry = tokio::task::spawn_blocking(move || engine.import(&name, &bytes)).await.map_err(internal)??;
    Ok((StatusCode::CREATED, Json(avatar(&entry))).into_response())
}

pub async fn picture(State(app): State<App>, Path(file): Path<String>) -> Answer {
    let entry = file.strip_suffix(".png").and_then(|id| app.sessions.shared.engine.avatar(id));
    let entry = entry.ok_or_else(|| Fault(StatusCode::NOT_FOUND, "no such avatar".into()))?;
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "max-age=60")];
    Ok((headers, Body::from(entry.picture.clone())).into_response())
}

pub async fn songs(State(app): State<App>) -> Json<Value> {
    let songs = &app.sessions.shared.engine.songs;
    Json(songs.iter().map(|s| json!({ "id": s.id, "title": s.title, "seconds": s.seconds })).collect())
}

pub async fn health(State(app): State<App>) -> Json<Value> {
    let live = app.sessions.list().iter().filter(|s| s.is_live()).count();
    Json(json!({ "ok": true, "version": env!("CARGO_PKG_VERSION"), "sessions": live, "max_sessions": app.sessions.max_live() }))
}
