//! Commands of a hub's binary.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries;
use crate::process::Process;

/// For how long a command is asked again whose answer another region has to give. One that is
/// linked is waited for; of one that is not, or not linked again, the command says so at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How soon it is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs a command against a hub; its exit code and what it said.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub async fn headland(arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let ended = Process::start(&binaries::built()?.hub, arguments)?.ended().await?;
    Ok((ended.status.code(), ended.lines.join("\n")))
}

/// The view that a command prints that succeeds.
///
/// # Errors
/// When it fails, with what it said.
pub async fn view(arguments: &[&str]) -> Result<Value> {
    let (code, said) = headland(arguments).await?;
    if code != Some(0) {
        bail!("{arguments:?} ended with {code:?}: {said}");
    }
    serde_json::from_str(&said).with_context(|| format!("{arguments:?} says no JSON: {said}"))
}

/// The views of a command that changes nothing when it is asked again, until the other region's hub
/// has answered: the first one, and the last one.
///
/// # Errors
/// When it fails, or the other region's hub does not answer in time.
pub async fn until_heard(arguments: &[&str]) -> Result<(Value, Value)> {
    let mut first = None;
    let asking = async {
        let mut interval = tokio::time::interval(ASK_INTERVAL);
        loop {
            interval.tick().await;
            let view = view(arguments).await?;
            let first = first.get_or_insert_with(|| view.clone());
            if view.get("heard_there") == Some(&Value::Bool(true)) {
                return Ok((first.clone(), view));
            }
        }
    };
    let asked = tokio::time::timeout(ANSWER_LIMIT, asking).await;
    asked.unwrap_or_else(|_| bail!("the other region's hub did not answer: {first:?}"))
}
