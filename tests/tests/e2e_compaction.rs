//! A topic of which only the newest record of each key is kept, at a real hub: its log shrinks, and
//! every reader, mirror and restart ends with the same table.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use serde_json::Value;

const AIR: &str = "air.readings";
const STATIONS: u32 = 3;
const READINGS: u32 = 4_000;

/// Times to ask whether the log was cleaned, half a second apart: three rounds of cleaning.
const ASKED_MAX: u32 = 60;

/// Readings of three stations in turn, a second apart.
fn readings(numbers: std::ops::Range<u32>) -> Vec<String> {
    let line = |n: u32| {
        let (hours, minutes, seconds) = (8 + n / 3_600, n / 60 % 60, n % 60);
        let time = format!("2010-12-01T{hours:02}:{minutes:02}:{seconds:02}Z");
        format!("st-{},{time},{n}", n % STATIONS)
    };
    numbers.map(line).collect()
}

/// The newest value of each key, without what stands for records that are gone.
fn table(records: &[Value]) -> BTreeMap<String, String> {
    let rows = records.iter().filter_map(|record| {
        let (key, value) = (record["key"].as_str()?, record["value"].as_str()?);
        Some((key.to_owned(), value.to_owned()))
    });
    rows.collect()
}

/// What has to be equal of a record and its copy.
fn places(records: &[Value]) -> Vec<String> {
    let place =
        |of: &Value| format!("{} {} {} {}", of["offset"], of["dot"], of["key"], of["value"]);
    records.iter().map(place).collect()
}

/// Waits until a hub has far fewer records of its readings than were written up to `end`, and is
/// not about to have fewer still: files are copied a few at a time.
async fn compacted(hub: &Node, end: u32) -> Result<Vec<Value>> {
    let mut before = 0;
    for _ in 0..ASKED_MAX {
        let left = hub.records(AIR).await?;
        if left.len() < 1_000 && left.len() == before {
            return Ok(left);
        }
        before = left.len();
        // Nothing comes behind the end, so this waits.
        hub.api.json(&format!("/v1/topics/{AIR}/0/records?from={end}&wait_ms=500")).await?;
    }
    anyhow::bail!("{before} records are left")
}

#[tokio::test]
async fn a_compacted_log_shrinks_and_readers_and_mirrors_have_the_same_table() -> Result<()> {
    let fleet = Fleet::new()?;
    let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
    eu.reconfigure("file_bytes = \"4MiB\"", "file_bytes = \"64KiB\"\nsnapshot_after = \"100ms\"")?;
    eu.reconfigure(
        "name = \"air.readings\"\n",
        "name = \"air.readings\"\ncleanup = \"compact\"\ncodec = \"lz4\"\n",
    )?;
    eu.grant("eu-1", &TOPICS, &["eu-1-", "st-"])?;
    eu.expect(&us)?;
    us.dial(&eu)?;
    let mut agent = fleet.agent("eu-1", &eu)?;
    agent.reconfigure("path = \"eu-1.csv\"", "path = \"eu-1.csv\"\ncodec = \"lz4\"")?;
    for node in [&mut eu, &mut us, &mut agent] {
        node.start().await?;
    }

    fleet.append("eu-1.csv", &["station,time,pm25"])?;
    for from in (0..READINGS).step_by(50) {
        fleet.append("eu-1.csv", &readings(from..from + 50))?;
        // One after the other, so that they are many batches.
        let path = format!("/v1/topics/{AIR}/0/records?max=1&wait_ms=2000&from={}", from + 49);
        eu.api.json(&path).await?;
    }
    let early = us.records_when("eu.air.readings", usize::try_from(READINGS)?).await?;
    // An operator's stop marks the state, before which the log may be cleaned.
    eu.stop().await?;
    eu.start().await?;
    fleet.append("eu-1.csv", &readings(READINGS..READINGS + 3))?;
    us.records_when("eu.air.readings", early.len() + 3).await?;
    let left = compacted(&eu, READINGS + 3).await?;

    // A mirror that begins now gets what is left, named holes included.
    us.stop().await?;
    std::fs::remove_dir_all(fleet.path("us.data"))?;
    us.start().await?;
    let late = us.records_when("eu.air.readings", left.len()).await?;
    let before = eu.status().await?;
    eu.kill().await?;
    eu.start().await?;
    let (again, after) = (eu.records(AIR).await?, eu.status().await?);

    let newest = readings(READINGS..READINGS + 3).into_iter();
    let newest = newest.map(|line| (line.split(',').next().unwrap_or_default().to_owned(), line));
    assert_eq!(table(&left), newest.collect());
    assert_eq!(places(&late), places(&left), "a mirror is an exact copy");
    assert_eq!(places(&again), places(&left));
    assert_eq!(before["fingerprint"], after["fingerprint"]);
    let hole = left.iter().find(|record| record["key"].is_null()).context("no hole")?;
    let named = hole["headers"]["hl-dropped"].as_str().context("a hole has a name")?;
    ensure!(named.starts_with("compacted "), "{named}");
    Ok(())
}
