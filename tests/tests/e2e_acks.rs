//! Records that are acknowledged once two regions hold them: real processes, and a lost disk.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::{READING_COLUMNS, readings, sales};
use serde_json::{Value, json};

const SOURCE: &str = "air.readings";
const MIRROR: &str = "eu.air.readings";

/// Two regions, of which the first one acknowledges readings once both have them, and its agent.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    agent: Node,
    written: usize,
}

impl Regions {
    /// Nothing runs yet; readings are refused to the agent after they have waited so long.
    fn new(wait: &str) -> Result<Self> {
        let fleet = Fleet::new()?;
        let (eu, us) = (fleet.hub("eu")?, fleet.hub("us")?);
        let ack = format!("name = {SOURCE:?}\nack = \"regions(2)\"\nack_wait = {wait:?}");
        eu.reconfigure(&format!("name = {SOURCE:?}"), &ack)?;
        eu.grant("eu-1", &TOPICS, &["*"])?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        let agent = fleet.agent("eu-1", &eu)?;
        fleet.append("eu-1.csv", &[READING_COLUMNS])?;
        Ok(Self { fleet, eu, us, agent, written: 0 })
    }

    /// Writes readings, each with its number.
    fn write(&mut self, count: usize) -> Result<()> {
        let lines = readings(self.written..self.written + count);
        self.written += count;
        self.fleet.append("eu-1.csv", &lines)
    }

    /// How many readings the agent knows to be safe: each is a record of one topic.
    async fn acknowledged(&self) -> Result<usize> {
        let status = self.agent.status_when(|status| lines(status) == Some(self.written)).await?;
        let next = status.pointer(&format!("/acknowledged/{SOURCE}")).and_then(Value::as_u64);
        Ok(usize::try_from(next.unwrap_or_default())?)
    }
}

/// How many readings an agent has taken from its file, which begins with a line of names.
fn lines(status: &Value) -> Option<usize> {
    let lines = status.pointer("/sources/1/lines")?.as_u64()?;
    usize::try_from(lines).ok()?.checked_sub(1)
}

/// The numbers of readings in an answer.
fn numbers(records: &[Value]) -> Vec<usize> {
    let values = records.iter().filter_map(|record| record.get("value")?.as_str());
    values.filter_map(|value| value.rsplit(',').next()?.parse().ok()).collect()
}

/// Every reading of the union over regions, as a new group reads it.
async fn union(hub: &Node) -> Result<Vec<usize>> {
    let answer = hub.api.json(&format!("/v1/groups/all/records?topic={SOURCE}@*")).await?;
    let records = answer.get("records").and_then(Value::as_array).context("no records")?;
    Ok(numbers(records))
}

fn verdict(status: &Value) -> Option<&Value> {
    status.pointer("/acks/0/verdict")
}

#[tokio::test]
async fn no_acknowledged_record_is_lost_with_the_disk_of_its_hub() -> Result<()> {
    let mut regions = Regions::new("60s")?;
    regions.eu.start().await?;
    regions.us.start().await?;
    regions.agent.start().await?;
    regions.write(300)?;
    regions.us.records_when(MIRROR, 300).await?;
    let is_safe = |status: &Value| status["unacknowledged_records"] == 0;
    regions.agent.status_when(is_safe).await?;
    let pause = regions.eu.api.post("/v1/links/us", &json!({ "pause": ["telemetry"] })).await?;
    assert_eq!(pause.code, 200, "{}", pause.body);
    regions.write(200)?;
    regions.eu.records_when(SOURCE, 500).await?;
    let before = regions.acknowledged().await?;
    assert!(before <= 300, "{before} acknowledged, of which the other region has 300");
    let resume = regions.eu.api.post("/v1/links/us", &json!({ "resume": [] })).await?;
    assert_eq!(resume.code, 200, "{}", resume.body);

    // Killed while the other region takes what it lacks: what is acknowledged by then is anything
    // from 300 to 500.
    let safe = regions.acknowledged().await?;
    regions.eu.kill().await?;
    std::fs::remove_dir_all(regions.fleet.path("eu.data"))?;
    let left: BTreeSet<usize> = union(&regions.us).await?.into_iter().collect();
    let lost: Vec<usize> = (0..safe).filter(|number| !left.contains(number)).collect();

    assert!(safe > 0, "nothing was acknowledged");
    assert_eq!(lost, [0; 0], "of {safe} acknowledged");
    regions.eu.start().await?;
    regions.write(50)?;
    let all: Vec<usize> = (0..550).collect();
    // And all of it is in the other region.
    let is_all = |answer: &Value| {
        let records = answer.get("records").and_then(Value::as_array);
        let found: BTreeSet<usize> =
            numbers(records.map_or(&[], Vec::as_slice)).into_iter().collect();
        found.into_iter().collect::<Vec<_>>() == all
    };
    regions.us.json_when(&format!("/v1/topics/{MIRROR}/0/records"), is_all).await?;
    Ok(())
}

#[tokio::test]
async fn without_another_region_nothing_is_acknowledged_and_nothing_is_lost() -> Result<()> {
    let mut regions = Regions::new("1s")?;
    regions.eu.start().await?;
    regions.agent.start().await?;
    regions.write(50)?;
    regions.eu.records_when(SOURCE, 50).await?;

    let alone = regions.eu.status_when(|status| status["acks"][0]["waiting_records"] == 50).await?;
    let told = regions.acknowledged().await?;
    let refused = regions.agent.says("the hub refused a topic; kept here").await?;
    regions.fleet.append("eu-1.jsonl", &sales("eu-1", "85123A", 0..40))?;
    regions.eu.records_when("inventory.events", 40).await?;
    let other = regions.agent.status_when(|status| status["unacknowledged_records"] == 50).await?;
    regions.us.start().await?;
    regions.agent.status_when(|status| status["unacknowledged_records"] == 0).await?;
    let met = regions.eu.status_when(|status| verdict(status) == Some(&json!("ok"))).await?;

    assert_eq!(verdict(&alone), Some(&json!("too-few-regions")), "{alone}");
    assert_eq!(alone.pointer("/acks/0/reached"), Some(&json!(1)));
    assert_eq!(told, 0);
    assert!(refused.contains("us is not reached"), "{refused}");
    assert_eq!(other.pointer("/connected"), Some(&json!(true)));
    assert_eq!(met.pointer("/acks/0/reached"), Some(&json!(2)));
    let metrics = regions.eu.api.get("/metrics").await?.body;
    let line = format!("headland_ack_waiting_records{{topic=\"{SOURCE}\"}} 0");
    assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    let all: Vec<usize> = (0..50).collect();
    for (hub, topic) in [(&regions.eu, SOURCE), (&regions.us, MIRROR)] {
        assert_eq!(numbers(&hub.records(topic).await?), all, "each once at {topic}");
    }
    Ok(())
}
