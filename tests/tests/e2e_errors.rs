//! What is wrong with a file, a machine or a configuration: one clear message with its place.

use std::net::UdpSocket;

use anyhow::{Context, Result};
use headland_tests::binaries;
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::event;
use headland_tests::process::{Ended, Process};

/// Starts a node that must not come up; returns what it said, the log's lines left out.
async fn failure(node: &Node) -> Result<Vec<String>> {
    told(node.launch()?.ended().await?)
}

fn told(ended: Ended) -> Result<Vec<String>> {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let is_message = |line: &String| line.starts_with("headland") || line.starts_with("  ");
    Ok(ended.lines.into_iter().filter(is_message).collect())
}

fn pair() -> Result<(Fleet, Node, Node)> {
    let fleet = Fleet::new()?;
    let hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-", "Dongsi"])?;
    let agent = fleet.agent("eu-1", &hub)?;
    Ok((fleet, hub, agent))
}

#[tokio::test]
async fn an_absent_configuration_is_named_with_the_reason() -> Result<()> {
    let binaries = binaries::built()?;
    let hub = Process::start(&binaries.hub, &["hub", "--config", "no/hub.toml"])?;
    let agent = Process::start(&binaries.agent, &["--config", "no/agent.toml"])?;

    let told = [told(hub.ended().await?)?, told(agent.ended().await?)?];

    let reason = "  caused by: No such file or directory (os error 2)";
    assert_eq!(told[0], ["headland: cannot read configuration no/hub.toml", reason]);
    assert_eq!(told[1], ["headland-agent: cannot read configuration no/agent.toml", reason]);
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_is_named_with_file_line_column_and_the_nearest_known_one() -> Result<()> {
    let (_fleet, hub, agent) = pair()?;
    hub.reconfigure("restock_below", "restock_bellow")?;
    agent.reconfigure("data_dir", "data_dri")?;

    let told = [failure(&hub).await?, failure(&agent).await?];

    let hub = hub.config.display();
    assert_eq!(
        told[0],
        [format!(
            "headland: {hub}:15:1: unknown field `restock_bellow`, expected one of `topic`, \
             `restock_below`, `skus_file`, `multi_value`, `cleanup`, `tombstones`, `codec`; did \
             you mean `restock_below`?"
        )]
    );
    let agent = agent.config.display();
    let line = told[1].first().context("nothing was said")?;
    let begin = format!("headland-agent: {agent}:3:1: unknown field `data_dri`, expected one of ");
    assert!(line.starts_with(&begin), "{line}");
    assert!(line.ends_with("; did you mean `data_dir`?"), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_missing_or_unfit_value_is_named_with_its_place() -> Result<()> {
    let (_fleet, hub, agent) = pair()?;
    hub.reconfigure("key_file = \"eu.key\"\n", "")?;
    agent.reconfigure("region = \"eu\"", "region = \"e u\"")?;

    let told = [failure(&hub).await?, failure(&agent).await?];

    let hub = hub.config.display();
    assert_eq!(told[0], [format!("headland: {hub}:6:1: missing field `key_file`")]);
    let agent = agent.config.display();
    assert_eq!(
        told[1],
        [format!(
            "headland-agent: {agent}:1:10: region \"e u\" does not fit: 1 to 64 characters of \
             A-Z a-z 0-9 . _ -"
        )]
    );
    Ok(())
}

#[tokio::test]
async fn an_unknown_table_of_a_source_is_pointed_at() -> Result<()> {
    let (_fleet, _hub, agent) = pair()?;
    agent.reconfigure("table = \"air_readings\"", "table = \"air\"")?;

    let told = failure(&agent).await?;

    let line = told.first().context("nothing was said")?;
    let begin = format!(
        "headland-agent: {}:18:9: table air is not declared in the rules; they declare ",
        agent.config.display()
    );
    assert!(line.starts_with(&begin), "{line}");
    Ok(())
}

#[tokio::test]
async fn an_unknown_column_is_named_with_file_line_column_and_the_nearest_known_one() -> Result<()>
{
    let (fleet, _hub, agent) = pair()?;
    let rules = headland_tests::fleet::RULES.replace("SELECT id, sku,", "SELECT id, skuu,");
    fleet.write("rules.sql", &rules)?;

    let told = failure(&agent).await?;

    assert_eq!(
        told,
        [format!(
            "headland-agent: {}:27:12: unknown column \"skuu\" in table inventory_events, did you \
         mean \"sku\"?",
            fleet.path("rules.sql").display()
        )]
    );
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_address() -> Result<()> {
    let (_fleet, hub, _agent) = pair()?;
    let _taken = UdpSocket::bind(hub.address)?;

    let told = failure(&hub).await?;

    assert_eq!(
        told,
        [
            format!("headland: cannot listen on {}", hub.address),
            "  caused by: Address already in use (os error 98)".to_owned(),
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_data_directory_or_socket_of_another_process_is_named() -> Result<()> {
    let (fleet, mut hub, mut agent) = pair()?;
    hub.start().await?;
    agent.start().await?;
    let second = fleet.hub("us")?;
    second.reconfigure("data_dir = \"us.data\"", "data_dir = \"eu.data\"")?;
    let third = fleet.hub("ap")?;
    third.reconfigure("socket = \"ap.sock\"", "socket = \"eu.sock\"")?;

    let told = [failure(&second).await?, failure(&third).await?, failure(&agent).await?];

    let [data, agents] = ["eu.data", "eu-1.data"].map(|name| fleet.path(name));
    for (told, path) in [(&told[0], data), (&told[2], agents)] {
        let (path, text) = (path.display().to_string(), told.join("\n"));
        assert!(text.contains(&format!("cannot open the log in {path}")), "{text}");
        assert!(text.contains("another process"), "{text}");
    }
    assert_eq!(
        told[1],
        [format!(
            "headland: {} is in use by another process; stop it or configure another path",
            fleet.path("eu.sock").display()
        )]
    );
    // The one that was there first is not disturbed.
    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "sale", "A", 1)])?;
    hub.records_when("inventory.events", 1).await.map(drop)
}

#[tokio::test]
async fn a_certificate_of_another_region_does_not_fit_the_configuration() -> Result<()> {
    let (fleet, hub, agent) = pair()?;
    fleet.issue("eu-1", "us/agent/eu-1")?;
    fleet.issue("eu", "us/hub/hub-1")?;

    let told = [failure(&agent).await?, failure(&hub).await?];

    assert_eq!(
        told[0],
        [format!(
            "headland-agent: the certificate in {} is of spiffe://shop/region/us/agent/eu-1, the \
         configuration is of spiffe://shop/region/eu/agent/eu-1: correct region and name of the \
         configuration, or let certificate_file and key_file name those of \
         spiffe://shop/region/eu/agent/eu-1",
            fleet.path("eu-1.pem").display()
        )]
    );
    assert_eq!(
        told[1],
        [format!(
            "headland: the certificate in {} is of spiffe://shop/region/us/hub/hub-1, the \
         configuration is of spiffe://shop/region/eu/hub/hub-1: correct region and name of the \
         configuration, or let certificate_file and key_file name those of \
         spiffe://shop/region/eu/hub/hub-1",
            fleet.path("eu.pem").display()
        )]
    );
    Ok(())
}
