//! Data directories that were copied with `cp -a` while their node did not run, and both go on.
#![expect(clippy::indexing_slicing, reason = "a test's helpers are a test")]

use anyhow::{Context, Result};
use headland_tests::fleet::{Fleet, Node, TOPICS, equal_when, values};
use headland_tests::lines::{READING_COLUMNS, event, readings};
use headland_tests::readers::union_when;
use serde_json::Value;

const TOPIC: &str = "air.readings";

/// Numbers of readings.
type Numbers = std::ops::Range<usize>;

const NONE: Numbers = 0..0;

/// What a node says that begins a new life on a copy.
const TOLD: &str = "the data directory is a copy: it goes on in a new life";

/// The hubs of two regions that have met, and agents of one of them.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    agents: Vec<Node>,
}

impl Regions {
    async fn start() -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        eu.expect(&us)?;
        us.dial(&eu)?;
        let mut agents = Vec::new();
        for name in ["eu-1", "eu-2"] {
            eu.grant(name, &TOPICS, &["*"])?;
            agents.push(fleet.agent(name, &eu)?);
            fleet.append(&format!("{name}.csv"), &[READING_COLUMNS])?;
        }
        for hub in [&mut eu, &mut us] {
            hub.configure("[membership]\nreport_every = \"100ms\"")?;
            hub.start().await?;
        }
        Ok(Self { fleet, eu, us, agents })
    }

    /// Adds readings to the file of a source, and waits until a hub has acknowledged all that its
    /// agent has read.
    async fn read(
        &self,
        (agent, file): (&Node, &str),
        numbers: Numbers,
        in_file: usize,
    ) -> Result<()> {
        self.fleet.append(file, &readings(numbers))?;
        let is_read = |source: &Value| source["lines"] == in_file + 1;
        let is_safe = |status: &Value| {
            let sources = status["sources"].as_array();
            sources.is_some_and(|all| all.iter().any(is_read))
                && status["unacknowledged_records"] == 0
        };
        agent.status_when(is_safe).await.map(drop)
    }

    /// Waits until who reads the logs of all regions at a hub has the readings of two files.
    async fn reads(&self, hub: &Node, first: Numbers, second: Numbers) -> Result<()> {
        let mut expected = [readings(first), readings(second)].concat();
        expected.sort_unstable();
        let found = union_when(hub, TOPIC, expected.len()).await?;
        assert_eq!(found, expected, "at {:?}", hub.config);
        Ok(())
    }
}

/// Waits for the alert by which a hub says that it began a new life on a copy.
async fn alerts_of_a_new_life(hub: &Node) -> Result<()> {
    let alerts = values(&hub.records_when("alerts", 1).await?)?;
    let told: Vec<&Value> =
        alerts.iter().filter(|alert| alert["rule"] == "log_went_back").collect();
    let alert = told.first().with_context(|| format!("not among {alerts:?}"))?;
    let life = alert["values"]["life"].as_str().unwrap_or_default();
    assert!(told.len() == 1 && life.starts_with("2-"), "{alerts:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_started_from_an_old_copy_loses_nothing_of_what_it_wrote_since()
-> Result<()> {
    let mut regions = Regions::start().await?;
    let mut agent = regions.agents.remove(0);
    agent.start().await?;
    regions.read((&agent, "eu-1.csv"), 0..200, 200).await?;
    agent.stop().await?;
    let mut copy = regions.fleet.copy_of(&agent, "copy")?;
    agent.start().await?;
    regions.read((&agent, "eu-1.csv"), 200..500, 500).await?;
    agent.stop().await?;

    copy.start().await?;
    copy.says(TOLD).await?;
    regions.read((&copy, "copy/eu-1.csv"), 1_000..1_100, 300).await?;

    for hub in [&regions.eu, &regions.us] {
        regions.reads(hub, 0..500, 1_000..1_100).await?;
        let said = hub.lines();
        assert!(!said.iter().any(|line| line.contains("hands on")), "no life is over: {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_and_its_copy_that_run_at_once_lose_nothing_and_each_record_counts_once()
-> Result<()> {
    let mut regions = Regions::start().await?;
    let mut agent = regions.agents.remove(0);
    agent.start().await?;
    regions.read((&agent, "eu-1.csv"), 0..200, 200).await?;
    agent.stop().await?;
    let mut copy = regions.fleet.copy_of(&agent, "copy")?;

    agent.start().await?;
    copy.start().await?;
    copy.says(TOLD).await?;
    regions.fleet.append("eu-1.csv", &readings(200..500))?;
    regions.read((&copy, "copy/eu-1.csv"), 1_000..1_100, 300).await?;
    regions.read((&agent, "eu-1.csv"), 500..600, 600).await?;

    for hub in [&regions.eu, &regions.us] {
        regions.reads(hub, 0..600, 1_000..1_100).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_hub_that_is_started_from_an_old_copy_ends_like_its_peer_and_both_have_all() -> Result<()>
{
    let mut regions = Regions::start().await?;
    let [mut first, mut second]: [Node; 2] =
        std::mem::take(&mut regions.agents).try_into().ok().context("two agents")?;
    first.start().await?;
    regions.fleet.append("eu-1.jsonl", &[event("eu-1", 1, "restock", "A", 100)])?;
    regions.read((&first, "eu-1.csv"), 0..200, 200).await?;
    regions.us.units_when("A", "eu-1", 100).await?;
    regions.eu.stop().await?;
    let mut copy = regions.fleet.copy_of(&regions.eu, "copy")?;
    regions.eu.start().await?;
    regions.fleet.append("eu-1.jsonl", &[event("eu-1", 2, "sale", "A", 7)])?;
    regions.read((&first, "eu-1.csv"), 200..500, 500).await?;
    regions.us.units_when("A", "eu-1", 93).await?;
    regions.reads(&regions.us, 0..500, NONE).await?;
    first.stop().await?;
    regions.eu.kill().await?;

    // What is taken in first has other bytes than what the peer has under its offsets.
    copy.start().await?;
    copy.says(TOLD).await?;
    second.start().await?;
    regions.fleet.append("eu-2.jsonl", &[event("eu-2", 3, "restock", "A", 5)])?;
    regions.read((&second, "eu-2.csv"), 1_000..1_100, 100).await?;
    first.start().await?;

    for hub in [&copy, &regions.us] {
        regions.reads(hub, 0..500, 1_000..1_100).await?;
        hub.units_when("A", "eu-1", 93).await?;
        hub.units_when("A", "eu-2", 5).await?;
    }
    equal_when(&[&copy, &regions.us]).await?;
    alerts_of_a_new_life(&copy).await
}

#[tokio::test]
async fn a_hub_and_its_copy_that_run_at_once_keep_all_and_their_peer_has_it() -> Result<()> {
    let mut regions = Regions::start().await?;
    let [mut first, mut second]: [Node; 2] =
        std::mem::take(&mut regions.agents).try_into().ok().context("two agents")?;
    first.start().await?;
    regions.read((&first, "eu-1.csv"), 0..200, 200).await?;
    regions.reads(&regions.us, 0..200, NONE).await?;
    regions.eu.stop().await?;
    // They have one name, and so one link with the peer: each that dials it has its turn.
    let us = "[[peer]]\nregion = \"us\"";
    regions.eu.reconfigure(us, &format!("{us}\naddress = \"{}\"", regions.us.address))?;
    let mut copy = regions.fleet.copy_of(&regions.eu, "copy")?;
    copy.listen_elsewhere()?;
    second.reconfigure(&regions.eu.address.to_string(), &copy.address.to_string())?;

    regions.eu.start().await?;
    copy.start().await?;
    copy.says(TOLD).await?;
    second.start().await?;
    regions.read((&second, "eu-2.csv"), 1_000..1_100, 100).await?;
    regions.read((&first, "eu-1.csv"), 200..500, 500).await?;

    // Its log of them goes from one life to the other and back.
    regions.reads(&regions.us, 0..500, 1_000..1_100).await?;
    alerts_of_a_new_life(&copy).await
}

#[tokio::test]
async fn a_hub_whose_volume_was_taken_back_ends_and_goes_on_in_a_new_life_that_has_all()
-> Result<()> {
    let mut regions = Regions::start().await?;
    let mut agent = regions.agents.remove(0);
    agent.start().await?;
    regions.fleet.append("eu-1.jsonl", &[event("eu-1", 1, "restock", "A", 100)])?;
    regions.read((&agent, "eu-1.csv"), 0..200, 200).await?;
    regions.us.units_when("A", "eu-1", 100).await?;
    regions.eu.stop().await?;
    regions.fleet.copy_of(&regions.eu, "copy")?;
    regions.eu.start().await?;
    regions.fleet.append("eu-1.jsonl", &[event("eu-1", 2, "sale", "A", 7)])?;
    regions.read((&agent, "eu-1.csv"), 200..500, 500).await?;
    regions.us.units_when("A", "eu-1", 93).await?;
    regions.reads(&regions.us, 0..500, NONE).await?;
    agent.stop().await?;
    regions.eu.kill().await?;
    regions.fleet.take_back(&regions.eu, "copy")?;

    let ended = regions.eu.launch()?.ended().await?;
    regions.eu.start().await?;
    agent.start().await?;
    regions.read((&agent, "eu-1.csv"), 500..600, 600).await?;

    let last = ended.lines.last().context("it said nothing")?;
    assert_eq!(ended.status.code(), Some(1), "{last}");
    assert!(last.contains("start it again, and it goes on in a new life"), "{last}");
    for hub in [&regions.eu, &regions.us] {
        regions.reads(hub, 0..600, NONE).await?;
        hub.units_when("A", "eu-1", 93).await?;
    }
    equal_when(&[&regions.eu, &regions.us]).await?;
    alerts_of_a_new_life(&regions.eu).await
}
