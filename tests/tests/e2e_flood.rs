//! A hub under handshakes that nobody finishes.

#![expect(clippy::panic, reason = "a test may panic")]

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_platform::clock::Clock;
use headland_platform::tls::Identity;
use headland_tests::fleet::{Fleet, TOPICS};
use headland_tests::flood::Flood;
use headland_tests::lines::sales;

/// Handshakes in an ordinary run; `HEADLAND_HALF_OPEN` sets another number.
const HALF_OPEN: usize = 600;

/// What a hub may grow by: 512 places of about 105 KiB, and what lingers.
const GROWTH_LIMIT_MIB: u64 = 64;

/// Resident memory of a process in KiB.
fn resident_kib(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

fn wish(name: &str) -> Option<usize> {
    #[expect(clippy::disallowed_methods, reason = "more than an ordinary run is asked for by name")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text:?}: {error}")))
}

#[tokio::test]
async fn half_open_handshakes_leave_memory_bounded_and_agents_served() -> Result<()> {
    let count = wish("HEADLAND_HALF_OPEN").unwrap_or(HALF_OPEN);
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-"])?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    let lines = sales("eu-1", "A", 0..20);
    fleet.append("eu-1.jsonl", &lines)?;
    let identity =
        Identity::load(&fleet.path("ca.pem"), &fleet.path("eu-1.pem"), &fleet.path("eu-1.key"))?;
    hub.start().await?;
    let process = hub.process()?.id()?;
    let before = resident_kib(process)?;

    let flood = Flood::begin(hub.address, Ipv4Addr::new(127, 0, 0, 2), &identity).await?;
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let mut most = before;
    while flood.begun() < count {
        looks.tick().await;
        most = most.max(resident_kib(process)?);
    }
    let clock = Clock::start();
    agent.start().await?;
    let records = hub.records_when("inventory.events", 20).await?;
    let served_ms = clock.monotonic().since(Default::default()).as_millis();
    most = most.max(resident_kib(process)?);
    drop(flood);

    let grown_kib = most - before;
    eprintln!(
        "{{\"half_open\":{count},\"resident_before_kib\":{before},\"grown_kib\":{grown_kib},\
         \"agent_served_ms\":{served_ms}}}"
    );
    assert_eq!(records.len(), lines.len());
    assert!(grown_kib < GROWTH_LIMIT_MIB * 1_024, "grown by {grown_kib} KiB");
    Ok(())
}
