//! Bits that flipped on the disk of a node: it serves all else, names the rest, and gets back what
//! others have.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headland_tests::binaries;
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::{READING_COLUMNS, event, readings};
use headland_tests::process::Process;
use serde_json::{Value, json};

fn pair() -> Result<(Fleet, Node, Node)> {
    let fleet = Fleet::new()?;
    let hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-", "Dongsi"])?;
    let agent = fleet.agent("eu-1", &hub)?;
    Ok((fleet, hub, agent))
}

/// Flips a bit where a journal first holds `text`.
fn damage(data: &Path, text: &str) -> Result<()> {
    let (file, at, byte) = found(data, text)?;
    // Its node may run: nothing else of the file is written.
    let file = std::fs::OpenOptions::new().write(true).open(&file)?;
    Ok(file.write_all_at(&[byte ^ 1], u64::try_from(at)?)?)
}

/// The first file of a journal that holds `text`, where, and the byte there.
fn found(data: &Path, text: &str) -> Result<(PathBuf, usize, u8)> {
    let mut files: Vec<_> = std::fs::read_dir(data)?.collect::<std::io::Result<_>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    let journals = files.into_iter().map(|file| file.path());
    for file in journals.filter(|file| file.extension().is_some_and(|of| of == "journal")) {
        let content = std::fs::read(&file)?;
        let at = content.windows(text.len()).position(|found| found == text.as_bytes());
        if let Some((at, byte)) = at.and_then(|at| Some((at, *content.get(at)?))) {
            return Ok((file, at, byte));
        }
    }
    anyhow::bail!("{text} is in no journal of {}", data.display())
}

/// A restock of five units of a sku of its own.
fn restock(n: u32) -> String {
    event("eu-1", n, "restock", &format!("SKU-{n}"), 5)
}

#[tokio::test]
async fn what_damage_took_of_a_hub_is_named_and_sent_again_by_its_agent() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    hub.start().await?;
    agent.start().await?;
    for n in 1..=4 {
        fleet.append("eu-1.jsonl", &[restock(n)])?;
        hub.units_when(&format!("SKU-{n}"), "eu-1", 5).await?;
    }
    agent.status_when(|status| status["unacknowledged_records"] == 0).await?;
    agent.stop().await?;
    hub.stop().await?;
    damage(&fleet.path("eu.data"), "eu-1/2\",\"kind")?;

    hub.start().await?;
    let told = hub.says("records are damaged").await?;

    assert!(told.contains("partition=inventory.events/0 from=1 until=2"), "{told}");
    let status = hub.status().await?;
    let missing = json!([{"partition": "inventory.events/0", "from": 1, "until": 2}]);
    assert_eq!(status["missing"], missing);
    let metrics = hub.api.get("/metrics").await?.body;
    assert!(metrics.contains("headland_log_lost_records{topic=\"inventory.events\"} 1"));
    let alerts = hub.records_when("alerts", 2).await?;
    let alerts: Vec<&str> = alerts.iter().filter_map(|alert| alert["key"].as_str()).collect();
    assert!(alerts.iter().any(|key| key.ends_with("|inventory.events/0")), "{alerts:?}");
    let kept = hub.api.json("/v1/topics/inventory.events/0/records?from=0").await?;
    assert_eq!(kept["records"].as_array().context("no records")?.len(), 3);
    assert_eq!((&kept["damaged"], &kept["next"]), (&json!([{"from": 1, "until": 2}]), &json!(4)));
    let read = hub.api.json("/v1/groups/new/records?topic=inventory.events").await?;
    let passed = json!([{"topic": "inventory.events", "partition": 0, "from": 1, "until": 2}]);
    assert_eq!((&read["damaged"], &read["positions"][0]["offset"]), (&passed, &json!(4)));
    for (sku, units) in [("SKU-1", Some(5)), ("SKU-2", None), ("SKU-3", Some(5))] {
        assert_eq!(hub.units(sku, "eu-1").await?, units, "{sku}");
    }

    agent.start().await?;
    fleet.append("eu-1.jsonl", &[restock(5)])?;
    for n in 1..=5 {
        hub.units_when(&format!("SKU-{n}"), "eu-1", 5).await?;
    }
    let written = hub.records("inventory.events").await?;
    for n in 1..=5 {
        let id = format!("\"eu-1/{n}\"");
        let of = written.iter().filter_map(|record| record["value"].as_str());
        assert_eq!(of.filter(|value| value.contains(&id)).count(), 1, "{id} of {written:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_whose_outbox_is_damaged_sends_the_rest_and_its_hub_learns_what_is_gone()
-> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    agent.start().await?;
    for n in 1..=4 {
        fleet.append("eu-1.jsonl", &[restock(n)])?;
        agent.status_when(|status| status["sources"][0]["lines"] == n).await?;
    }
    agent.stop().await?;
    damage(&fleet.path("eu-1.data"), "eu-1/2\",\"kind")?;

    agent.start().await?;
    hub.start().await?;
    for n in [1, 3, 4] {
        hub.units_when(&format!("SKU-{n}"), "eu-1", 5).await?;
    }

    let told = agent.says("records are damaged").await?;
    assert!(told.contains("partition=inventory.events/0 from=1 until=2"), "{told}");
    let of_agent = agent.api.get("/metrics").await?.body;
    assert!(of_agent.contains("headland_log_lost_records{topic=\"inventory.events\"} 1"));
    let of_hub = hub.api.get("/metrics").await?.body;
    let line =
        "headland_topic_dropped_records_total{topic=\"inventory.events\",policy=\"damaged\"} 1";
    assert!(of_hub.contains(line), "{of_hub}");
    assert_eq!(hub.units("SKU-2", "eu-1").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_node_that_lost_state_says_which_command_decides_and_goes_on_after_it() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    hub.start().await?;
    agent.start().await?;
    fleet.append("eu-1.jsonl", &[restock(1)])?;
    hub.units_when("SKU-1", "eu-1", 5).await?;
    agent.status_when(|status| status["unacknowledged_records"] == 0).await?;
    agent.stop().await?;
    hub.stop().await?;
    for (data, owner) in [("eu.data", "positions"), ("eu-1.data", "sources")] {
        damage(&fleet.path(data), owner)?;
        // The cache beside the journal holds it still; one that is made anew does not.
        std::fs::remove_dir_all(fleet.path(data).join("state"))?;
    }

    let refused = [hub.launch()?.ended().await?, agent.launch()?.ended().await?];
    let headland = &binaries::built()?.hub;
    for data in ["eu.data", "eu-1.data"] {
        let data = fleet.path(data);
        let data = data.to_str().context("a path that is not UTF-8")?;
        let accepted = Process::start(headland, &["store", "accept-loss", data])?.ended().await?;
        assert!(accepted.status.success(), "{accepted:?}");
    }
    hub.start().await?;
    agent.start().await?;
    fleet.append("eu-1.jsonl", &[restock(2)])?;
    hub.units_when("SKU-2", "eu-1", 5).await?;

    for (ended, data) in refused.iter().zip(["eu.data", "eu-1.data"]) {
        let command = format!("headland store accept-loss {}", fleet.path(data).display());
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.lines.iter().any(|line| line.contains(&command)), "{:?}", ended.lines);
    }
    hub.units_when("SKU-1", "eu-1", 5).await
}

#[tokio::test]
async fn what_only_a_consumer_finds_damaged_is_named_and_comes_back_from_another_region()
-> Result<()> {
    let (fleet, mut eu, mut agent) = pair()?;
    let mut us = fleet.hub("us")?;
    eu.reconfigure(
        "file_bytes = \"4MiB\"",
        "file_bytes = \"64KiB\"\nsnapshot_after = \"100ms\"\nscrub_bytes_per_second = \"0B\"",
    )?;
    eu.expect(&us)?;
    us.dial(&eu)?;
    for node in [&mut eu, &mut us, &mut agent] {
        node.start().await?;
    }
    fleet.append("eu-1.csv", &[READING_COLUMNS])?;
    for from in (0..3_000).step_by(500) {
        fleet.append("eu-1.csv", &readings(from..from + 500))?;
        us.records_when("eu.air.readings", from + 500).await?;
    }
    let written = eu.records("air.readings").await?;
    // An operator's stop marks the state: no file has to be replayed, so each may be written anew.
    eu.stop().await?;
    eu.start().await?;
    damage(&fleet.path("eu.data"), "2013-03-01 00:00:07,7")?;

    let path = "/v1/topics/air.readings/0/records?from=0";
    let met = eu.api.json(path).await?;
    let named = eu.status().await?["missing"].clone();
    let is_back = |answer: &Value| answer.get("damaged").is_none();
    let whole = eu.json_when(path, is_back).await?;
    let is_whole = |status: &Value| status["missing"] == json!([]);
    eu.json_when("/v1/status", is_whole).await?;

    let place = met["damaged"][0].as_object().context("nothing is damaged")?;
    assert_eq!((&named[0]["from"], &named[0]["until"]), (&place["from"], &place["until"]));
    assert_eq!(named[0]["partition"], "air.readings/0");
    assert_eq!(whole["records"], json!(written), "each byte where it was");
    Ok(())
}

#[tokio::test]
async fn a_file_that_was_emptied_comes_back_from_another_region() -> Result<()> {
    let (fleet, mut eu, mut agent) = pair()?;
    let mut us = fleet.hub("us")?;
    for hub in [&eu, &us] {
        hub.reconfigure(
            "file_bytes = \"4MiB\"",
            "file_bytes = \"64KiB\"\nsnapshot_after = \"1s\"",
        )?;
        hub.configure("[membership]\n")?;
    }
    eu.expect(&us)?;
    us.dial(&eu)?;
    for node in [&mut eu, &mut us, &mut agent] {
        node.start().await?;
    }
    fleet.append("eu-1.csv", &[READING_COLUMNS])?;
    for from in (0..2_000).step_by(500) {
        fleet.append("eu-1.csv", &readings(from..from + 500))?;
        us.records_when("eu.air.readings", from + 500).await?;
    }
    let written = us.records("eu.air.readings").await?;
    us.stop().await?;
    let (emptied, ..) = found(&fleet.path("us.data"), "2013-03-01 00:00:07,7")?;
    std::fs::write(&emptied, b"")?;

    us.start().await?;
    let met = us.status().await?["missing"].clone();
    us.status_when(|status| status["missing"] == json!([])).await?;

    assert_eq!(met[0]["partition"], "eu.air.readings/0", "{met}");
    let whole = us.records("eu.air.readings").await?;
    assert_eq!(json!(whole), json!(written), "each where it was");
    us.stop().await?;
    std::fs::remove_dir_all(fleet.path("us.data").join("state"))?;
    us.start().await?;
    us.records_when("eu.air.readings", 2_000).await?;
    Ok(())
}
