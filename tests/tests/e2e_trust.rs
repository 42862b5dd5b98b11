//! Links follow the files that say who may have them: revoked certificates, grants taken away, and
//! certificates that are renewed while the link stays.

use std::time::Duration;

use anyhow::Result;
use headland_platform::clock::Clock;
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::sales;

/// Within this a link of somebody who may not have it any more has to be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// A hub and an agent with revocation lists, and a link between them that carried 5 records.
async fn linked() -> Result<(Fleet, Node, Node)> {
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-"])?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    fleet.revoke(None)?;
    for node in [&hub, &agent] {
        node.reconfigure("ca_file = \"ca.pem\"", "ca_file = \"ca.pem\"\ncrl_file = \"ca.crl\"")?;
    }
    fleet.append("eu-1.jsonl", &sales("eu-1", "A", 0..5))?;
    hub.start().await?;
    agent.start().await?;
    hub.records_when("inventory.events", 5).await?;
    Ok((fleet, hub, agent))
}

#[tokio::test]
async fn a_revoked_agent_loses_its_link_within_ten_seconds_and_gets_no_other() -> Result<()> {
    let (fleet, mut hub, mut agent) = linked().await?;
    let clock = Clock::start();

    fleet.revoke(Some("eu-1"))?;
    let closed = hub.says("a link was closed").await?;
    let took = clock.monotonic().since(Default::default());
    let told = agent.says("revoked").await?;
    let refused = hub.says("a connection was not accepted").await?;

    assert!(closed.contains("spiffe://shop/region/eu/agent/eu-1"), "{closed}");
    assert!(took < CLOSED_WITHIN, "{took:?}");
    assert!(told.contains("certificate"), "{told}");
    assert!(refused.contains("is revoked"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn an_agent_leaves_a_hub_whose_certificate_is_revoked() -> Result<()> {
    let (fleet, _hub, mut agent) = linked().await?;

    fleet.revoke(Some("eu"))?;
    let closed = agent.says("the link to the hub was closed").await?;

    assert!(closed.contains("revoked"), "{closed}");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_taken_out_of_the_configuration_loses_its_link() -> Result<()> {
    let (_fleet, mut hub, mut agent) = linked().await?;
    let clock = Clock::start();

    hub.reconfigure("name = \"eu-1\"", "name = \"eu-2\"")?;
    let closed = hub.says("a link was closed").await?;
    let took = clock.monotonic().since(Default::default());
    let told = agent.says("not authorised").await?;

    assert!(closed.contains("was taken out of this hub's configuration"), "{closed}");
    assert!(took < CLOSED_WITHIN, "{took:?}");
    assert!(told.contains("spiffe://shop/region/eu/agent/eu-1"), "{told}");
    Ok(())
}

#[tokio::test]
async fn renewed_certificates_are_shown_from_the_next_link_on_and_the_link_stays() -> Result<()> {
    let (fleet, mut hub, mut agent) = linked().await?;

    fleet.issue("eu-1", "eu/agent/eu-1")?;
    fleet.issue("eu", "eu/hub/hub-1")?;
    hub.says("certificate files were read again").await?;
    agent.says("certificate files were read again").await?;
    fleet.append("eu-1.jsonl", &sales("eu-1", "B", 5..10))?;
    hub.records_when("inventory.events", 10).await?;
    let disconnected = hub.lines().iter().any(|line| line.contains("disconnected"));
    // Another process of the agent dials with what the files hold now, and meets the hub's new
    // certificate.
    agent.stop().await?;
    agent.start().await?;
    fleet.append("eu-1.jsonl", &sales("eu-1", "C", 10..15))?;
    hub.records_when("inventory.events", 15).await?;

    assert!(!disconnected, "the link was dropped");
    Ok(())
}
