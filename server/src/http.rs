//! HTTP: the pages, the JSON interface, WHEP and WHIP. `API.md` beside the crate describes it.
//!
//! Knows how to ask sessions, and nothing of how they work.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use futures_util::Stream;
use rust_embed::RustEmbed;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::library::{MAX_AVATAR_BYTES, MAX_SONG_BYTES, read_avatar, read_song};
use crate::rtc::{MAX_SDP_BYTES, RtcError};
use crate::session::{Change, Session, SessionError, Sessions, SourceInfo};

const EVENTS_EVERY: Duration = Duration::from_millis(83);

#[derive(RustEmbed)]
#[folder = "../web-client/dist"]
struct Pages;

pub struct App {
    pub sessions: Sessions,
    /// Needed when bound beyond loopback.
    pub token: Option<String>,
    pub bound: IpAddr,
    /// Origins besides our own that may call us.
    pub allowed_origins: Vec<String>,
}

type Shared = Arc<App>;

/// An answer that says what was wrong.
struct Fault(StatusCode, String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<SessionError> for Fault {
    fn from(e: SessionError) -> Self {
        let status = match &e {
            SessionError::Unknown => StatusCode::NOT_FOUND,
            SessionError::NoSuch(_) | SessionError::Bad(_) | SessionError::Rtc(RtcError::Offer(_)) => StatusCode::BAD_REQUEST,
            SessionError::Full { .. } | SessionError::Viewers | SessionError::Live(_) | SessionError::Rtc(RtcError::Ports(..)) => StatusCode::SERVICE_UNAVAILABLE,
            SessionError::Sending | SessionError::Refused(_) => StatusCode::CONFLICT,
            SessionError::Engine(_) | SessionError::Rtc(RtcError::Stack(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(error = %e, "a request failed");
        }
        let status = match &e {
            SessionError::Rtc(RtcError::Offer(text)) if text.contains("in common") => StatusCode::NOT_ACCEPTABLE,
            _ => status,
        };
        Fault(status, e.to_string())
    }
}

impl From<axum::extract::multipart::MultipartError> for Fault {
    fn from(e: axum::extract::multipart::MultipartError) -> Self {
        let status = e.status();
        let text = if status == StatusCode::PAYLOAD_TOO_LARGE { "the file is too large".into() } else { format!("the upload cannot be read: {}", e.body_text()) };
        Fault(status, text)
    }
}

type Answer<T> = Result<T, Fault>;

pub fn router(app: Shared) -> axum::Router {
    let small = DefaultBodyLimit::max(64 * 1024);
    let api = axum::Router::new()
        .route("/api/sessions", post(create))
        .route("/api/sessions/{id}", get(show).patch(change).delete(remove))
        .route("/api/sessions/{id}/start", post(start))
        .route("/api/sessions/{id}/stop", post(stop))
        .route("/api/sessions/{id}/events", get(events))
        .route("/api/sessions/{id}/source", put(choose_source).layer(small.clone()))
        .route("/api/sessions/{id}/source", post(upload_song).layer(DefaultBodyLimit::max(MAX_SONG_BYTES)))
        .route("/api/avatars", get(avatars).post(upload_avatar).layer(DefaultBodyLimit::max(MAX_AVATAR_BYTES)))
        .route("/api/avatars/{file}", get(thumbnail))
        .route("/api/songs", get(songs))
        .route("/metrics", get(metrics))
        .route("/whep/{id}", post(whep).options(preflight).layer(DefaultBodyLimit::max(MAX_SDP_BYTES)))
        .route("/whip/{id}", post(whip).options(preflight).layer(DefaultBodyLimit::max(MAX_SDP_BYTES)))
        .route("/whep/{id}/{peer}", delete(hang_up).patch(trickle).options(preflight))
        .route("/whip/{id}/{peer}", delete(hang_up).patch(trickle).options(preflight))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), with_token))
        .layer(small);
    axum::Router::new()
        .merge(api)
        .route("/api/health", get(health))
        .route("/", get(|| page("studio.html")))
        .route("/overlay/{id}", get(|| page("overlay.html")))
        .fallback(|| async { Fault(StatusCode::NOT_FOUND, "there is nothing at this address".into()) })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

async fn page(name: &'static str) -> Response {
    match Pages::get(name) {
        Some(file) => (
            [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")],
            Bytes::from(file.data.into_owned()),
        )
            .into_response(),
        None => Fault(StatusCode::NOT_FOUND, "this binary was built without its pages: run `./dev setup` and build it again".into()).into_response(),
    }
}

fn host_of(value: &str) -> &str {
    let end = match value.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(value.len(), |i| i + 2),
        None => value.find(':').unwrap_or(value.len()),
    };
    &value[..end]
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Bound to loopback, only this machine's own names are answered (a page elsewhere could otherwise point a name at
/// us); a foreign origin is refused always, and allowed ones get their CORS headers.
async fn guarded(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
    if app.bound.is_loopback() && !is_local(host_of(&host)) {
        return Fault(StatusCode::FORBIDDEN, format!("the host {host:?} is not this machine; open the page as 127.0.0.1 or localhost")).into_response();
    }
    let origin = headers.get(header::ORIGIN).and_then(|h| h.to_str().ok()).map(str::to_owned);
    if let Some(origin) = &origin {
        let own = origin.split_once("://").is_some_and(|(_, o)| o == host);
        if !own && !app.allowed_origins.iter().any(|a| a == origin) {
            return Fault(StatusCode::FORBIDDEN, format!("pages of {origin} may not use this server; start odori with --allow-origin {origin}")).into_response();
        }
    }
    let mut response = next.run(request).await;
    if let Some(origin) = origin.and_then(|o| HeaderValue::from_str(&o).ok()) {
        let h = response.headers_mut();
        h.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        h.insert(header::VARY, HeaderValue::from_static("Origin"));
        h.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Location, Link, ETag, Accept-Post"));
        h.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"));
        h.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type, If-Match"));
    }
    response
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

async fn with_token(State(app): State<Shared>, Query(query): Query<TokenQuery>, request: Request, next: Next) -> Response {
    if let Some(token) = &app.token
        && request.method() != Method::OPTIONS
    {
        let bearer = request.headers().get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).and_then(|h| h.strip_prefix("Bearer "));
        let given = bearer.or(query.token.as_deref()).unwrap_or_default();
        if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (challenge, Fault(StatusCode::UNAUTHORIZED, "this server needs its token: send `Authorization: Bearer TOKEN` or add ?token=TOKEN".into())).into_response();
        }
    }
    next.run(request).await
}

/// Runs what may take a moment away from the network's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Fault(StatusCode::INTERNAL_SERVER_ERROR, format!("the request failed: {e}"))))
}

fn describe(app: &App, session: &Session) -> Json<crate::session::SessionInfo> {
    Json(app.sessions.info(session, app.token.as_deref()))
}

async fn create(State(app): State<Shared>, body: Bytes) -> Answer<Response> {
    let change: Change = if body.is_empty() { Change::default() } else { parse(&body)? };
    let (shared, session) = blocking(move || {
        let session = app.sessions.create(&change)?;
        Ok((app, session))
    })
    .await?;
    let location = format!("/api/sessions/{}", session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], describe(&shared, &session)).into_response())
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|e| Fault(StatusCode::BAD_REQUEST, format!("the request is not the JSON that is expected: {e}")))
}

async fn show(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    Ok(describe(&app, &session).into_response())
}

async fn change(State(app): State<Shared>, Path(id): Path<String>, body: Bytes) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    app.sessions.change(&session, &parse(&body)?)?;
    Ok(describe(&app, &session).into_response())
}

async fn remove(State(app): State<Shared>, Path(id): Path<String>) -> Answer<StatusCode> {
    app.sessions.remove(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn start(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    app.sessions.start(&session)?;
    Ok(describe(&app, &session).into_response())
}

async fn stop(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    app.sessions.stop(&session)?;
    Ok(describe(&app, &session).into_response())
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum SourceChoice {
    Song { id: String, #[serde(default = "yes")] r#loop: bool },
    Live,
    Stdin,
    /// The song uploaded last, again.
    Upload { #[serde(default = "yes")] r#loop: bool },
}

fn yes() -> bool {
    true
}

async fn choose_source(State(app): State<Shared>, Path(id): Path<String>, body: Bytes) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    let source = match parse(&body)? {
        SourceChoice::Song { id, r#loop } => SourceInfo::Song { id, r#loop },
        SourceChoice::Live => SourceInfo::Live,
        SourceChoice::Stdin => SourceInfo::Stdin,
        SourceChoice::Upload { r#loop } => {
            app.sessions.reuse_upload(&session, r#loop)?;
            return Ok(describe(&app, &session).into_response());
        }
    };
    app.sessions.set_source(&session, source, None)?;
    Ok(describe(&app, &session).into_response())
}

/// The field `file`: its name and bytes.
async fn file(mut form: Multipart) -> Answer<(String, Vec<u8>)> {
    while let Some(field) = form.next_field().await? {
        if field.name() == Some("file") {
            let name = field.file_name().unwrap_or("upload").to_owned();
            return Ok((name, field.bytes().await?.to_vec()));
        }
    }
    Err(Fault(StatusCode::BAD_REQUEST, "the upload has no field named \"file\"".into()))
}

#[derive(Deserialize)]
struct LoopQuery {
    #[serde(default = "yes")]
    r#loop: bool,
}

async fn upload_song(State(app): State<Shared>, Path(id): Path<String>, Query(query): Query<LoopQuery>, form: Multipart) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    let (name, bytes) = file(form).await?;
    blocking(move || {
        let song = read_song(bytes, &name).map_err(|e| Fault(StatusCode::UNPROCESSABLE_ENTITY, format!("{name}: {e:#}")))?;
        let seconds = song.model.len() as f64 / f64::from(odori_engine::audio::MODEL_RATE);
        let info = SourceInfo::Upload { name, r#loop: query.r#loop, seconds };
        app.sessions.set_source(&session, info, Some(Arc::new(song)))?;
        Ok(describe(&app, &session).into_response())
    })
    .await
}

async fn upload_avatar(State(app): State<Shared>, form: Multipart) -> Answer<Response> {
    let (name, bytes) = file(form).await?;
    blocking(move || {
        let avatar = read_avatar(&bytes, None).map_err(|e| Fault(StatusCode::UNPROCESSABLE_ENTITY, format!("{name}: {e:#}")))?;
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let info = app.sessions.library.add_avatar(stem, avatar, true).map_err(|e| Fault(StatusCode::UNPROCESSABLE_ENTITY, format!("{e:#}")))?;
        Ok((StatusCode::CREATED, Json(info)).into_response())
    })
    .await
}

async fn avatars(State(app): State<Shared>) -> Response {
    Json(app.sessions.library.avatars()).into_response()
}

async fn thumbnail(State(app): State<Shared>, Path(file): Path<String>) -> Answer<Response> {
    let id = file.strip_suffix(".png").unwrap_or(&file);
    let png = app.sessions.library.thumbnail(id).ok_or(SessionError::NoSuch("avatar")).map_err(|e| Fault(StatusCode::NOT_FOUND, e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png.to_vec()).into_response())
}

async fn songs(State(app): State<Shared>) -> Response {
    Json(app.sessions.library.songs()).into_response()
}

async fn health(State(app): State<Shared>) -> Response {
    let running = app.sessions.running();
    Json(json!({ "ok": true, "version": env!("CARGO_PKG_VERSION"), "sessions": running, "max_sessions": app.sessions.max_running })).into_response()
}

async fn events(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let session = app.sessions.get(&id)?;
    let ticks = tokio::time::interval(EVENTS_EVERY);
    // The session is asked for anew each time: a listener does not keep it alive.
    let state = (app, session.id.clone(), ticks, false);
    drop(session);
    let stream = futures_util::stream::unfold(state, |(app, id, mut ticks, over)| async move {
        if over {
            return None;
        }
        ticks.tick().await;
        let event = match app.sessions.get(&id) {
            Ok(session) => {
                let status = session.live.status.borrow().clone();
                Event::default().json_data(status).unwrap_or_default()
            }
            Err(_) => return Some((Ok(Event::default().event("closed").data("{}")), (app, id, ticks, true))),
        };
        Some((Ok(event), (app, id, ticks, false)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn sdp(headers: &HeaderMap, body: Bytes) -> Answer<String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/sdp") {
        return Err(Fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the offer as application/sdp".into()));
    }
    String::from_utf8(body.to_vec()).map_err(|_| Fault(StatusCode::BAD_REQUEST, "the offer is not text".into()))
}

#[derive(Deserialize)]
struct WhepQuery {
    alpha: Option<String>,
}

fn answered(location: String, answer: String) -> Response {
    let etag = format!("\"{}\"", &location[location.len().saturating_sub(12)..]);
    (StatusCode::CREATED, [(header::LOCATION, location), (header::ETAG, etag), (header::CONTENT_TYPE, "application/sdp".into())], answer).into_response()
}

async fn whep(State(app): State<Shared>, Path(id): Path<String>, Query(query): Query<WhepQuery>, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    let packed = match query.alpha.as_deref() {
        None => false,
        Some("packed") => true,
        Some(other) => return Err(Fault(StatusCode::BAD_REQUEST, format!("alpha={other} is not known; use alpha=packed, or leave it out"))),
    };
    let session = app.sessions.get(&id)?;
    let (answer, viewer) = app.sessions.watch(&session, sdp(&headers, body)?, packed).await?;
    Ok(answered(format!("/whep/{id}/{viewer}"), answer))
}

async fn whip(State(app): State<Shared>, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Answer<Response> {
    let session = app.sessions.get(&id)?;
    let (answer, sender) = app.sessions.publish(&session, sdp(&headers, body)?).await?;
    Ok(answered(format!("/whip/{id}/{sender}"), answer))
}

async fn hang_up(State(app): State<Shared>, Path((id, peer)): Path<(String, String)>) -> Answer<StatusCode> {
    let session = app.sessions.get(&id)?;
    app.sessions.hang_up(&session, &peer)?;
    Ok(StatusCode::OK)
}

/// Our answers carry all our addresses and we learn the peer's from its checks: trickled candidates are welcome, and
/// not needed.
async fn trickle(State(app): State<Shared>, Path((id, _)): Path<(String, String)>) -> Answer<StatusCode> {
    app.sessions.get(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, [("accept-post", "application/sdp")]).into_response()
}

async fn metrics(State(app): State<Shared>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        crate::metrics::render(&app.sessions),
    )
        .into_response()
}

/// Serves until `stop`.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(listener: tokio::net::TcpListener, app: Shared, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    axum::serve(listener, router(app)).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"] {
            assert!(is_local(host_of(host)), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com", "", "192.168.0.4:80"] {
            assert!(!is_local(host_of(host)), "{host}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let error = parse::<Change>(br#"{"colour": "red"}"#).err().unwrap();
        assert_eq!(error.0, StatusCode::BAD_REQUEST);
        assert!(error.1.contains("colour"), "{}", error.1);
    }
}
