//! The status stream of a session: server-sent events, the newest only.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;

use super::{App, Fault};

const EVERY: Duration = Duration::from_millis(80);

pub async fn events(State(app): State<App>, Path(id): Path<String>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    app.sessions.get(&id)?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stream = unfold(Some((app, id, ticks)), |state| async move {
        let (app, id, mut ticks) = state?;
        ticks.tick().await;
        match app.sessions.get(&id) {
            Ok(session) => {
                let event = Event::default().json_data(session.status()).expect("plain data");
                Some((Ok(event), Some((app, id, ticks))))
            }
            Err(_) => Some((Ok(Event::default().event("closed").data("{}")), None)),
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
