//! Regions, their agents and what these write.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::commands;
use crate::fleet::{Fleet, Node, TOPICS};

pub(super) const TOPIC: &str = "air.readings";

/// Columns of what agents read.
const COLUMNS: &str = "station,note,pm25";

/// Rules without a rule: each line is a record.
const RULES: &str = "CREATE TABLE inventory_events (id STRING, device STRING)
WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');
CREATE TABLE air_readings (station STRING, note STRING, pm25 DOUBLE)
WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
";

/// An agent with a file of numbered lines.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) node: Node,
    name: String,
    /// The next number.
    pub(super) written: u64,
}

impl Writer {
    /// An agent of `hubs`, the first of which is of its own region and preferred.
    pub(super) fn new(fleet: &Fleet, name: &str, hubs: &[(&Node, &str)]) -> Result<Self> {
        let ((first, _), others) = hubs.split_first().context("an agent has a hub")?;
        let node = fleet.agent(name, first)?;
        fleet.write("rules.sql", RULES)?;
        if !others.is_empty() {
            node.reconfigure("[hub]", "[[hub]]")?;
        }
        for (hub, region) in others {
            let of =
                format!("address = \"{}\"\nname = \"hub-1\"\nregion = {region:?}", hub.address);
            node.reconfigure("[tls]\nca_file", &format!("[[hub]]\n{of}\n[tls]\nca_file"))?;
        }
        fleet.append(&format!("{name}.csv"), &[COLUMNS])?;
        Ok(Self { node, name: name.to_owned(), written: 0 })
    }

    /// Who it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a line with a number is, with a note so many bytes wide.
    fn line(&self, number: u64, width: usize) -> String {
        format!("{},{:x<width$},{number}", self.name, "")
    }

    /// Writes so many lines more.
    pub(super) fn write(&mut self, fleet: &Fleet, count: u64, width: usize) -> Result<()> {
        let numbers = self.written..self.written + count;
        let lines: Vec<String> = numbers.map(|number| self.line(number, width)).collect();
        self.written += count;
        fleet.append(&format!("{}.csv", self.name), &lines)
    }

    /// How many of its lines the agent knows to be safe: each is a record of one topic.
    pub(super) async fn acknowledged(&self) -> Result<u64> {
        let status = self.node.status().await?;
        let acknowledged = status.get("acknowledged").and_then(|topics| topics.get(TOPIC));
        Ok(acknowledged.and_then(Value::as_u64).unwrap_or_default())
    }

    /// Waits until all that was written is acknowledged, by the hub of a region if one is named.
    pub(super) async fn settle(&self, region: Option<&str>) -> Result<()> {
        let hub = region.map(|region| format!("region/{region}/hub/hub-1"));
        let is_safe = |status: &Value| {
            // Nothing is unacknowledged, too, while lines that were read are not durable yet.
            let acknowledged = status.get("acknowledged").and_then(|topics| topics.get(TOPIC));
            acknowledged.and_then(Value::as_u64).unwrap_or_default() == self.written
                && status["unacknowledged_records"] == 0
                && hub.as_ref().is_none_or(|hub| status["hub"] == **hub)
                && status["connected"] == true
        };
        self.node.status_when(is_safe).await.map(drop)
    }
}

/// Lets agents publish at a hub.
pub(super) fn grant(hub: &Node, agents: &[String], region: Option<&str>) -> Result<()> {
    for agent in agents {
        hub.grant(agent, &TOPICS, &["*"])?;
        if let Some(region) = region {
            hub.configure(&format!("region = {region:?}"))?;
        }
    }
    Ok(())
}

/// Runs `headland <action> <region>` at a hub until that region's hub has answered, if it has to;
/// returns the first answer.
pub(super) async fn command(
    (fleet, hub): (&Fleet, &str),
    (action, region): (&str, &str),
    is_linked: bool,
) -> Result<Value> {
    let socket = fleet.path(&format!("{hub}.sock"));
    let socket = socket.to_str().context("a path that is not UTF-8")?;
    let arguments = [action, region, "--socket", socket];
    if !is_linked {
        return commands::view(&arguments).await;
    }
    Ok(commands::until_heard(&arguments).await?.0)
}

/// Where a hub's own topic ends.
async fn end(hub: &Node) -> Result<Value> {
    let topic = hub.api.json(&format!("/v1/topics/{TOPIC}")).await?;
    Ok(topic.pointer("/partitions/0/end").context("no end")?.clone())
}

/// Waits until a hub has the topic of a region up to where that region's hub has it.
pub(super) async fn mirrored(from: (&Node, &str), to: &Node) -> Result<()> {
    let (end, name) = (end(from.0).await?, format!("{}.{TOPIC}", from.1));
    let is_it =
        |found: &Value| found["topic"] == *name && found.pointer("/partitions/0/end") == Some(&end);
    // A topic of another region is there once its hub has offered it.
    let is_there =
        |all: &Value| end == 0 || all.as_array().is_some_and(|all| all.iter().any(is_it));
    to.json_when("/v1/topics", is_there).await.map(drop)
}
