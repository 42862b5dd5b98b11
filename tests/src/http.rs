//! HTTP/1.1 over a Unix socket, as much of it as a test asks for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::process::WAIT_LIMIT;

/// The HTTP interface of a hub or an agent.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The head without its first line.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Api {
    /// The interface on a socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for a path and its query.
    ///
    /// # Errors
    /// When nobody answers in time, or not in HTTP.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let asked = tokio::time::timeout(WAIT_LIMIT, self.ask(path)).await;
        let asked = asked.with_context(|| format!("no answer to GET {path}"))?;
        let bytes = asked.with_context(|| format!("cannot GET {path}"))?;
        parse(&String::from_utf8(bytes).context("an answer that is not UTF-8")?)
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// As [`Self::get`], and when the status is not 200 or the body not JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let Answer { code, head: _, body } = self.get(path).await?;
        if code != 200 {
            bail!("GET {path}: {code} {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("GET {path}: {body}"))
    }

    /// Posts JSON to a path.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, json: &Value) -> Result<Answer> {
        let body = json.to_string();
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        let request = format!("POST {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n");
        let asked = self.exchange(format!("{request}{head}\r\n\r\n{body}"));
        let asked = tokio::time::timeout(WAIT_LIMIT, asked).await;
        let asked = asked.with_context(|| format!("no answer to POST {path}"))?;
        let bytes = asked.with_context(|| format!("cannot POST {path}"))?;
        parse(&String::from_utf8(bytes).context("an answer that is not UTF-8")?)
    }

    async fn ask(&self, path: &str) -> Result<Vec<u8>> {
        let head = "HTTP/1.1\r\nHost: node\r\nConnection: close";
        self.exchange(format!("GET {path} {head}\r\n\r\n")).await
    }

    async fn exchange(&self, request: String) -> Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }
}

fn parse(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a head")?;
    let (first, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let code = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.with_context(|| format!("no status code in {first:?}"))?;
    Ok(Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_code_head_and_body() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nA: B\r\n\r\n{\"error\":\"no\"}").unwrap();

        let expected = Answer { code: 404, head: "a: b".into(), body: r#"{"error":"no"}"#.into() };
        assert_eq!(answer, expected);
    }
}
