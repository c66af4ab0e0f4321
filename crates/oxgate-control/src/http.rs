//! The small HTTP server behind the status and admin interfaces.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// Connections served at once: an operator's few tools and scrapers.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to ask; and six times that to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves requests until the task is dropped.
pub async fn serve<F>(listener: TcpListener, handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // One request each: who asks again every few seconds can connect again.
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), service);
            match tokio::time::timeout(6 * PATIENCE, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a status or admin connection ended early"),
                Err(_) => tracing::debug!("a status or admin connection took too long"),
            }
            drop(place);
        });
    }
}

/// A text with a status.
pub fn text(status: u16, body: impl Into<String>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.into())
}

/// A text with a status and the field that says what would be accepted.
pub fn refusal(status: u16, body: &str, field: &'static str, value: &'static str) -> Answer {
    let mut answer = text(status, body);
    answer.headers_mut().insert(field, hyper::header::HeaderValue::from_static(value));
    answer
}

/// A JSON document with a status.
pub fn json(status: u16, body: &serde_json::Value) -> Answer {
    answer(status, "application/json", format!("{body:#}\n"))
}

/// A body of a type with a status.
pub fn answer(status: u16, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    answer.headers_mut().insert("cache-control", hyper::header::HeaderValue::from_static("no-store"));
    answer
}
