//! Rule files as their authors ask about them, and what tables are expected to hold, at real nodes.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use headland_tests::binaries;
use headland_tests::fleet::{Fleet, TOPICS, values};
use headland_tests::lines::event;

const RULES: &str = "CREATE TABLE air (station STRING, pm25 DOUBLE) WITH ('topic' = 'air');
CREATE TABLE high WITH ('topic' = 'alerts') AS SELECT station FROM air WHERE pm25 > 120;
";

/// Asks a binary about files of a folder.
fn asked(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary);
    Ok(command.current_dir(folder).arg("rules").args(arguments).output()?)
}

#[test]
fn files_are_explained_on_standard_output_and_mistakes_end_with_their_codes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, sql: &str| std::fs::write(folder.path().join(name), sql).unwrap();
    write("good.sql", RULES);
    write("bad.sql", &RULES.replace("pm25 >", "pm2 >"));
    let built = binaries::built()?;

    for binary in [&built.hub, &built.agent] {
        let explained = asked(binary, folder.path(), &["explain", "good.sql"])?;
        let mistaken = asked(binary, folder.path(), &["check", "good.sql", "bad.sql"])?;
        let unread = asked(binary, folder.path(), &["check", "gone.sql"])?;
        let endless = asked(binary, folder.path(), &["check", "/dev/zero"])?;

        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(explained.status.code(), Some(0));
        let told = text(&explained.stdout);
        assert!(
            told.starts_with("good.sql: 1 rule over 1 table\n\ntable air, topic air, json"),
            "{told}"
        );
        let monotone = "\nmonotone\n  yes: each row gives its results for good\n";
        assert!(told.contains(monotone), "{told}");
        assert_eq!(text(&explained.stderr), "");
        assert_eq!(mistaken.status.code(), Some(1));
        assert_eq!(text(&mistaken.stdout), "good.sql: 1 rule over 1 table\n");
        let first =
            "bad.sql:2:78: unknown column \"pm2\" in table air, did you mean \"pm25\"?\n  2 | ";
        assert!(text(&mistaken.stderr).starts_with(first), "{}", text(&mistaken.stderr));
        assert_eq!(unread.status.code(), Some(2));
        assert!(text(&unread.stderr).starts_with("gone.sql: cannot be read: "));
        assert_eq!(endless.status.code(), Some(1));
    }
    Ok(())
}

/// The columns of inventory that are read here, with what is expected of them.
fn expecting(topic: &str, results: &str) -> String {
    format!(
        "CREATE TABLE inventory_events (
  id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
  `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time`
) WITH ('topic' = '{topic}', 'format' = 'json', 'key' = 'device',
  'expect.range.quantity' = '1..10', 'expect.window' = '10 s', 'expect.topic' = '{results}');
"
    )
}

#[tokio::test]
async fn what_is_expected_of_a_table_is_told_by_an_agent_of_its_rows_and_by_a_hub_of_all()
-> Result<()> {
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-"])?;
    fleet.write("global.sql", &expecting("inventory.events@*", "quality"))?;
    hub.configure("[rules]\nfile = \"global.sql\"\nregions = [\"eu\"]")?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    let air = "CREATE TABLE air_readings (station STRING, pm25 DOUBLE)
WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');";
    fleet.write("rules.sql", &format!("{}{air}", expecting("inventory.events", "alerts")))?;
    let lines = [(1, 5), (2, 11), (12, 10), (40, 1)];
    let lines = lines.map(|(second, units)| event("eu-1", second, "restock", "A", units));
    fleet.append("eu-1.jsonl", &lines)?;

    hub.start().await?;
    agent.start().await?;
    let by_agent = values(&hub.records_when("alerts", 1).await?)?;
    let by_hub = values(&hub.records_when("quality", 1).await?)?;

    for told in [&by_agent, &by_hub] {
        assert_eq!(told.len(), 1, "{told:?}");
        for one in told {
            assert_eq!(one["rule"], "inventory_events.expect.range.quantity");
            assert_eq!(one["values"]["row_count"], "2");
            assert_eq!(one["values"]["outside"], "1");
            assert_eq!(one["values"]["greatest"], "11");
        }
    }
    for one in &by_hub {
        assert_eq!(one["finality"], "final");
    }
    Ok(())
}

/// What devices are and how much of theirs is too much, in a file and in a topic.
const LOOKING: &str = "
CREATE TABLE inventory_events (
  id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
  `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time`
) WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');
CREATE TABLE names (sku STRING, name STRING, PRIMARY KEY (sku) NOT ENFORCED)
  WITH ('connector' = 'filesystem', 'path' = 'names.csv', 'format' = 'csv');
CREATE TABLE air_readings (station STRING, most BIGINT, PRIMARY KEY (station) NOT ENFORCED)
  WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
CREATE TABLE named (id STRING, name STRING, n BIGINT)
  WITH ('topic' = 'alerts', 'alert.key' = 'id', 'alert.window' = 'name');
INSERT INTO named SELECT e.id, d.name, e.quantity FROM inventory_events AS e
  JOIN names FOR SYSTEM_TIME AS OF e.`time` AS d ON d.sku = e.sku;
CREATE TABLE excess (id STRING, most BIGINT)
  WITH ('topic' = 'alerts', 'alert.key' = 'id', 'alert.window' = 'most');
INSERT INTO excess SELECT e.id, l.most FROM inventory_events AS e
  JOIN air_readings FOR SYSTEM_TIME AS OF e.`time` AS l
    ON l.station = e.location AND l.most < quantity;
";

/// What alerts say: rule, window and revision, sorted.
fn found(alerts: &[serde_json::Value]) -> Vec<String> {
    let mut found: Vec<String> = alerts
        .iter()
        .map(|alert| format!("{} {} {}", alert["rule"], alert["window"], alert["revision"]))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn rows_find_what_a_file_and_a_topic_hold_when_they_come_also_over_kills_and_edits()
-> Result<()> {
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-", "eu-1"])?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    fleet.write("rules.sql", LOOKING)?;
    fleet.write("names.csv", "sku,name\nA,bolt\n")?;
    fleet.append("eu-1.csv", &["station,most", "eu-1,10"])?;
    hub.start().await?;
    agent.start().await?;
    hub.records_when("air.readings", 1).await?;

    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "restock", "A", 11)])?;
    let first = values(&hub.records_when("alerts", 2).await?)?;
    agent.kill().await?;
    fleet.write("names.csv", "sku,name\nA,screw\nB,nut\n")?;
    agent.start().await?;
    let second = [(2, "A", 9), (3, "B", 12)];
    fleet.append("eu-1.jsonl", &second.map(|(at, sku, n)| event("eu-1", at, "restock", sku, n)))?;
    hub.records_when("alerts", 5).await?;
    // A file that does not fit leaves what was in force.
    agent.kill().await?;
    fleet.write("names.csv", "sku,name\nA\n")?;
    agent.start().await?;
    agent.says("names.csv:2:1: found 1 fields, expected 2").await?;
    fleet.append("eu-1.jsonl", &[event("eu-1", 4, "restock", "A", 1)])?;
    let all = values(&hub.records_when("alerts", 6).await?)?;

    assert_eq!(found(&first), [r#""excess" "10" 1"#, r#""named" "bolt" 1"#]);
    let expected = [
        r#""excess" "10" 1"#,
        r#""excess" "10" 1"#,
        r#""named" "bolt" 1"#,
        r#""named" "nut" 1"#,
        r#""named" "screw" 1"#,
        r#""named" "screw" 1"#,
    ];
    assert_eq!(found(&all), expected);
    Ok(())
}
