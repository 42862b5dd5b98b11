//! A consumer group that moves between two regions of real processes, and the links it reads over.

use anyhow::{Context, Result};
use headland_tests::commands::{headland, until_heard};
use headland_tests::fleet::{Fleet, Node, TOPICS, values};
use headland_tests::lines::{READING_COLUMNS, readings};
use headland_tests::process::WAIT_LIMIT;
use serde_json::{Value, json};

const SOURCE: &str = "air.readings";
const MIRROR: &str = "eu.air.readings";
const GROUP: &str = "/v1/groups/billing";

/// Two regions, an agent in one of them.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    agent: Node,
    written: usize,
}

impl Regions {
    async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// The same with this in the configuration of both hubs.
    async fn start_with(section: &str) -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        [&eu, &us].into_iter().try_for_each(|hub| hub.configure(section))?;
        eu.grant("eu-1", &TOPICS, &["*"])?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        let mut agent = fleet.agent("eu-1", &eu)?;
        fleet.append("eu-1.csv", &[READING_COLUMNS])?;
        eu.start().await?;
        us.start().await?;
        agent.start().await?;
        Ok(Self { fleet, eu, us, agent, written: 0 })
    }

    /// Writes readings, and waits until they are at the hub of their region.
    async fn write(&mut self, count: usize) -> Result<()> {
        let lines = readings(self.written..self.written + count);
        self.fleet.append("eu-1.csv", &lines)?;
        self.written += count;
        ends_at(&self.eu, SOURCE, self.written).await
    }

    async fn change_link(&self, change: Value) -> Result<()> {
        let answer = self.eu.api.post("/v1/links/us", &change).await?;
        assert_eq!(answer.code, 200, "{}", answer.body);
        Ok(())
    }
}

/// Waits until a hub's topic of one partition has so many records.
async fn ends_at(hub: &Node, topic: &str, end: usize) -> Result<()> {
    let is_there = |found: &Value| found.pointer("/partitions/0/end") == Some(&json!(end));
    hub.json_when(&format!("/v1/topics/{topic}"), is_there).await.map(drop)
}

/// What a group reads on of the union over regions: the offsets, and what to commit.
async fn read(hub: &Node) -> Result<(Vec<u64>, Value)> {
    let answer = hub.api.json(&format!("{GROUP}/records?topic={SOURCE}@*")).await?;
    let records = answer.get("records").and_then(Value::as_array).context("no records")?;
    let offsets = records.iter().filter_map(|record| record.get("offset")?.as_u64()).collect();
    Ok((offsets, answer.get("positions").context("no positions")?.clone()))
}

async fn commit(hub: &Node, positions: &Value) -> Result<()> {
    let request = json!({ "change": "commit", "positions": positions });
    let answer = hub.api.post(&format!("{GROUP}/offsets"), &request).await?;
    assert_eq!(answer.code, 200, "{}", answer.body);
    Ok(())
}

/// Reads on and commits until there is nothing more; the offsets that were read.
async fn read_on(hub: &Node) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    loop {
        let (offsets, positions) = read(hub).await?;
        if offsets.is_empty() {
            return Ok(all);
        }
        all.extend(offsets);
        commit(hub, &positions).await?;
    }
}

async fn committed(hub: &Node, offset: usize) -> Result<Value> {
    let is_there = |group: &Value| {
        group.pointer("/positions/0/origin_offset").is_some_and(|found| *found == offset)
    };
    hub.json_when(GROUP, is_there).await
}

/// A group reads everything in `eu`, of which `us` lacks `lag` records when `eu` is killed.
async fn fails_over_and_back(lag: usize) -> Result<()> {
    let mut regions = Regions::start().await?;
    regions.write(20).await?;
    regions.us.records_when(MIRROR, 20).await?;
    regions.change_link(json!({ "pause": ["telemetry"] })).await?;
    regions.write(lag).await?;
    let all = read_on(&regions.eu).await?;
    let there = committed(&regions.us, 20 + lag).await?;
    assert_eq!(all, (0..20 + lag as u64).collect::<Vec<_>>());
    assert_eq!(there.pointer("/positions/0/ahead_records"), Some(&json!(lag)));

    regions.eu.kill().await?;
    let (again, _) = read(&regions.us).await?;
    regions.eu.start().await?;
    regions.change_link(json!({ "resume": ["telemetry"] })).await?;
    ends_at(&regions.us, MIRROR, 20 + lag).await?;
    let (late, _) = read(&regions.us).await?;
    regions.write(5).await?;
    ends_at(&regions.us, MIRROR, 25 + lag).await?;
    let (new, positions) = read(&regions.us).await?;
    commit(&regions.us, &positions).await?;
    committed(&regions.eu, 25 + lag).await?;
    let (back, _) = read(&regions.eu).await?;

    assert_eq!((again.len(), late.len(), back.len()), (0, 0, 0), "nothing is read again");
    let first = 20 + lag as u64;
    assert_eq!(new, (first..first + 5).collect::<Vec<_>>(), "and nothing is passed over");
    Ok(())
}

#[tokio::test]
async fn a_group_whose_records_are_all_there_fails_over_and_back_and_reads_each_once() -> Result<()>
{
    fails_over_and_back(0).await
}

#[tokio::test]
async fn a_group_that_is_ahead_of_the_copy_fails_over_and_back_and_reads_each_once() -> Result<()> {
    fails_over_and_back(100).await
}

#[tokio::test]
async fn a_group_that_is_ten_thousand_records_ahead_fails_over_and_back_and_reads_each_once()
-> Result<()> {
    fails_over_and_back(10_000).await
}

/// What is read of a group on a page: the numbers of the readings, and what to commit.
async fn page(hub: &Node, group: &str, max: usize) -> Result<(Vec<usize>, Value)> {
    let path = format!("/v1/groups/{group}/records?topic={SOURCE}@*&max={max}");
    let answer = hub.api.json(&path).await?;
    let records = answer.get("records").and_then(Value::as_array).context("no records")?;
    let values = records.iter().filter_map(|record| record.get("value")?.as_str());
    let numbers = values.filter_map(|value| value.rsplit(',').next()?.parse().ok()).collect();
    Ok((numbers, answer.get("positions").context("no positions")?.clone()))
}

/// Reads so many readings at most, and commits behind each page of seven; their numbers.
async fn read_as(hub: &Node, group: &str, count: usize) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    while all.len() < count {
        let (numbers, positions) = page(hub, group, (count - all.len()).min(7)).await?;
        if numbers.is_empty() {
            break;
        }
        all.extend(numbers);
        let request = json!({ "change": "commit", "positions": positions });
        let answer = hub.api.post(&format!("/v1/groups/{group}/offsets"), &request).await?;
        assert_eq!(answer.code, 200, "{}", answer.body);
    }
    Ok(all)
}

/// The site of `eu` is lost with all its disks while two groups have read some of its forty
/// readings; what it begins anew with writes ten others.
async fn lost_and_begun_anew() -> Result<Regions> {
    let mut regions = Regions::start().await?;
    regions.write(40).await?;
    regions.us.records_when(MIRROR, 40).await?;
    assert_eq!(read_as(&regions.eu, "billing", 25).await?, (0..25).collect::<Vec<_>>());
    assert_eq!(read_as(&regions.us, "audit", 10).await?, (0..10).collect::<Vec<_>>());
    committed(&regions.us, 25).await?;
    regions.agent.stop().await?;
    regions.eu.kill().await?;
    std::fs::remove_dir_all(regions.fleet.path("eu.data")).context("no data directory")?;

    regions.eu.grant("eu-2", &TOPICS, &["*"])?;
    regions.agent = regions.fleet.agent("eu-2", &regions.eu)?;
    regions.fleet.append("eu-2.csv", &[READING_COLUMNS])?;
    regions.fleet.append("eu-2.csv", &readings(40..50))?;
    regions.eu.start().await?;
    regions.agent.start().await?;
    ends_at(&regions.eu, SOURCE, 10).await?;
    ends_at(&regions.us, MIRROR, 50).await?;
    Ok(regions)
}

#[tokio::test]
async fn where_a_hub_lost_its_disk_groups_read_each_record_of_both_lives_once_or_are_told()
-> Result<()> {
    let regions = lost_and_begun_anew().await?;

    // The other region gives back how far the group had read, and of what.
    let is_told =
        |group: &Value| group.pointer("/positions/0/elsewhere/0/origin_offset") == Some(&json!(25));
    let here = regions.eu.json_when(GROUP, is_told).await?;
    let new = read_as(&regions.eu, "billing", 100).await?;
    let has_heard = |group: &Value| {
        let lag = group.pointer("/positions/0/lag_records");
        lag == Some(&json!(15))
    };
    let there = regions.us.json_when(GROUP, has_heard).await?;
    let rest = read_as(&regions.us, "billing", 100).await?;
    let audited = read_as(&regions.us, "audit", 100).await?;
    let alerts = values(&regions.eu.records("alerts").await?)?;
    let told: Vec<&Value> =
        alerts.iter().filter(|alert| alert["rule"] == "unread_elsewhere").collect();

    assert_eq!(here["positions"][0]["committed"], 0, "nothing of the new life was read: {here}");
    assert_eq!(new, (40..50).collect::<Vec<_>>(), "the whole new life");
    assert_eq!(there["positions"][0]["committed"], 25, "{there}");
    assert_eq!(rest, (25..40).collect::<Vec<_>>(), "the rest of the former one where it is");
    assert_eq!(audited, (10..50).collect::<Vec<_>>(), "both, one behind the other");
    assert_eq!(told.len(), 1, "{alerts:?}");
    assert_eq!(told[0]["values"]["life"], here["positions"][0]["elsewhere"][0]["life"]);
    Ok(())
}

#[tokio::test]
async fn a_group_reads_no_copy_again_at_a_hub_that_lost_its_disk_however_early_it_asks()
-> Result<()> {
    let mut regions = Regions::start_with("[membership]\nreport_every = \"100ms\"").await?;
    regions.write(40).await?;
    regions.us.records_when(MIRROR, 40).await?;
    assert_eq!(read_as(&regions.us, "billing", 25).await?, (0..25).collect::<Vec<_>>());
    committed(&regions.eu, 25).await?;
    regions.us.kill().await?;
    std::fs::remove_dir_all(regions.fleet.path("us.data")).context("no data directory")?;

    regions.us.start().await?;
    let us = &regions.us;
    let reading = async {
        let mut read = Vec::new();
        while read.len() < 15 {
            read.extend(read_as(us, "billing", 40).await?);
        }
        Ok::<_, anyhow::Error>(read)
    };
    let read = tokio::time::timeout(WAIT_LIMIT, reading).await.context("it does not read on")??;
    let status = us.api.json("/v1/status").await?;

    assert_eq!(read, (25..40).collect::<Vec<_>>());
    assert_eq!(status.get("groups_wait_for"), None, "{status}");
    Ok(())
}

#[tokio::test]
async fn a_region_is_left_and_returned_to_in_one_command_each_and_no_record_is_read_again()
-> Result<()> {
    let mut regions = Regions::start().await?;
    regions.write(20).await?;
    regions.us.records_when(MIRROR, 20).await?;
    regions.change_link(json!({ "pause": ["telemetry"] })).await?;
    regions.write(10).await?;
    let all = read_on(&regions.eu).await?;
    committed(&regions.us, 30).await?;
    let behind = |link: &Value| link.get("behind_records").and_then(Value::as_u64);
    let lacks = |link: &Value| behind(link) >= Some(10);
    regions.us.json_when("/v1/links/eu", lacks).await?;
    let socket = regions.fleet.path("us.sock");
    let socket = socket.to_str().context("a path is text")?;

    let (left, view) = until_heard(&["failover", "eu", "--socket", socket]).await?;
    let refused = json!({ "change": "commit", "positions": [
        { "topic": SOURCE, "partition": 0, "offset": 30 },
    ] });
    let refused = regions.eu.api.post(&format!("{GROUP}/offsets"), &refused).await?;
    regions.agent.says("the hub refused a topic; kept here").await?;
    regions.change_link(json!({ "resume": ["telemetry"] })).await?;
    regions.us.records_when(MIRROR, 30).await?;
    let again = read_on(&regions.us).await?;
    let (_, returned) = until_heard(&["failback", "eu", "--socket", socket]).await?;
    regions.write(5).await?;
    let new = read_on(&regions.eu).await?;

    assert_eq!(all, (0..30).collect::<Vec<_>>());
    assert_eq!(view["to"], "us", "{view}");
    assert!(left["rpo_records"].as_u64() >= Some(10), "{left}");
    assert!(view["rto_ms"].is_u64(), "{view}");
    assert_eq!(view["groups"][0]["positions"][0]["ahead_records"], 10, "{view}");
    assert_eq!(refused.code, 409, "{}", refused.body);
    assert!(refused.body.contains("region eu was left for us"), "{}", refused.body);
    assert_eq!(again, [0; 0], "nothing is read again");
    assert_eq!(returned.get("to"), None, "{returned}");
    assert_eq!(new, (30..35).collect::<Vec<_>>(), "and nothing is passed over");
    Ok(())
}

#[tokio::test]
async fn links_and_groups_are_shown_and_changed_from_the_command_line() -> Result<()> {
    let mut regions = Regions::start().await?;
    regions.write(3).await?;
    regions.us.records_when(MIRROR, 3).await?;
    let socket = regions.fleet.path("eu.sock");
    let socket = socket.to_str().context("a path is text")?;
    let link = |action| vec!["link", action, "--socket", socket];
    let group = |action| vec!["group", action, "--socket", socket];
    let place = ["billing", "--topic", SOURCE, "--partition", "0", "--offset"];

    let paused = headland(&[link("pause"), vec!["us", "--lane", "telemetry"]].concat()).await?;
    let limited = headland(&[link("limit"), vec!["us", "--rate", "2MiB"]].concat()).await?;
    let listed = headland(&link("list")).await?;
    let unknown = headland(&[link("resume"), vec!["ap"]].concat()).await?;
    let resumed = headland(&[link("resume"), vec!["us"]].concat()).await?;
    let set = headland(&[group("commit"), place.to_vec(), vec!["2"]].concat()).await?;
    let back = headland(&[group("commit"), place.to_vec(), vec!["1"]].concat()).await?;
    let reset = headland(&[group("reset"), place.to_vec(), vec!["1"]].concat()).await?;
    let groups = headland(&group("list")).await?;
    let topic = [group("read"), vec!["billing", "--topic", SOURCE]].concat();
    let read = headland(&topic).await?;
    let metrics = regions.eu.api.get("/metrics").await?.body;
    let deleted = headland(&[group("delete"), vec!["billing"]].concat()).await?;
    let gone = headland(&[group("delete"), vec!["billing"]].concat()).await?;
    let metrics_after = regions.eu.api.get("/metrics").await?.body;

    assert_eq!((paused.0, limited.0, resumed.0, set.0), (Some(0), Some(0), Some(0), Some(0)));
    assert!(listed.1.contains(r#""paused":["telemetry"]"#), "{listed:?}");
    assert!(listed.1.contains(r#""bytes_per_second":2097152"#), "{listed:?}");
    assert!(listed.1.contains(r#""condition":"#), "{listed:?}");
    assert_eq!(unknown.0, Some(1));
    assert!(unknown.1.contains("it has links to us"), "{unknown:?}");
    assert_eq!(back.0, Some(1));
    assert!(back.1.contains("to read again, reset the group"), "{back:?}");
    assert_eq!(reset.0, Some(0));
    assert!(groups.1.contains(r#""lag_records":2"#), "{groups:?}");
    assert!(deleted.0 == Some(0) && deleted.1.contains(r#""positions":[]"#), "{deleted:?}");
    assert!(gone.0 == Some(1) && gone.1.contains("there is no group billing"), "{gone:?}");
    let series = "headland_group_lag_records{group=\"billing\"} 2";
    assert!(metrics.contains(series), "{metrics}");
    assert!(!metrics_after.contains("headland_group_lag_records{"), "{metrics_after}");
    assert!(read.1.contains(r#""offset":2"#) && !read.1.contains(r#""offset":0,"#), "{read:?}");
    Ok(())
}
