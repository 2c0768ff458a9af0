//! WHEP (draft-ietf-wish-whep) and WHIP (RFC 9725): offers in, answers out, and what belongs to the resource made.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::api::JsonBody;
use super::{App, Fault};
use crate::media::video::VideoCodec;
use crate::session::Report;

type Answer = Result<Response, Fault>;

fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(wanted)
}

fn need(headers: &HeaderMap, wanted: &str) -> Result<(), Fault> {
    if is(headers, wanted) {
        return Ok(());
    }
    Err(Fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must be {wanted}")))
}

fn created(app: &App, location: String, peer: &str, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/sdp")], answer).into_response();
    let headers = response.headers_mut();
    let mut put = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    put(header::LOCATION, &location);
    put(header::ETAG, &format!("\"{}\"", &peer[..12.min(peer.len())]));
    put(header::HeaderName::from_static("accept-patch"), "application/trickle-ice-sdpfrag");
    for server in &app.sessions.shared.net.ice_servers {
        put(header::LINK, &format!("<{server}>; rel=\"ice-server\""));
    }
    response
}

#[derive(Deserialize)]
pub struct WatchQuery {
    alpha: Option<String>,
    codec: Option<String>,
}

pub async fn watch(State(app): State<App>, Path(id): Path<String>, Query(query): Query<WatchQuery>, headers: HeaderMap, sdp: String) -> Answer {
    need(&headers, "application/sdp")?;
    let bad = |text: &str| Fault(StatusCode::BAD_REQUEST, text.to_owned());
    let packed = match query.alpha.as_deref() {
        None | Some("none") => false,
        Some("packed") => true,
        Some(_) => return Err(bad("alpha must be packed, or absent")),
    };
    let codec = match query.codec.as_deref() {
        None => None,
        Some("h264") => Some(VideoCodec::H264),
        Some("vp8") => Some(VideoCodec::Vp8),
        Some(_) => return Err(bad("codec must be h264 or vp8, or absent")),
    };
    let session = app.sessions.get(&id)?;
    let (viewer, answer) = session.watch(sdp, codec, packed).await?;
    Ok(created(&app, format!("/whep/{id}/{viewer}"), &viewer, answer))
}

pub async fn send(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap, sdp: String) -> Answer {
    need(&headers, "application/sdp")?;
    let session = app.sessions.get(&id)?;
    let (sender, answer) = session.listen(sdp).await?;
    Ok(created(&app, format!("/whip/{id}/{sender}"), &sender, answer))
}

pub async fn describe() -> Response {
    (StatusCode::NO_CONTENT, [("accept-post", "application/sdp"), ("allow", "POST, OPTIONS")]).into_response()
}

fn no_peer() -> Fault {
    Fault(StatusCode::NOT_FOUND, "no such peer: it has left, or the link is wrong".into())
}

pub async fn trickle(State(app): State<App>, Path((id, peer)): Path<(String, String)>, headers: HeaderMap, fragment: String) -> Answer {
    need(&headers, "application/trickle-ice-sdpfrag")?;
    let session = app.sessions.get(&id)?;
    if session.trickle(&peer, &fragment).await? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_peer()) }
}

pub async fn leave(State(app): State<App>, Path((id, peer)): Path<(String, String)>) -> Answer {
    if app.sessions.get(&id)?.leave(&peer).await { Ok(StatusCode::OK.into_response()) } else { Err(no_peer()) }
}

/// What the viewer's page says of the pictures it shows.
pub async fn report(State(app): State<App>, Path((id, peer)): Path<(String, String)>, JsonBody(report): JsonBody<Report>) -> Answer {
    if app.sessions.get(&id)?.report(&peer, &report)? { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_peer()) }
}

pub async fn hang_up(State(app): State<App>, Path((id, peer)): Path<(String, String)>) -> Answer {
    if app.sessions.get(&id)?.hang_up(&peer).await { Ok(StatusCode::OK.into_response()) } else { Err(no_peer()) }
}
