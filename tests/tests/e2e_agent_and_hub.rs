//! One hub and one agent as real processes: what a line becomes, and that it becomes it once.

use anyhow::{Context, Result};
use headland_tests::fleet::{Fleet, Node, TOPICS, values};
use headland_tests::lines::{event, sales};
use serde_json::Value;

/// A hub and an agent that know each other; neither runs.
fn pair() -> Result<(Fleet, Node, Node)> {
    let fleet = Fleet::new()?;
    let hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-", "Dongsi"])?;
    let agent = fleet.agent("eu-1", &hub)?;
    Ok((fleet, hub, agent))
}

/// The payloads of records, as texts.
fn payloads(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["value"].as_str()).collect()
}

fn events() -> [String; 3] {
    [
        event("eu-1", 1, "restock", "85123A", 500),
        event("eu-1", 2, "sale", "85123A", 6),
        event("eu-1", 3, "sale", "85123A", 120),
    ]
}

/// Four lines with the header; the last one ends the window of the first two.
const AIR: [&str; 4] = [
    "station,time,pm25",
    "Dongsi,2013-03-01 00:00:00,150",
    "Dongsi,2013-03-01 01:00:00,130",
    "Dongsi,2013-03-01 04:00:00,10",
];

#[tokio::test]
async fn a_line_becomes_a_record_with_its_bytes_trace_dot_and_verdict() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    fleet.append("eu-1.jsonl", &events())?;
    fleet.append("eu-1.csv", &AIR)?;

    hub.start().await?;
    agent.start().await?;
    let records = hub.records_when("inventory.events", 3).await?;
    let air = hub.records_when("air.readings", 3).await?;

    assert_eq!(payloads(&records), events());
    assert_eq!(payloads(&air), AIR[1..]);
    let dots: Vec<_> = records.iter().chain(&air).map(|record| &record["dot"]).collect();
    let distinct: std::collections::BTreeSet<String> =
        dots.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), 6, "{dots:?}");
    for record in &records {
        assert_eq!(record["key"], "eu-1-till", "{record}");
        assert_eq!(record["verdict"], "on-time", "{record}");
        assert!(record["hlc"].is_string(), "{record}");
        let trace = record["headers"]["traceparent"].as_str().context("no traceparent")?;
        let lengths: Vec<usize> = trace.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{trace}");
    }
    assert_eq!(records[0]["time"], 1_291_190_401_000_i64);
    Ok(())
}

#[tokio::test]
async fn a_rule_with_a_window_and_one_without_raise_their_alerts_once() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    fleet.append("eu-1.jsonl", &events())?;
    fleet.append("eu-1.csv", &AIR)?;

    hub.start().await?;
    agent.start().await?;
    let mut alerts = values(&hub.records_when("alerts", 2).await?)?;

    alerts.sort_by_key(|alert| alert["rule"].to_string());
    let told: Vec<[&Value; 4]> = alerts
        .iter()
        .map(|alert| ["rule", "key", "window", "severity"].map(|field| &alert[field]))
        .collect();
    let expected = [
        ["bulk_sale", "85123A", "eu-1/3", "info"],
        ["pm25_high", "Dongsi", "1362106800000", "warning"],
    ];
    assert_eq!(told, expected);
    assert_eq!(alerts[1]["values"]["pm25"], "140.0");
    hub.units_when("85123A", "eu-1", 374).await
}

#[tokio::test]
async fn status_and_metrics_say_what_was_read_sent_and_kept() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    fleet.append("eu-1.jsonl", &events())?;
    fleet.append("eu-1.csv", &AIR)?;
    hub.start().await?;
    agent.start().await?;
    hub.records_when("alerts", 2).await?;
    hub.records_when("air.readings", 3).await?;

    let of_agent = agent.status_when(|status| status["unacknowledged_records"] == 0).await?;
    let of_hub = hub.status_when(|status| status["watermarks"]["air.readings"].is_i64()).await?;
    let metrics = [hub.api.get("/metrics").await?, agent.api.get("/metrics").await?];

    assert_eq!(of_agent["name"], "eu-1");
    assert_eq!((&of_agent["connected"], &of_agent["in_flight_records"]), (&true.into(), &0.into()));
    let read: Vec<&Value> =
        of_agent["sources"].as_array().context("no sources")?.iter().map(|s| &s["lines"]).collect();
    assert_eq!(read, [3, 4]);
    assert_eq!(of_agent["watermarks"]["air.readings"], 1_362_106_800_000_i64);
    assert_eq!((&of_hub["region"], &of_hub["ready"]), (&"eu".into(), &true.into()));
    assert_eq!(of_hub["agents"], serde_json::json!([{"name": "eu-1", "connected": true}]));
    assert_eq!(of_hub["watermarks"]["air.readings"], 1_362_106_800_000_i64);
    let [of_hub, of_agent] = metrics;
    for line in [
        "# TYPE headland_topic_records gauge",
        "headland_topic_records{topic=\"inventory.events\"} 3",
        "headland_agent_connected{agent=\"eu-1\"} 1",
        "headland_watermark_milliseconds{topic=\"air.readings\"} 1362106800000",
    ] {
        assert!(of_hub.body.lines().any(|found| found == line), "no {line} in {}", of_hub.body);
    }
    for line in [
        "# TYPE headland_agent_unacknowledged_records gauge",
        "headland_agent_unacknowledged_records{} 0",
        "# TYPE headland_rule_rows counter",
        "headland_agent_connected{} 1",
    ] {
        assert!(of_agent.body.lines().any(|found| found == line), "no {line} in {}", of_agent.body);
    }
    for answer in [of_hub, of_agent] {
        assert_eq!(answer.body.lines().last(), Some("# EOF"));
    }
    Ok(())
}

#[tokio::test]
async fn a_hub_that_is_killed_has_every_line_once_after_it_is_back() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    let lines = sales("eu-1", "85123A", 0..900);
    hub.start().await?;
    agent.start().await?;
    fleet.append("eu-1.jsonl", &lines[..300])?;
    hub.records_when("inventory.events", 1).await?;

    hub.kill().await?;
    fleet.append("eu-1.jsonl", &lines[300..600])?;
    agent.status_when(|status| status["sources"][0]["lines"] == 600).await?;
    let is_cut = |status: &Value| {
        let unacknowledged = status["unacknowledged_records"].as_u64();
        status["connected"] == false && unacknowledged >= Some(300)
    };
    agent.status_when(is_cut).await?;
    hub.start().await?;
    fleet.append("eu-1.jsonl", &lines[600..])?;
    let records = hub.records_when("inventory.events", 900).await?;

    assert_eq!(payloads(&records), lines);
    agent.status_when(|status| status["unacknowledged_records"] == 0).await?;
    hub.units_when("85123A", "eu-1", -900).await
}

#[tokio::test]
async fn an_agent_that_is_killed_sends_every_line_once() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    let lines = sales("eu-1", "85123A", 0..3_000);
    hub.start().await?;
    agent.start().await?;

    for part in lines.chunks(1_000) {
        fleet.append("eu-1.jsonl", part)?;
        let known = hub.records("inventory.events").await?.len();
        // Killed while it reads and sends what was just appended.
        hub.records_when("inventory.events", known + 1).await?;
        agent.kill().await?;
        agent.start().await?;
    }
    let records = hub.records_when("inventory.events", 3_000).await?;

    assert_eq!(payloads(&records), lines);
    hub.units_when("85123A", "eu-1", -3_000).await
}

#[tokio::test]
async fn nodes_that_are_asked_to_stop_end_well_and_go_on_where_they_were() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    fleet.append("eu-1.jsonl", &events())?;
    hub.start().await?;
    agent.start().await?;
    hub.records_when("inventory.events", 3).await?;

    agent.stop().await?;
    hub.stop().await?;
    hub.start().await?;
    agent.start().await?;
    let last = event("eu-1", 4, "return", "85123A", 1);
    fleet.append("eu-1.jsonl", &[&last])?;
    let records = hub.records_when("inventory.events", 4).await?;

    assert_eq!(payloads(&records[..3]), events());
    assert_eq!(payloads(&records[3..]), [last]);
    hub.units_when("85123A", "eu-1", 375).await
}
