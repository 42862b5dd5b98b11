//! The measurement from start to report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_event::RegionId;
use headland_gauge::{Resident, cpu_of, float};
use headland_platform::clock::Clock;
use headland_tests::fleet::{Fleet, Node};
use serde_json::{Value, json};

use crate::bare;
use crate::crowd::{self, Crowd, Seen};
use crate::device::{self, Hub, TOPIC};

/// Bytes that an agent may cost beyond a bare connection.
const BYTES_BEYOND_BARE: u64 = 24 << 10;

/// Time within which all agents are back after a restart.
const BACK_LIMIT: Duration = Duration::from_secs(30);

/// Connections that an agent may ask for until it is back: more would be a storm.
const DIALS_LIMIT: f64 = 6.0;

/// Longest wait for anything, so that a measurement that is stuck ends and says where.
const WAIT_LIMIT: Duration = Duration::from_secs(180);

/// Time that links are left alone before their memory is looked at.
const SETTLING: Duration = Duration::from_secs(5);

/// Time that the hub is gone.
const GONE: Duration = Duration::from_secs(5);

/// What a hub's process has used.
fn used(hub: &mut Node) -> Result<(Duration, Resident)> {
    let id = hub.process()?.id()?;
    Ok((cpu_of(id)?, Resident::of(id)?))
}

/// What a hub took under a steady load.
struct Steady {
    took: Duration,
    events: u64,
    cores: f64,
    resident: u64,
}

/// How agents came back to a hub that was killed.
struct Restart {
    hub_ready: Duration,
    all_back: Duration,
    dials_each: f64,
    hub_cpu: Duration,
    caught_up: Duration,
}

/// Many agents at one hub under a steady load, then the hub killed and started again.
///
/// # Errors
/// When a process does not start or end as it should, or events are lost or doubled.
pub(crate) async fn measure(agents: u64, lasts: Duration) -> Result<(bool, Value)> {
    let fleet = Fleet::new()?;
    let mut hub = prepare(&fleet, agents)?;
    let folder = fleet.path("");
    let bare_bytes = bare::bytes_each(agents, &folder).await?;

    hub.start().await?;
    let server_name = device::identity(&folder, "eu")?.id().server_name();
    let place = Hub { address: hub.address, server_name, region: RegionId::new("eu")? };
    let (first, alone) = with_one(&mut hub, agents, &folder, &place).await?;
    let crowd = Crowd::start(0..agents, &folder, &place)?;
    let connected = crowd.all_ready(WAIT_LIMIT).await?;
    let first_dials = crowd.seen.dials();
    let steady = steady(&mut hub, &crowd, lasts).await?;
    let restart = restart(&mut hub, &crowd, agents).await?;

    let seen = Arc::clone(&crowd.seen);
    crowd.end().await?;
    tokio::time::sleep(SETTLING).await;
    let stored = stored(&hub).await?;
    let (acknowledged, made) =
        (first.acknowledged() + seen.acknowledged(), first.made() + seen.made());
    ensure!(
        (acknowledged..=made).contains(&stored),
        "the hub has {stored} events, {made} were made and {acknowledged} acknowledged",
    );
    hub.stop().await?;

    let bytes = steady.resident.saturating_sub(alone.now) / agents;
    let is_green = steady.cores <= 1.0
        && bytes <= bare_bytes + BYTES_BEYOND_BARE
        && restart.all_back <= BACK_LIMIT
        && restart.dials_each <= DIALS_LIMIT;
    let result = json!({
        "agents": agents,
        "seconds": steady.took.as_secs_f64(),
        "events_per_second": float(steady.events) / steady.took.as_secs_f64(),
        "hub_cores": steady.cores,
        "hub_cores_at_most": 1.0,
        "hub_resident_bytes_with_one": alone.now,
        "hub_resident_bytes_each": bytes,
        "bare_quinn_resident_bytes_each": bare_bytes,
        "resident_bytes_each_beyond_bare_at_most": BYTES_BEYOND_BARE,
        "all_connected_after_seconds": connected.as_secs_f64(),
        "dials_each_at_first": float(first_dials) / float(agents),
        "restart": {
            "hub_ready_after_seconds": restart.hub_ready.as_secs_f64(),
            "all_back_after_seconds": restart.all_back.as_secs_f64(),
            "all_back_after_seconds_at_most": BACK_LIMIT.as_secs(),
            "dials_each": restart.dials_each,
            "dials_each_at_most": DIALS_LIMIT,
            "hub_cpu_seconds_until_then": restart.hub_cpu.as_secs_f64(),
            "caught_up_after_seconds": restart.caught_up.as_secs_f64(),
        },
        "events_made": made,
        "events_stored": stored,
    });
    Ok((is_green, result))
}

/// What a hub uses with one agent, which brings what all share, as the first connection does at the
/// bare listener: code that was not run yet, and tables that are made once. The agent is gone
/// afterwards.
async fn with_one(
    hub: &mut Node,
    number: u64,
    folder: &Path,
    place: &Hub,
) -> Result<(Arc<Seen>, Resident)> {
    let one = Crowd::start(number..number + 1, folder, place)?;
    one.all_ready(WAIT_LIMIT).await?;
    one.wait_for("first events", WAIT_LIMIT, |seen| seen.acknowledged() > 0).await?;
    let (_, resident) = used(hub)?;
    let seen = Arc::clone(&one.seen);
    one.end().await?;
    Ok((seen, resident))
}

/// A hub that admits so many agents and one more, and their certificates.
fn prepare(fleet: &Fleet, agents: u64) -> Result<Node> {
    let hub = fleet.hub("eu")?;
    let mut grants = String::new();
    for number in 0..=agents {
        let name = crowd::name(number);
        fleet.issue(&name, &format!("eu/agent/{name}"))?;
        let agent = format!("name = {name:?}\ntopics = [{TOPIC:?}]\ndevices = [{name:?}]\n");
        grants += &format!("[[agent]]\n{agent}");
    }
    hub.configure(&grants)?;
    Ok(hub)
}

async fn steady(hub: &mut Node, crowd: &Crowd, lasts: Duration) -> Result<Steady> {
    tokio::time::sleep(SETTLING).await;
    let clock = Clock::start();
    let ((cpu_before, _), begin) = (used(hub)?, clock.monotonic());
    let acknowledged_before = crowd.seen.acknowledged();
    tokio::time::sleep(lasts).await;
    let ((cpu, resident), took) = (used(hub)?, clock.monotonic().since(begin));
    let events = crowd.seen.acknowledged() - acknowledged_before;
    let cores = cpu.saturating_sub(cpu_before).as_secs_f64() / took.as_secs_f64();
    Ok(Steady { took, events, cores, resident: resident.now })
}

async fn restart(hub: &mut Node, crowd: &Crowd, agents: u64) -> Result<Restart> {
    let dials_before = crowd.seen.dials();
    hub.kill().await?;
    crowd.wait_for("end of all links", WAIT_LIMIT, |seen| seen.ready() == 0).await?;
    tokio::time::sleep(GONE).await;
    let clock = Clock::start();
    let begin = clock.monotonic();
    hub.start().await?;
    let hub_ready = clock.monotonic().since(begin);
    let all_back = crowd.all_ready(WAIT_LIMIT).await?;
    let (hub_cpu, _) = used(hub)?;
    let dials_each = float(crowd.seen.dials() - dials_before) / float(agents);
    // What was made while the hub was gone comes too.
    let made = crowd.seen.made();
    let caught_up = crowd
        .wait_for("acknowledgement of all", WAIT_LIMIT, |seen| seen.acknowledged() >= made)
        .await?;
    Ok(Restart { hub_ready, all_back, dials_each, hub_cpu, caught_up })
}

/// Records of the topic at the hub.
async fn stored(hub: &Node) -> Result<u64> {
    let topic = hub.api.json(&format!("/v1/topics/{TOPIC}")).await?;
    let partitions = topic.get("partitions").and_then(Value::as_array).context("no partitions")?;
    Ok(partitions.iter().filter_map(|partition| partition.get("end")?.as_u64()).sum())
}
