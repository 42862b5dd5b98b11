//! What real hubs call other regions: a rename, a region that comes and one that goes, while an
//! agent produces.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::{READING_COLUMNS, readings};
use serde_json::{Value, json};

const SOURCE: &str = "air.readings";
const GROUP: &str = "/v1/groups/billing";

/// An agent of region `eu` and what it has written.
struct Writer {
    fleet: Fleet,
    agent: Node,
    written: usize,
}

impl Writer {
    /// Has the agent write so many readings more; they are on their way when this returns.
    fn write(&mut self, count: usize) -> Result<()> {
        self.fleet.append("eu-1.csv", &readings(self.written..self.written + count))?;
        self.written += count;
        Ok(())
    }
}

/// A hub that lets its agent `<region>-1` publish.
fn hub(fleet: &Fleet, region: &str) -> Result<Node> {
    let hub = fleet.hub(region)?;
    hub.grant(&format!("{region}-1"), &TOPICS, &["*"])?;
    Ok(hub)
}

async fn writer(fleet: Fleet, eu: &Node) -> Result<Writer> {
    fleet.append("eu-1.csv", &[READING_COLUMNS])?;
    let mut agent = fleet.agent("eu-1", eu)?;
    agent.start().await?;
    Ok(Writer { fleet, agent, written: 0 })
}

/// The dots of a topic's records; fails when one is there twice.
async fn dots(hub: &Node, topic: &str, count: usize) -> Result<BTreeSet<String>> {
    let records = hub.records_when(topic, count).await?;
    let dots: BTreeSet<String> = records.iter().map(|record| record["dot"].to_string()).collect();
    assert_eq!((records.len(), dots.len()), (count, count), "{topic}");
    Ok(dots)
}

/// The names of logs in which a hub has the readings of region `eu`.
async fn copies(hub: &Node) -> Result<Vec<String>> {
    let topics = hub.api.json("/v1/topics").await?;
    let is_copy = |topic: &&Value| topic["origin"] == "eu" && topic["origin_name"] == SOURCE;
    let copies = topics.as_array().context("no topics")?.iter().filter(is_copy);
    Ok(copies.filter_map(|topic| Some(topic["topic"].as_str()?.to_owned())).collect())
}

/// The offsets that a group reads on in a topic.
async fn reads_on(hub: &Node, topic: &str) -> Result<Vec<u64>> {
    let page = hub.api.json(&format!("{GROUP}/records?topic={topic}")).await?;
    let records = page.get("records").and_then(Value::as_array).context("no records")?;
    Ok(records.iter().filter_map(|record| record["offset"].as_u64()).collect())
}

#[tokio::test]
async fn a_region_is_renamed_at_one_hub_while_it_produces_and_nothing_is_read_again() -> Result<()>
{
    let fleet = Fleet::new()?;
    let (mut eu, mut us, mut ap) = (hub(&fleet, "eu")?, hub(&fleet, "us")?, hub(&fleet, "ap")?);
    us.dial(&eu)?;
    ap.dial(&eu)?;
    ap.configure("alias = \"e.u\"")?;
    ap.dial(&us)?;
    for (hub, peer) in [(&eu, &us), (&eu, &ap), (&us, &ap)] {
        hub.expect(peer)?;
    }
    for hub in [&mut eu, &mut us, &mut ap] {
        hub.start().await?;
    }
    let mut writer = writer(fleet, &eu).await?;
    writer.write(30)?;
    dots(&us, "eu.air.readings", 30).await?;
    let commit = json!({ "change": "commit", "positions":
        [{ "topic": "eu.air.readings", "partition": 0, "offset": 10 }] });
    assert_eq!(us.api.post(&format!("{GROUP}/offsets"), &commit).await?.code, 200);

    writer.write(30)?;
    us.kill().await?;
    us.reconfigure(
        &format!("region = \"eu\"\nname = \"hub-1\"\naddress = \"{}\"", eu.address),
        &format!(
            "region = \"eu\"\nname = \"hub-1\"\nalias = \"europe\"\naddress = \"{}\"",
            eu.address
        ),
    )?;
    writer.write(30)?;
    us.start().await?;
    writer.write(30)?;

    let own = dots(&eu, SOURCE, writer.written).await?;
    for (hub, name) in
        [(&us, "europe.air.readings"), (&us, "eu.air.readings"), (&ap, "e.u.air.readings")]
    {
        assert_eq!(dots(hub, name, writer.written).await?, own, "{name}");
    }
    assert_eq!(copies(&us).await?, ["eu.air.readings"]);
    assert_eq!(copies(&ap).await?, ["e.u.air.readings"]);
    let rest: Vec<u64> = (10..120).collect();
    for name in ["europe.air.readings", "eu.air.readings", "air.readings@*"] {
        assert_eq!(reads_on(&us, name).await?, rest, "{name}");
    }
    let topic = us.api.json("/v1/topics/europe.air.readings").await?;
    assert_eq!(
        (&topic["topic"], &topic["also"]),
        (&json!("eu.air.readings"), &json!(["europe.air.readings"]))
    );
    writer.agent.stop().await
}

#[tokio::test]
async fn a_region_comes_and_goes_while_another_one_produces() -> Result<()> {
    let fleet = Fleet::new()?;
    let (mut eu, mut us, mut ap) = (hub(&fleet, "eu")?, hub(&fleet, "us")?, hub(&fleet, "ap")?);
    us.dial(&eu)?;
    eu.expect(&us)?;
    eu.start().await?;
    us.start().await?;
    let mut writer = writer(fleet, &eu).await?;
    writer.write(20)?;
    dots(&us, "eu.air.readings", 20).await?;

    // It comes: named in both files, each hub started again once, while records flow.
    ap.dial(&eu)?;
    ap.dial(&us)?;
    for hub in [&mut eu, &mut us] {
        writer.write(20)?;
        hub.kill().await?;
        hub.expect(&ap)?;
        hub.start().await?;
    }
    ap.start().await?;
    writer.fleet.append("ap-1.csv", &[READING_COLUMNS])?;
    writer.fleet.append("ap-1.csv", &readings(0..10))?;
    let mut its_agent = writer.fleet.agent("ap-1", &ap)?;
    its_agent.start().await?;
    let of_ap = dots(&ap, SOURCE, 10).await?;
    writer.write(20)?;
    let all = dots(&eu, SOURCE, 80).await?;
    for hub in [&us, &ap] {
        assert_eq!(dots(hub, "eu.air.readings", 80).await?, all);
    }
    assert_eq!(dots(&us, "ap.air.readings", 10).await?, of_ap);

    // It goes: its process, and then its name from both files.
    writer.write(20)?;
    its_agent.stop().await?;
    ap.kill().await?;
    for hub in [&mut eu, &mut us] {
        writer.write(20)?;
        hub.kill().await?;
        hub.reconfigure("[[peer]]\nregion = \"ap\"\nname = \"hub-1\"", "")?;
        hub.start().await?;
    }
    writer.write(20)?;
    let all = dots(&eu, SOURCE, 160).await?;
    assert_eq!(dots(&us, "eu.air.readings", 160).await?, all);
    let links = eu.api.json("/v1/links").await?;
    let regions: Vec<&str> = links
        .as_array()
        .context("no links")?
        .iter()
        .filter_map(|of| of["region"].as_str())
        .collect();
    assert_eq!(regions, ["us"]);
    assert_eq!(dots(&us, "ap.air.readings", 10).await?, of_ap, "what it wrote stays readable");
    writer.agent.stop().await
}
