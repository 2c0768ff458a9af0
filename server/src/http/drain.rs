//! Answers that come before the end of a request's body: what is still being sent is read away first. A client in the middle of
//! sending would else find its connection broken, and never read the words that say why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

/// A client that sends for longer than this after its answer was found is cut off.
const LONGEST: Duration = Duration::from_secs(20);

/// A body that, dropped before its end, hands back what is left.
struct Lent {
    body: Option<BodyDataStream>,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = body.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            let _ = back.send(body);
        }
    }
}

pub async fn rest(request: Request, next: Next) -> Response {
    // A client that asked to be told whether to send has not begun.
    if request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (back, mut left) = oneshot::channel();
    let request = request.map(|body| Body::from_stream(Lent { body: Some(body.into_data_stream()), back: Some(back) }));
    let response = next.run(request).await;
    if let Ok(mut body) = left.try_recv() {
        let _ = tokio::time::timeout(LONGEST, async { while let Some(Ok(_)) = body.next().await {} }).await;
    }
    response
}
