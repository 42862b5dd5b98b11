//! Consumers that read a topic as all regions have it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::fleet::Node;
use crate::process::WAIT_LIMIT;

/// What a group has not read yet of a topic's logs of all regions at a hub, by dot: of two copies
/// of a record one. It is committed: the next call goes on behind it.
///
/// # Errors
/// When the hub does not answer, or not with records and positions.
pub async fn union_at(hub: &Node, group: &str, topic: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    loop {
        let answer = hub.api.json(&format!("/v1/groups/{group}/records?topic={topic}@*")).await?;
        let positions = answer.get("positions").context("no positions")?;
        if positions.as_array().is_none_or(Vec::is_empty) {
            return Ok(all);
        }
        for record in answer.get("records").and_then(Value::as_array).context("no records")? {
            // What stands for records that another hub has says so in a header.
            if record.pointer("/headers/hl-dropped").is_some() {
                continue;
            }
            let text = |field: &str| Some(record.get(field)?.as_str()?.to_owned());
            let dot = text("dot").context("no dot")?;
            all.insert(dot, text("value").context("no value")?);
        }
        let request = json!({ "change": "commit", "positions": positions });
        let answer = hub.api.post(&format!("/v1/groups/{group}/offsets"), &request).await?;
        if answer.code != 200 {
            bail!("{} {}", answer.code, answer.body);
        }
    }
}

/// Waits until a new group that reads a topic of all regions at a hub has as many records as there
/// are `lines`, and returns the values of all it has by then, sorted.
///
/// # Errors
/// When it has fewer for too long, with how many; else as [`union_at`].
pub async fn union_when(hub: &Node, topic: &str, count: usize) -> Result<Vec<String>> {
    // What a group has read at one hub it has read at all.
    let group = format!("all-{count}-at-{}", hub.name());
    let mut all = BTreeMap::new();
    let reading = async {
        let mut interval = tokio::time::interval(crate::fleet::ASK_INTERVAL);
        while all.len() < count {
            interval.tick().await;
            all.extend(union_at(hub, &group, topic).await?);
        }
        anyhow::Ok(())
    };
    let read = tokio::time::timeout(WAIT_LIMIT, reading).await;
    read.unwrap_or_else(|_| bail!("too few records of {topic}"))
        .with_context(|| format!("{} of {count} at {:?}", all.len(), hub.config))?;
    let mut values: Vec<String> = all.into_values().collect();
    values.sort_unstable();
    Ok(values)
}
