//! Joints, face, layers and back of an avatar, shown and corrected by a person.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use odori_engine::avatar::{Avatar, PART_MAP_MAX_BYTES, PartMap, REFERENCE_MAX, Sidecar};

use super::api::{Answer, JsonBody, avatar, internal, multipart};
use super::{App, Fault};
use crate::built_in;
use crate::live::{AvatarEntry, LiveError};
use crate::session::secret_id;

fn known(app: &App, id: &str) -> Result<Arc<AvatarEntry>, Fault> {
    let gone = "no such avatar; it may have been adjusted on another page: choose it again";
    app.sessions.shared.engine.avatar(id).ok_or_else(|| Fault(StatusCode::NOT_FOUND, gone.into()))
}

fn words(e: impl std::fmt::Display) -> LiveError {
    LiveError(e.to_string())
}

/// Reads an avatar and makes something of it, on a thread that may take its time.
async fn with_avatar<T: Send + 'static>(entry: Arc<AvatarEntry>, make: impl FnOnce(Avatar) -> Result<T, LiveError> + Send + 'static) -> Result<T, Fault> {
    let made = tokio::task::spawn_blocking(move || make(Avatar::from_bytes(&entry.file).map_err(words)?)).await;
    Ok(made.map_err(internal)??)
}

/// Where everything is, in pixels of the avatar's own picture.
pub async fn points(State(app): State<App>, Path(id): Path<String>) -> Answer {
    let points = with_avatar(known(&app, &id)?, |avatar| Ok(avatar.points())).await?;
    Ok(Json(points).into_response())
}

/// The avatar's own picture.
pub async fn reference(State(app): State<App>, Path(id): Path<String>) -> Answer {
    png(&app, &id, |avatar| avatar.reference_png().map_err(words)).await
}

/// The part that every pixel of it was found to belong to.
pub async fn found(State(app): State<App>, Path(id): Path<String>) -> Answer {
    png(&app, &id, |avatar| avatar.found_parts().to_png().map_err(words)).await
}

/// What a person painted over that.
pub async fn paint(State(app): State<App>, Path(id): Path<String>) -> Answer {
    png(&app, &id, |avatar| avatar.paint_map().to_png().map_err(words)).await
}

async fn png(app: &App, id: &str, make: impl FnOnce(Avatar) -> Result<Vec<u8>, LiveError> + Send + 'static) -> Answer {
    let picture = with_avatar(known(app, id)?, make).await?;
    Ok(([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "max-age=60")], picture).into_response())
}

/// Corrected points, and paint beside them if it comes as a form.
pub async fn apply(State(app): State<App>, Path(id): Path<String>, request: Request) -> Answer {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        let JsonBody(points) = JsonBody::from_request(request, &app).await?;
        return correct(app, id, Some(points), None).await;
    }
    let mut form = Multipart::from_request(request, &app).await.map_err(|e| Fault(e.status(), e.body_text()))?;
    let (mut points, mut paint) = (None, None);
    let fault = |e: axum::extract::multipart::MultipartError| if e.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large(PART_MAP_MAX_BYTES) } else { multipart(e) };
    while let Some(field) = form.next_field().await.map_err(fault)? {
        match field.name() {
            Some("points") => {
                let bytes = field.bytes().await.map_err(fault)?;
                points = Some(Sidecar::parse(&bytes).map_err(|e| Fault(StatusCode::BAD_REQUEST, e.to_string()))?);
            }
            Some("paint") => paint = Some(field.bytes().await.map_err(fault)?),
            other => return Err(Fault(StatusCode::BAD_REQUEST, format!("the form has a field \"{}\"; \"points\" and \"paint\" are known", other.unwrap_or_default()))),
        }
    }
    correct(app, id, points, paint).await
}

/// Paint alone.
pub async fn apply_paint(State(app): State<App>, Path(id): Path<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let paint = body.map_err(|e| refused(&e, PART_MAP_MAX_BYTES))?;
    correct(app, id, None, Some(paint)).await
}

fn refused(e: &BytesRejection, most: usize) -> Fault {
    if e.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large(most) } else { Fault(e.status(), e.body_text()) }
}

fn too_large(most: usize) -> Fault {
    Fault(StatusCode::PAYLOAD_TOO_LARGE, format!("corrections are larger than {} MB", most >> 20))
}

/// A picture of the character from behind.
pub async fn apply_back(State(app): State<App>, Path(id): Path<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let picture = body.map_err(|e| refused(&e, super::AVATAR_BYTES))?;
    remake(app, id, move |avatar| Ok(built_in::import_back(avatar, &picture).map_err(|e| LiveError(format!("{e:#}")))?.0)).await
}

/// Corrected points and paint; what is not given stays.
async fn correct(app: App, id: String, points: Option<Sidecar>, paint: Option<Bytes>) -> Answer {
    let make = move |mut avatar: Avatar| {
        if let Some(png) = paint {
            let map = PartMap::from_png(&png, REFERENCE_MAX).map_err(words)?;
            avatar.paint(map).map_err(words)?;
        }
        let points = points.unwrap_or_else(|| avatar.points());
        Ok(avatar.corrected(&points).map_err(words)?.0)
    };
    remake(app, id, make).await
}

/// Makes the avatar again. The new one takes the place of one that was uploaded.
async fn remake(app: App, id: String, make: impl FnOnce(Avatar) -> Result<Avatar, LiveError> + Send + 'static) -> Answer {
    let entry = known(&app, &id)?;
    let name = if entry.uploaded { entry.name.clone() } else { format!("{} (adjusted)", entry.name) };
    let made = with_avatar(entry, move |avatar| {
        let made = make(avatar)?;
        let id = format!("{}-{}", built_in::id_of(&name), &secret_id()[..6]);
        built_in::entry(&id, &name, &made).map_err(|e| LiveError(format!("{e:#}")))
    });
    let made = made.await?;
    let entry = app.sessions.shared.engine.add(Some(&id), || Ok(made))?;
    Ok((StatusCode::CREATED, Json(avatar(&entry))).into_response())
}
