//! HTTP: routes, limits and the faces of errors. Decides nothing about sessions.

mod adjust;
mod api;
mod drain;
mod events;
mod guard;
mod metrics;
mod pages;
mod signalling;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};

pub use guard::Guard;
use odori_engine::avatar::PART_MAP_MAX_BYTES;

use crate::live::LiveError;
use crate::rtc::RtcError;
use crate::session::SessionError;
use crate::session::registry::Sessions;

/// Largest bodies, in bytes.
const JSON_BYTES: usize = 64 * 1024;
pub const SONG_BYTES: usize = 200 * 1024 * 1024;
pub const BACKGROUND_BYTES: usize = 20 * 1024 * 1024;
pub const AVATAR_BYTES: usize = 64 * 1024 * 1024;
/// An offer may be 64 kB; what is longer is refused by its reader, with words.
const SDP_BYTES: usize = 256 * 1024;

/// What handlers share.
#[derive(Clone)]
pub struct App {
    pub sessions: Arc<Sessions>,
    pub guard: Arc<Guard>,
}

/// An error as JSON.
pub struct Fault(pub StatusCode, pub String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        let status = match &error {
            SessionError::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            SessionError::NoSession | SessionError::Unknown(_) => StatusCode::NOT_FOUND,
            SessionError::Invalid(_) => StatusCode::BAD_REQUEST,
            SessionError::Conflict(_) => StatusCode::CONFLICT,
            SessionError::Sound(_) | SessionError::Background(_) | SessionError::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            SessionError::Rtc(rtc) => match rtc {
                RtcError::BadOffer(_) => StatusCode::BAD_REQUEST,
                RtcError::OfferTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                RtcError::NoCommonCodec { .. } => StatusCode::NOT_ACCEPTABLE,
                RtcError::NoPort(_) => StatusCode::SERVICE_UNAVAILABLE,
                RtcError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        Fault(status, error.to_string())
    }
}

impl From<LiveError> for Fault {
    fn from(error: LiveError) -> Self {
        Fault(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

/// The whole site.
pub fn router(app: App) -> Router {
    let guarded = Router::new()
        .route("/api/sessions", post(api::make))
        .route("/api/sessions/{id}", get(api::show).patch(api::change).delete(api::remove))
        .route("/api/sessions/{id}/start", post(api::start))
        .route("/api/sessions/{id}/stop", post(api::stop))
        .route("/api/sessions/{id}/events", get(events::events))
        .route("/api/sessions/{id}/trace", get(api::trace))
        .route("/api/avatars/{avatar}/reference.png", get(adjust::reference))
        .route("/api/avatars/{avatar}/layers.png", get(adjust::found))
        .route("/api/songs", get(api::songs))
        .route("/metrics", get(metrics::metrics))
        .layer(DefaultBodyLimit::max(JSON_BYTES))
        .merge(
            Router::new()
                .route("/api/avatars/{avatar}/points", get(adjust::points).put(adjust::apply))
                .route("/api/avatars/{avatar}/paint.png", get(adjust::paint).put(adjust::apply_paint))
                .layer(DefaultBodyLimit::max(PART_MAP_MAX_BYTES + JSON_BYTES)),
        )
        .merge(
            Router::new()
                .route("/api/sessions/{id}/source", post(api::upload).put(api::choose))
                .layer(DefaultBodyLimit::max(SONG_BYTES + JSON_BYTES)),
        )
        .merge(
            Router::new()
                .route("/api/sessions/{id}/background", post(api::backdrop))
                .layer(DefaultBodyLimit::max(BACKGROUND_BYTES + JSON_BYTES)),
        )
        .merge(
            Router::new()
                .route("/api/avatars", get(api::avatars).post(api::import))
                .route("/api/avatars/{avatar}/back", put(adjust::apply_back))
                .layer(DefaultBodyLimit::max(AVATAR_BYTES + JSON_BYTES)),
        )
        .merge(
            Router::new()
                .route("/whep/{id}", post(signalling::watch).options(signalling::describe))
                .route("/whep/{id}/{peer}", axum::routing::patch(signalling::trickle).delete(signalling::leave))
                .route("/whep/{id}/{peer}/report", post(signalling::report))
                .route("/whip/{id}", post(signalling::send).options(signalling::describe))
                .route("/whip/{id}/{peer}", axum::routing::patch(signalling::trickle).delete(signalling::hang_up))
                .layer(DefaultBodyLimit::max(SDP_BYTES)),
        )
        .route_layer(middleware::from_fn_with_state(app.clone(), guard::token));
    Router::new()
        .route("/", get(pages::studio))
        .route("/overlay/{id}", get(pages::overlay))
        .route("/api/health", get(api::health))
        // An <img> cannot send a header, and the pictures are no secret.
        .route("/api/avatars/{avatar}", get(api::picture))
        .merge(guarded)
        .fallback(pages::other)
        .layer(middleware::from_fn_with_state(app.clone(), guard::origin))
        .layer(middleware::from_fn(drain::rest))
        .with_state(app)
}
