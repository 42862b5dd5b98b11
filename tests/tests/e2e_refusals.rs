//! What peers must not do, and records that cannot count: refused in clear words, nothing lost.

use anyhow::{Context, Result};
use bytes::Bytes;
use headland_event::{
    AgentName, ByteCount, ChannelId, Incarnation, Lane, Offset, PartitionIndex, RegionId,
    TopicName, TopicPartition,
};
use headland_platform::tls::Authority;
use headland_replication::frame::{Announce, Frame, Hello, Identity, Offer, RefusalCode};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::forger::Forger;
use headland_tests::lines::{event, sales};
use serde_json::Value;

fn pair() -> Result<(Fleet, Node, Node)> {
    let fleet = Fleet::new()?;
    let hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-", "Dongsi"])?;
    let agent = fleet.agent("eu-1", &hub)?;
    Ok((fleet, hub, agent))
}

fn payloads(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["value"].as_str()).collect()
}

fn reasons(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record.pointer("/headers/hl-reason")?.as_str()).collect()
}

/// The hello of an agent.
fn hello(region: &str, name: &str) -> Result<Frame> {
    let identity = Identity::Agent { region: RegionId::new(region)?, name: AgentName::new(name)? };
    let incarnation = Incarnation::new(1, 1);
    Ok(Frame::Hello(Hello { identity, incarnation, window: ByteCount::mebibytes(1) }))
}

#[tokio::test]
async fn an_agent_of_another_authority_keeps_its_records_until_it_has_the_right_one() -> Result<()>
{
    let (fleet, mut hub, mut agent) = pair()?;
    fleet.issue_by(&Authority::new("shop")?, "eu-1", "eu/agent/eu-1")?;
    let lines = sales("eu-1", "A", 0..20);
    fleet.append("eu-1.jsonl", &lines)?;
    hub.start().await?;
    agent.start().await?;

    let at_agent = agent.says("no link to the hub").await?;
    let at_hub = hub.says("a connection was not accepted").await?;
    let kept = agent.status_when(|status| status["unacknowledged_records"] == 20).await?;
    agent.stop().await?;
    fleet.issue("eu-1", "eu/agent/eu-1")?;
    agent.start().await?;
    let records = hub.records_when("inventory.events", 20).await?;

    assert!(at_agent.contains(&hub.address.to_string()), "{at_agent}");
    assert!(at_agent.contains("certificate"), "{at_agent}");
    assert!(at_hub.contains("certificate"), "{at_hub}");
    assert_eq!(kept["connected"], false);
    assert_eq!(payloads(&records), lines);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_the_hub_does_not_know_is_told_what_to_add() -> Result<()> {
    let (fleet, mut hub, _agent) = pair()?;
    let mut stranger = fleet.agent("eu-9", &hub)?;
    let lines = sales("eu-9", "A", 0..5);
    fleet.append("eu-9.jsonl", &lines)?;
    hub.start().await?;
    stranger.start().await?;

    let told = stranger.says("not authorised").await?;
    hub.kill().await?;
    hub.grant("eu-9", &TOPICS, &["eu-9-"])?;
    hub.start().await?;
    let records = hub.records_when("inventory.events", 5).await?;

    assert!(told.contains("add [[agent]] name = \"eu-9\""), "{told}");
    assert_eq!(payloads(&records), lines);
    Ok(())
}

#[tokio::test]
async fn a_topic_outside_the_grant_is_kept_and_delivered_once_the_hub_allows_it() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &["air.readings", "alerts"], &["eu-1-", "Dongsi"])?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    let lines = sales("eu-1", "A", 0..20);
    fleet.append("eu-1.jsonl", &lines)?;
    fleet.append("eu-1.csv", &["station,time,pm25", "Dongsi,2013-03-01 00:00:00,150"])?;
    hub.start().await?;
    agent.start().await?;

    let told = agent.says("partition=\"inventory.events/0\"").await?;
    let allowed = hub.records_when("air.readings", 1).await?;
    let kept = agent.status_when(|status| status["unacknowledged_records"] == 20).await?;
    hub.kill().await?;
    hub.reconfigure("topics = [\"air", "topics = [\"inventory.events\", \"air")?;
    hub.start().await?;
    let records = hub.records_when("inventory.events", 20).await?;

    let add = "agent eu-1 may not publish inventory.events; \
               add inventory.events to topics of [[agent]] name = \"eu-1\"";
    assert!(told.contains(add), "{told}");
    assert_eq!(allowed.len(), 1);
    assert_eq!(kept["connected"], true);
    assert_eq!(payloads(&records), lines);
    Ok(())
}

#[tokio::test]
async fn records_of_a_device_outside_the_grant_do_not_count_and_are_kept_as_dead_letters()
-> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    let foreign = event("us-1", 2, "restock", "A", 1_000);
    let lines =
        [event("eu-1", 1, "restock", "A", 10), foreign.clone(), event("eu-1", 3, "sale", "A", 3)];
    fleet.append("eu-1.jsonl", &lines)?;
    hub.start().await?;
    agent.start().await?;

    let dead = hub.records_when("inventory.events.dead", 1).await?;
    let records = hub.records_when("inventory.events", 3).await?;
    hub.units_when("A", "eu-1", 7).await?;

    assert_eq!(payloads(&dead), [foreign]);
    assert_eq!(reasons(&dead), ["device us-1-till is not one that agent eu-1 may publish for"]);
    let verdicts: Vec<&Value> = records.iter().map(|record| &record["verdict"]).collect();
    assert_eq!(verdicts, ["on-time", "forbidden", "on-time"]);
    assert_eq!(hub.units("A", "us-1").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_line_that_does_not_decode_is_a_dead_letter_with_its_place_and_the_others_arrive()
-> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    let good = sales("eu-1", "A", 0..3);
    let broken = "{\"id\":\"eu-1/9\",\"kind\":";
    fleet.append("eu-1.jsonl", &[&good[..1], &[broken.to_owned()], &good[1..]].concat())?;
    let air = [
        "station,time,pm25",
        "Dongsi,2013-03-01 00:00:00,150",
        "Dongsi,2013-03-01 01:00:00,much",
        "Dongsi,2013-03-01 02:00:00",
        "Dongsi,2013-03-01 03:00:00,20",
    ];
    fleet.append("eu-1.csv", &air)?;
    hub.start().await?;
    agent.start().await?;

    let dead = hub.records_when("inventory.events.dead", 1).await?;
    let dead_air = hub.records_when("air.readings.dead", 2).await?;
    let records = hub.records_when("inventory.events", 3).await?;
    let readings = hub.records_when("air.readings", 2).await?;

    assert_eq!(payloads(&records), good);
    assert_eq!(payloads(&readings), [air[1], air[4]]);
    assert_eq!(payloads(&dead), [broken]);
    assert_eq!(payloads(&dead_air), [air[2], air[3]]);
    let [events, stations] = ["eu-1.jsonl", "eu-1.csv"].map(|name| fleet.path(name));
    let (events, stations) = (events.display(), stations.display());
    let told = reasons(&dead);
    let reason = told.first().context("no reason")?;
    assert!(reason.starts_with(&format!("{events}:2: byte 22: found ")), "{reason}");
    assert_eq!(
        reasons(&dead_air),
        [
            format!("{stations}:3: column \"pm25\", byte 28: found \"much\", expected DOUBLE"),
            format!("{stations}:4: found 2 fields, expected 3"),
        ]
    );
    hub.units_when("A", "eu-1", -3).await
}

#[tokio::test]
async fn a_hello_that_contradicts_the_certificate_is_refused_and_the_hub_lives_on() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    hub.start().await?;

    for (region, name) in [("us", "eu-1"), ("eu", "eu-2")] {
        let mut forger = Forger::connect(&fleet, "eu-1", &hub, "eu").await?;
        forger.send(&hello(region, name)?)?;
        let refusal = forger.refusal().await?;

        assert_eq!(refusal.code(), RefusalCode::IdentityMismatch);
        assert_eq!(
            refusal.to_string(),
            format!(
                "identity mismatch: the certificate is region/eu/agent/eu-1's, the hello \
                 region/{region}/agent/{name}'s"
            )
        );
        forger.closed().await?;
    }
    agent.start().await?;
    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "sale", "A", 1)])?;
    hub.records_when("inventory.events", 1).await.map(drop)
}

#[tokio::test]
async fn an_offer_of_another_regions_topic_is_refused_and_nothing_of_it_is_stored() -> Result<()> {
    let (fleet, mut hub, _agent) = pair()?;
    hub.start().await?;
    let mut forger = Forger::connect(&fleet, "eu-1", &hub, "eu").await?;
    let topic = TopicName::new("inventory.events")?;

    forger.send(&hello("eu", "eu-1")?)?;
    forger.send(&Frame::Announce(Announce {
        channel: ChannelId::new(0),
        offer: Offer {
            source: TopicPartition::new(topic.clone(), PartitionIndex::new(0)),
            origin: RegionId::new("us")?,
            origin_topic: topic,
            path: vec![RegionId::new("us")?],
            lane: Lane::State,
            start: Offset::new(0),
            head: Offset::new(1),
        },
    }))?;
    let refusal = forger.refusal().await?;

    assert_eq!(refusal.code(), RefusalCode::NotAuthorised);
    assert_eq!(
        refusal.to_string(),
        "not authorised: region/eu/agent/eu-1 offers inventory.events/0 of region us"
    );
    assert_eq!(hub.records("us.inventory.events").await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_frame_that_is_none_is_refused_with_the_reason_and_the_hub_lives_on() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    hub.start().await?;
    let broken = [
        (Bytes::from_static(&[9, 1]), "frame version 9, this build reads 1"),
        (Bytes::from_static(&[1, 99]), "frame kind"),
        (Bytes::from_static(&[1, 1, 0, 2, b'e']), "region"),
    ];

    for (bytes, why) in broken {
        let mut forger = Forger::connect(&fleet, "eu-1", &hub, "eu").await?;
        forger.send_bytes(bytes)?;
        let refusal = forger.refusal().await?.to_string();

        assert!(refusal.contains(why), "{refusal}");
        forger.closed().await?;
    }
    agent.start().await?;
    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "sale", "A", 1)])?;
    hub.records_when("inventory.events", 1).await.map(drop)
}
