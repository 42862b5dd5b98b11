//! Asking a node over its Unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why there is no answer, or none that helps.
pub(crate) type ExchangeError = Box<dyn std::error::Error + Send + Sync>;

/// Gets `path` of the node at `socket`, over a connection of its own: on a Unix socket that costs
/// less than to notice that a kept one died with its node.
///
/// # Errors
/// When nobody answers, or not with success; then what the node said is in the text.
pub(crate) async fn get(socket: &Path, path: &str) -> Result<Bytes, ExchangeError> {
    exchange(socket, Request::get(path).body(Full::default())).await
}

/// Posts a JSON text to `path` of the node at `socket`.
///
/// # Errors
/// Those of [`get`].
pub(crate) async fn post(socket: &Path, path: &str, json: Vec<u8>) -> Result<Bytes, ExchangeError> {
    let request = Request::post(path).header("content-type", "application/json");
    exchange(socket, request.body(Full::new(Bytes::from(json)))).await
}

/// Waits for an exchange from outside a runtime; `None` when it takes longer than `limit`.
///
/// # Errors
/// When the machine gives no runtime.
pub(crate) fn wait<T>(limit: Duration, exchange: impl Future<Output = T>) -> io::Result<Option<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { tokio::time::timeout(limit, exchange).await.ok() }))
}

async fn exchange(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Bytes, ExchangeError> {
    let mut request = request?;
    let host = hyper::header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(hyper::header::HOST, host);
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection may end before its last answer has been looked at.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}
