//! Asking a node over its Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A hub that does not answer within this time counts as not answering; above the hub's own wait
/// for a decision to be durable.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// Why there is no answer, or none that helps.
pub type ExchangeError = Box<dyn std::error::Error + Send + Sync>;

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

/// Deletes what is at `path` of the node at `socket`.
///
/// # Errors
/// Those of [`get`].
pub(crate) async fn delete(socket: &Path, path: &str) -> Result<Bytes, ExchangeError> {
    exchange(socket, Request::delete(path).body(Full::default())).await
}

/// A socket at which nobody can be asked.
#[derive(Debug, thiserror::Error)]
#[error("no hub can be asked at {}: {}", socket.display(), self.hint())]
pub struct Unreachable {
    /// The socket.
    pub socket: PathBuf,
    /// What the machine said.
    pub source: std::io::Error,
}

impl Unreachable {
    /// What would fit.
    fn hint(&self) -> &'static str {
        match self.source.kind() {
            std::io::ErrorKind::NotFound => {
                "there is no such file; it is made when the hub starts, where socket of [api] in \
                 its configuration says, and a relative path there starts at the configuration's \
                 folder"
            }
            std::io::ErrorKind::ConnectionRefused => {
                "nobody listens there; it is no socket, or its hub has ended"
            }
            std::io::ErrorKind::PermissionDenied => {
                "it is open to the user alone that runs the hub"
            }
            _ => "is it socket of [api] in the hub's configuration?",
        }
    }
}

/// Why a hub's answer cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The machine gives no task.
    #[error("cannot start")]
    Start(#[source] std::io::Error),
    /// Nobody answers at the socket.
    #[error("no answer from the hub at {socket} within {} s", ANSWER_LIMIT.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// Nobody can be asked at the socket.
    #[error(transparent)]
    Unreachable(Box<Unreachable>),
    /// The hub refuses.
    #[error("the hub at {socket} does not do it")]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What it said.
        #[source]
        source: ExchangeError,
    },
    /// What came is no answer.
    #[error("the hub at {socket} answered with something else")]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What the parser met.
        #[source]
        source: serde_json::Error,
    },
}

/// Waits for an exchange with the hub at `socket` from outside a runtime, and reads the answer.
///
/// # Errors
/// [`AskError`] when the hub does not answer in time, refuses, or says something else.
pub(crate) fn ask<T>(
    socket: &Path,
    exchange: impl Future<Output = Result<Bytes, ExchangeError>>,
    read: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<T, AskError> {
    let socket = || socket.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AskError::Start)?;
    let limited = async { tokio::time::timeout(ANSWER_LIMIT, exchange).await };
    let answer = runtime.block_on(limited).map_err(|_| AskError::Silent { socket: socket() })?;
    let answer = answer.map_err(|source| match source.downcast() {
        Ok(unreachable) => AskError::Unreachable(unreachable),
        Err(source) => AskError::Refused { socket: socket(), source },
    })?;
    read(&answer).map_err(|source| AskError::Answer { socket: socket(), source })
}

async fn exchange(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Bytes, ExchangeError> {
    let mut request = request?;
    let host = hyper::header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(hyper::header::HOST, host);
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| Unreachable { socket: socket.to_owned(), source })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &Path) -> String {
        let asked = ask(socket, get(socket, "/v1/status"), |_| Ok(()));
        asked.unwrap_err().to_string()
    }

    #[test]
    fn a_socket_that_is_none_is_named_with_what_would_fit() {
        let folder = tempfile::tempdir().unwrap();
        let [absent, file] = ["absent.sock", "file"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();

        let (no_file, no_socket) = (told(&absent), told(&file));

        let begins = format!("no hub can be asked at {}: there is no such file", absent.display());
        assert!(no_file.starts_with(&begins), "{no_file}");
        assert!(no_file.contains("socket of [api]"), "{no_file}");
        assert!(no_socket.contains("nobody listens there"), "{no_socket}");
    }
}
