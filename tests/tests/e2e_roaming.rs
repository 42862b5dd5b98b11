//! An agent of real processes that goes to the hub of another region, and comes back.

use std::time::Duration;

use anyhow::{Context, Result};
use headland_tests::commands::until_heard;
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::{READING_COLUMNS, readings};
use headland_tests::process::WAIT_LIMIT;
use headland_tests::readers::union_at;
use serde_json::{Value, json};

/// How often a question is asked again whose answer nothing announces.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

const TOPIC: &str = "air.readings";

/// Longer than the default: a machine that stands still for seconds is no lost region.
const LEFT_AFTER: &str = "8s";

/// The hub of a third region votes, and leaves no other one of its own accord: which hub misses a
/// lost region first would be a matter of time.
const LEFT_AFTER_ALL: &str = "1h";

/// What makes the hubs of three regions look after each other.
fn failover(after: &str) -> String {
    format!("[failover]\nregions = [\"eu\", \"us\", \"ap\"]\nafter = \"{after}\"\n")
}

/// Whether a hub votes and its region is in use as far as leases go.
fn is_in_use(status: &Value) -> bool {
    let is = |field: &str| status.pointer(field) == Some(&Value::Bool(true));
    is("/lease/in_use") && is("/lease/votes")
}

/// Two regions whose hubs both take an agent of `eu`, which prefers its own.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    agent: Node,
    written: usize,
}

impl Regions {
    async fn start() -> Result<Self> {
        Self::start_in(Fleet::new()?, None).await
    }

    /// Two of three regions that look after each other, `eu` by a lease, and the third one.
    async fn start_with_leases() -> Result<(Self, Node)> {
        let fleet = Fleet::new()?;
        let mut ap = fleet.hub("ap")?;
        ap.configure(&failover(LEFT_AFTER_ALL))?;
        let regions = Self::start_in(fleet, Some(&mut ap)).await?;
        Ok((regions, ap))
    }

    async fn start_in(fleet: Fleet, third: Option<&mut Node>) -> Result<Self> {
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        if let Some(ap) = &third {
            eu.configure(&(failover(LEFT_AFTER) + "automatic = true"))?;
            us.configure(&failover(LEFT_AFTER))?;
            for hub in [&eu, &us] {
                hub.expect(ap)?;
                ap.dial(hub)?;
            }
        }
        eu.grant("eu-1", &TOPICS, &["*"])?;
        us.grant("eu-1", &TOPICS, &["*"])?;
        us.configure("region = \"eu\"")?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        let mut agent = fleet.agent("eu-1", &eu)?;
        let other = format!(
            "[[hub]]\naddress = \"{}\"\nname = \"hub-1\"\nregion = \"us\"\n\
             [roaming]\nmove_after = \"300ms\"\nreturn_after = \"1s\"\n[tls]\nca_file",
            us.address
        );
        agent.reconfigure("[hub]", "[[hub]]")?;
        agent.reconfigure("[tls]\nca_file", &other)?;
        fleet.append("eu-1.csv", &[READING_COLUMNS])?;
        eu.start().await?;
        us.start().await?;
        if let Some(ap) = third {
            ap.start().await?;
            // The agent would go on at the other hub while its own has no lease.
            for hub in [&eu, &us, ap] {
                hub.json_when("/v1/status", is_in_use).await?;
            }
        }
        agent.start().await?;
        Ok(Self { fleet, eu, us, agent, written: 0 })
    }

    fn write(&mut self, count: usize) -> Result<()> {
        let lines = readings(self.written..self.written + count);
        self.written += count;
        self.fleet.append("eu-1.csv", &lines)
    }

    /// Waits until some hub has acknowledged all that was written.
    async fn settle(&self) -> Result<()> {
        self.settle_when(|_| true).await
    }

    /// The same, and until the agent uses the hub of a region.
    async fn settle_at(&self, region: &str) -> Result<()> {
        let hub = format!("region/{region}/hub/hub-1");
        let is_there = |status: &Value| status["hub"] == *hub && status["connected"] == true;
        self.settle_when(is_there).await
    }

    async fn settle_when(&self, is_there: impl Fn(&Value) -> bool) -> Result<()> {
        // Nothing is unacknowledged, too, while lines that were read are not durable yet.
        let is_safe = |status: &Value| {
            let acknowledged = status.pointer("/acknowledged/air.readings");
            acknowledged == Some(&json!(self.written)) && is_there(status)
        };
        self.agent.status_when(is_safe).await.map(drop)
    }

    /// At each hub, who reads the logs of all regions has every record once; the agent is at its
    /// own region's hub.
    async fn each_counts_once(&self) -> Result<()> {
        // Lines that were read are not acknowledged before they are durable.
        let is_all =
            |found: &Value| found.pointer("/partitions/0/end") == Some(&json!(self.written));
        self.eu.json_when("/v1/topics/air.readings", is_all).await?;
        mirrored(&self.eu, &self.us, "eu").await?;
        mirrored(&self.us, &self.eu, "us").await?;
        for (hub, group) in [(&self.eu, "all-at-eu"), (&self.us, "all-at-us")] {
            let mut found: Vec<String> = union_at(hub, group, TOPIC).await?.into_values().collect();
            let mut expected = readings(0..self.written);
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
        Ok(())
    }
}

/// Waits until a hub has a topic up to where another one has it.
async fn mirrored(from: &Node, to: &Node, prefix: &str) -> Result<()> {
    let topic = from.api.json("/v1/topics/air.readings").await?;
    let end = topic.pointer("/partitions/0/end").context("no end")?.clone();
    let name = format!("{prefix}.air.readings");
    let is_it =
        |found: &Value| found["topic"] == *name && found.pointer("/partitions/0/end") == Some(&end);
    // A topic of the other region is there once its hub has offered it, after a start or a kill.
    let is_there = |all: &Value| all.as_array().is_some_and(|all| all.iter().any(is_it));
    to.json_when("/v1/topics", is_there).await.map(drop)
}

#[tokio::test]
async fn an_agent_goes_on_at_another_hub_and_comes_back_and_each_record_counts_once() -> Result<()>
{
    let mut regions = Regions::start().await?;
    regions.write(200)?;
    regions.settle().await?;

    // Some of these may be on the disk of the hub that is killed, and not acknowledged.
    regions.write(2_000)?;
    regions.eu.kill().await?;
    regions.write(300)?;
    regions.settle().await?;
    let is_used =
        |topic: &Value| topic.pointer("/partitions/0/end").and_then(Value::as_u64) > Some(0);
    regions.us.json_when("/v1/topics/air.readings", is_used).await?;

    regions.eu.start().await?;
    regions.agent.says("goes back to a hub that is preferred").await?;
    regions.write(100)?;
    regions.settle().await?;
    regions.each_counts_once().await
}

#[tokio::test]
async fn agents_of_a_region_that_is_left_go_on_at_the_other_hub_and_come_back_after_it()
-> Result<()> {
    let mut regions = Regions::start().await?;
    regions.write(200)?;
    regions.settle().await?;
    let socket = regions.fleet.path("us.sock");
    let socket = socket.to_str().context("a path that is not UTF-8")?;

    until_heard(&["failover", "eu", "--socket", socket]).await?;
    regions.write(300)?;
    regions.settle_at("us").await?;
    until_heard(&["failback", "eu", "--socket", socket]).await?;
    regions.write(100)?;
    regions.settle_at("eu").await?;

    regions.each_counts_once().await
}

/// What a group reads on at a hub until it has so many lines, in their order; committed behind each
/// answer.
async fn read_on(hub: &Node, count: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let reading = async {
        let mut interval = tokio::time::interval(ASK_INTERVAL);
        while found.len() < count {
            interval.tick().await;
            found.extend(union_at(hub, "billing", TOPIC).await?.into_values());
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(WAIT_LIMIT, reading).await.context("too few lines")??;
    found.sort_unstable();
    Ok(found)
}

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    let mut lines = readings(range);
    lines.sort_unstable();
    lines
}

/// Waits until a hub has so many records of a topic.
async fn has(hub: &Node, topic: &str, count: usize) -> Result<()> {
    let is_it = |found: &Value| {
        found["topic"] == topic && found.pointer("/partitions/0/end") == Some(&json!(count))
    };
    let is_there = |all: &Value| all.as_array().is_some_and(|all| all.iter().any(is_it));
    hub.json_when("/v1/topics", is_there).await.map(drop)
}

#[tokio::test]
async fn a_region_that_is_killed_is_left_by_itself_and_agents_and_groups_go_on_and_come_back()
-> Result<()> {
    let (mut regions, ap) = Regions::start_with_leases().await?;
    regions.write(200)?;
    regions.settle_at("eu").await?;
    let before = read_on(&regions.eu, 200).await?;
    has(&regions.us, "eu.air.readings", 200).await?;
    let heard = |group: &Value| group.pointer("/positions/0/origin_offset") == Some(&json!(200));
    regions.us.json_when("/v1/groups/billing", heard).await?;

    regions.eu.kill().await?;
    regions.write(300)?;
    regions.settle_at("us").await?;
    for hub in [&regions.us, &ap] {
        hub.json_when("/v1/links/eu", |link| link["left_for"] == "us").await?;
    }
    let meanwhile = read_on(&regions.us, 300).await?;
    regions.eu.start().await?;
    let left = |status: &Value| status["left_for"] == "us" && !is_in_use(status);
    regions.eu.json_when("/v1/status", left).await?;
    let refused =
        regions.eu.api.get(&format!("/v1/groups/billing/records?topic={TOPIC}@*")).await?;

    let socket = regions.fleet.path("us.sock");
    let socket = socket.to_str().context("a path that is not UTF-8")?;
    until_heard(&["failback", "eu", "--socket", socket]).await?;
    regions.eu.json_when("/v1/status", is_in_use).await?;
    regions.write(100)?;
    regions.settle_at("eu").await?;
    regions.each_counts_once().await?;
    let back = read_on(&regions.eu, 100).await?;

    assert_eq!(before, lines(0..200));
    assert_eq!(meanwhile, lines(200..500), "nothing is read again, and nothing passed over");
    assert_eq!(refused.code, 409, "{}", refused.body);
    assert_eq!(back, lines(500..600));
    Ok(())
}
