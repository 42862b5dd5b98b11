//! What cannot count, among what does: each record ends in one place, with a reason.
#![expect(clippy::indexing_slicing, reason = "a test's helpers are a test")]

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use headland_event::schema::SchemaId;
use headland_tests::fleet::{Fleet, Node};
use headland_tests::lines::event;
use serde_json::Value;

/// Good lines around and between the others.
const GOOD: u32 = 2_000;

/// What an agent reads: no rules, so that nothing but its lines is written.
const RULES: &str = "CREATE TABLE inventory_events (
  id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
  `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time` - INTERVAL '2' HOUR
) WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');
CREATE TABLE air_readings (station STRING, pm25 DOUBLE)
WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
";

/// A hub that knows the sku `A`, counted in `each`, and the schema `\"int\"` of its inventory; an
/// agent that names no schema, and one that names the schema it is given. None runs.
fn fleet(named: SchemaId) -> Result<(Fleet, Node, [Node; 2])> {
    let fleet = Fleet::new()?;
    let hub = fleet.hub("eu")?;
    fleet.write("skus.toml", "A = \"each\"\n")?;
    std::fs::create_dir_all(fleet.path("schemas/inventory.events"))?;
    fleet.write("schemas/inventory.events/v1.avsc", "\"int\"")?;
    hub.reconfigure("restock_below = 0", "restock_below = 0\nskus_file = \"skus.toml\"")?;
    hub.configure("[schemas]\ndirectory = \"schemas\"")?;
    let agents = ["eu-1", "eu-2"].map(|name| -> Result<Node> {
        hub.grant(name, &["inventory.events", "air.readings", "alerts"], &[&format!("{name}-")])?;
        fleet.agent(name, &hub)
    });
    let [unnamed, naming] = agents;
    let naming = naming?;
    let path = "path = \"eu-2.jsonl\"";
    naming.reconfigure(path, &format!("{path}\nschema = \"{named}\""))?;
    fleet.write("rules.sql", RULES)?;
    Ok((fleet, hub, [unnamed?, naming]))
}

/// One line of each kind that cannot count, with the side output it belongs in and words of the
/// reason.
fn bad_lines() -> Vec<(String, &'static str, &'static str)> {
    let sale = |number, quantity| {
        event("eu-1", 0, "sale", "A", quantity).replace("eu-1/0", &format!("eu-1/bad-{number}"))
    };
    let unknown = sale(9_001, 1).replace("\"sku\":\"A\"", "\"sku\":\"Z\"");
    let unit = sale(9_002, 1).replace("\"quantity\"", "\"unit\":\"case\",\"quantity\"");
    let early = sale(9_004, 1).replace("\"2010-", "\"1970-");
    let future = sale(9_005, 1).replace("\"2010-", "\"2099-");
    let large = sale(9_006, 1)
        .replace("{\"id\"", &format!("{{\"note\":\"{}\",\"id\"", "x".repeat(10 << 20)));
    let (rejected, dead) = ("inventory.rejected", "inventory.events.dead");
    vec![
        (unknown, rejected, "sku Z is not in the list of known skus of region eu"),
        (unit, rejected, "sku A counted in case is not in the list of known skus of region eu"),
        (sale(9_003, -1), rejected, "quantity is -1, expected 1 to 1000000000"),
        (early, rejected, "is outside 1971 to 2099"),
        (future, rejected, "future"),
        (large, dead, "the limit is 524288"),
    ]
}

/// The reasons that a side output gives, by how often.
fn reasons(topic: &str, records: &[Value]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for record in records {
        let reason = match topic {
            "inventory.rejected" => {
                let value = record["value"].as_str().unwrap_or_default();
                let value: Value = serde_json::from_str(value).unwrap_or_default();
                value["reason"].as_str().unwrap_or_default().to_owned()
            }
            _ => record["headers"]["hl-reason"].as_str().unwrap_or_default().to_owned(),
        };
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}

#[tokio::test]
async fn each_record_that_cannot_count_is_in_one_side_output_with_its_reason_and_no_other_is()
-> Result<()> {
    let unregistered = SchemaId::of_canonical("\"long\"");
    let (fleet, mut hub, [mut unnamed, mut naming]) = fleet(unregistered)?;
    let mut lines: Vec<String> =
        (0..GOOD).map(|second| event("eu-1", second, "sale", "A", 1)).collect();
    for (number, (line, _, _)) in bad_lines().into_iter().enumerate() {
        lines.insert(300 * (number + 1), line);
    }
    fleet.append("eu-1.jsonl", &lines)?;
    fleet.append("eu-2.jsonl", &[event("eu-2", 1, "sale", "A", 1)])?;

    hub.start().await?;
    unnamed.start().await?;
    naming.start().await?;
    hub.units_when("A", "eu-1", -i64::from(GOOD)).await?;
    let rejected = hub.records_when("inventory.rejected", 5).await?;
    let dead = hub.records_when("inventory.events.dead", 2).await?;

    let mut expected = bad_lines();
    let no_schema = format!(
        "schema {unregistered} is not registered for topic inventory.events; it has {}",
        SchemaId::of_canonical("\"int\"")
    );
    let last = (String::new(), "inventory.events.dead", no_schema.leak() as &'static str);
    expected.push(last);
    for (topic, records) in [("inventory.rejected", &rejected), ("inventory.events.dead", &dead)] {
        let given = reasons(topic, records);
        let wanted: Vec<&str> =
            expected.iter().filter(|(_, of, _)| *of == topic).map(|(_, _, why)| *why).collect();
        assert_eq!(given.len(), wanted.len(), "{given:?}");
        for why in wanted {
            let (_, times) = given.iter().find(|(reason, _)| reason.contains(why)).context(why)?;
            assert_eq!(*times, 1, "{why}");
        }
    }
    assert_eq!(hub.records("inventory.postings").await?.len(), usize::try_from(GOOD)?);
    for empty in ["inventory.late", "inventory.duplicates", "inventory.events.late"] {
        assert_eq!(hub.records(empty).await?, Vec::<Value>::new(), "{empty}");
    }
    assert_eq!(hub.units("A", "eu-2").await?, None);
    Ok(())
}
