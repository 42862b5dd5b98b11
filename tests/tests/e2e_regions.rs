//! Two regions as real processes: what is replicated, what is not, and what both agree on.

use anyhow::{Context, Result};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::event;
use serde_json::Value;

/// Two regions of one hub and one agent each.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    _agents: [Node; 2],
}

impl Regions {
    /// Starts both; `us` dials `eu`.
    async fn start() -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        eu.grant("eu-1", &TOPICS, &["eu-1-"])?;
        us.grant("us-1", &TOPICS, &["us-1-"])?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        let mut agents = [fleet.agent("eu-1", &eu)?, fleet.agent("us-1", &us)?];
        eu.start().await?;
        us.start().await?;
        for agent in &mut agents {
            agent.start().await?;
        }
        Ok(Self { fleet, eu, us, _agents: agents })
    }

    /// One restock in each region, known to both.
    async fn with_stock(self) -> Result<Self> {
        self.fleet.append("eu-1.jsonl", &[event("eu-1", 1, "restock", "A", 100)])?;
        self.fleet.append("us-1.jsonl", &[event("us-1", 1, "restock", "A", 50)])?;
        for hub in [&self.eu, &self.us] {
            hub.units_when("A", "eu-1", 100).await?;
            hub.units_when("A", "us-1", 50).await?;
        }
        Ok(self)
    }
}

fn payloads(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| record["value"].to_string()).collect()
}

async fn topic_names(hub: &Node) -> Result<Vec<String>> {
    let topics = hub.api.json("/v1/topics").await?;
    let topics = topics.as_array().context("no topics")?;
    Ok(topics.iter().filter_map(|topic| Some(topic["topic"].as_str()?.to_owned())).collect())
}

#[tokio::test]
async fn a_topic_is_replicated_under_its_regions_name_and_never_back() -> Result<()> {
    let Regions { fleet, eu, us, _agents } = Regions::start().await?.with_stock().await?;

    fleet.append("us-1.jsonl", &[event("us-1", 2, "sale", "A", 120)])?;
    let mirrored = eu.records_when("us.inventory.events", 2).await?;
    // The agent's about a bulk sale and the hub's own about stock below zero.
    let alerts = eu.records_when("us.alerts", 2).await?;

    let own = us.records("inventory.events").await?;
    assert_eq!(payloads(&mirrored), payloads(&own));
    let identities = |records: &[Value]| -> Vec<String> {
        records.iter().map(|r| format!("{} {} {}", r["dot"], r["hlc"], r["headers"])).collect()
    };
    assert_eq!(identities(&mirrored), identities(&own), "dots, clocks and traces travel along");
    assert_eq!(payloads(&alerts), payloads(&us.records("alerts").await?));
    assert_eq!(eu.records("inventory.events").await?.len(), 1);
    for (hub, other) in [(&eu, "us"), (&us, "eu")] {
        let foreign: Vec<String> = topic_names(hub)
            .await?
            .into_iter()
            .filter(|name| {
                name.contains("eu.eu")
                    || name.contains("us.us")
                    || name.contains("eu.us")
                    || name.contains("us.eu")
            })
            .collect();
        assert_eq!(foreign, Vec::<String>::new());
        let names = topic_names(hub).await?;
        assert!(names.contains(&format!("{other}.inventory.events")), "{names:?}");
        assert!(!names.contains(&format!("{other}.inventory.stock")), "{names:?}");
    }
    Ok(())
}

#[tokio::test]
async fn both_regions_agree_on_stock_and_a_restarted_hub_keeps_it() -> Result<()> {
    let Regions { fleet, mut eu, mut us, _agents } = Regions::start().await?.with_stock().await?;
    fleet.append("us-1.jsonl", &[event("us-1", 2, "sale", "A", 7)])?;
    eu.units_when("A", "us-1", 43).await?;
    us.units_when("A", "us-1", 43).await?;

    let [of_eu, of_us] = [eu.status().await?, us.status().await?];
    us.kill().await?;
    us.start().await?;
    let again = us.status().await?;
    fleet.append("eu-1.jsonl", &[event("eu-1", 2, "sale", "A", 1)])?;
    us.units_when("A", "eu-1", 99).await?;
    eu.units_when("A", "eu-1", 99).await?;

    assert_eq!(of_eu["fingerprint"], of_us["fingerprint"]);
    assert_eq!(again["fingerprint"], of_us["fingerprint"]);
    assert_eq!(again["applied"], of_us["applied"]);
    let [of_eu, of_us] = [eu.status().await?, us.status().await?];
    assert_eq!(of_eu["fingerprint"], of_us["fingerprint"]);
    assert_ne!(again["fingerprint"], of_us["fingerprint"]);
    assert_eq!(of_us["links"][0]["state"], "up");
    eu.stop().await?;
    us.stop().await
}

#[tokio::test]
async fn derived_stock_is_written_once_also_when_the_hub_is_killed() -> Result<()> {
    let Regions { fleet, eu, mut us, _agents } = Regions::start().await?.with_stock().await?;
    let before = us.records_when("inventory.stock", 2).await?.len();

    us.kill().await?;
    fleet.append("eu-1.jsonl", &[event("eu-1", 2, "sale", "A", 1)])?;
    eu.units_when("A", "eu-1", 99).await?;
    us.start().await?;
    us.units_when("A", "eu-1", 99).await?;
    let stock = us.records_when("inventory.stock", before + 1).await?;

    assert_eq!(stock.len(), before + 1);
    let last = stock.last().context("no stock")?;
    assert_eq!(
        (&last["key"], &last["value"]),
        (&"A|eu-1".into(), &r#"{"sku":"A","location":"eu-1","units":99}"#.into(),)
    );
    Ok(())
}
