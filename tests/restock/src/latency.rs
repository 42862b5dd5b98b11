//! How soon a shelf that runs low is warned of, at real hubs.
//!
//! One agent follows a file that grows by a steady number of sales a second; a shelf runs low once
//! in `EVENTS_PER_ALERT` of them. The alert is watched for where people look for it, over the
//! hub's API, so that a latency runs from when the agent read the line (`captured_at` of the alert)
//! until somebody else's process has the durable alert in hand. That is more than from arrival at
//! the hub, by the agent's own commit and its link.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_platform::clock::Clock;
use headland_platform::task::{self, Task, Token};
use headland_tests::fleet::{Fleet, Node};
use headland_tests::http::Api;
use serde_json::{Value, json};

/// Events of a sku between two of its alerts: as many sales of one unit and a restock.
const EVENTS_PER_ALERT: u64 = 101;

/// Skus that are sold in turn.
const SKUS: u64 = 500;

/// How often lines are written.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// Partitions of the topic of alerts.
const ALERT_PARTITIONS: u32 = 8;

/// Time that is given to start up, and that does not count.
const WARM_UP: Duration = Duration::from_secs(5);

/// Rules without a rule: nothing but the hub's own alerts.
const RULES: &str = "CREATE TABLE inventory_events (
  id STRING, kind STRING, device STRING, sku STRING, location STRING, quantity BIGINT,
  `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time` - INTERVAL '2' HOUR
) WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');
CREATE TABLE air_readings (station STRING, pm25 DOUBLE)
WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
";

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events a second.
    pub(crate) events_per_second: u64,
    /// How long each of the two measurements lasts.
    pub(crate) lasts: Duration,
}

/// Latencies in milliseconds, in order.
#[derive(Debug, Clone, Default)]
struct Latencies(Vec<i64>);

impl Latencies {
    /// The latency that a share of the alerts, in percent, did not exceed; `None` of no alert.
    fn percentile(&self, percent: usize) -> Option<i64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.max(1) - 1).copied()
    }

    /// What was seen, as JSON.
    fn json(&self) -> Value {
        let of = |percent| self.percentile(percent);
        json!({"alerts": self.0.len(), "p50_ms": of(50), "p99_ms": of(99), "max_ms": of(100)})
    }
}

/// Alerts as they are seen at one hub.
#[derive(Debug)]
struct Watch {
    seen: Arc<Mutex<Vec<i64>>>,
    tasks: Vec<Task<Option<Result<()>>>>,
    token: Token,
}

impl Watch {
    /// Looks at every partition of a topic of alerts from its end on.
    async fn begin(hub: &Node, topic: &str) -> Result<Self> {
        let (seen, token) = (Arc::new(Mutex::new(Vec::new())), Token::new());
        let mut tasks = Vec::new();
        for partition in 0..ALERT_PARTITIONS {
            let path = format!("/v1/topics/{topic}/{partition}/records");
            let from = end_of(&hub.api, topic, partition).await?;
            let (api, seen) = (hub.api.clone(), Arc::clone(&seen));
            tasks.push(task::spawn("watch alerts", &token, async move {
                watch(&api, &path, from, &seen).await
            }));
        }
        Ok(Self { seen, tasks, token })
    }

    /// Stops looking; what was seen since the last [`Self::take`].
    async fn end(self) -> Result<Latencies> {
        let latencies = self.take();
        self.token.cancel();
        for task in self.tasks {
            // A watch that ended by itself has not seen all.
            task.join().await.flatten().transpose()?;
        }
        Ok(latencies)
    }

    /// What was seen so far, once.
    fn take(&self) -> Latencies {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies = std::mem::take(&mut *seen);
        latencies.sort_unstable();
        Latencies(latencies)
    }
}

async fn end_of(api: &Api, topic: &str, partition: u32) -> Result<u64> {
    let known = api.json(&format!("/v1/topics/{topic}")).await?;
    let end = known.pointer(&format!("/partitions/{partition}/end")).and_then(Value::as_u64);
    // A mirror has the partitions that were written so far.
    Ok(end.unwrap_or_default())
}

async fn watch(api: &Api, path: &str, mut from: u64, seen: &Mutex<Vec<i64>>) -> Result<()> {
    let clock = Clock::start();
    loop {
        let answer = api.json(&format!("{path}?from={from}&wait_ms=20000")).await?;
        let now = clock.wall().millis();
        from = answer.get("next").and_then(Value::as_u64).context("no next offset")?;
        let records = answer.get("records").and_then(Value::as_array).context("no records")?;
        for record in records {
            let alert = record.get("value").and_then(Value::as_str).context("no alert")?;
            let alert: Value = serde_json::from_str(alert)?;
            let captured = alert.get("captured_at").and_then(Value::as_i64);
            let captured = captured.context("an alert without the time of capture")?;
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(now - captured);
        }
    }
}

/// The line with a number: every sku is restocked and sold one by one until none is left. Each
/// begins at another place of that cycle, so that alerts come evenly.
fn line(number: u64, time: &str) -> String {
    let (sku, turn) = (number % SKUS, number / SKUS);
    let units = EVENTS_PER_ALERT - 1;
    let (kind, quantity) = match (turn, (turn + sku % units) % EVENTS_PER_ALERT) {
        (0, place) => ("restock", units - place),
        (_, 0) => ("restock", units),
        (_, _) => ("sale", 1),
    };
    format!(r#"{{"id":"eu-1/{number}","kind":"{kind}","device":"eu-1-till","sku":"sku-{sku}","#)
        + &format!(r#""location":"eu-1","quantity":{quantity},"time":"{time}"}}"#)
}

/// Appends lines at a steady pace until the token is cancelled; returns how many.
async fn write(fleet: &Fleet, load: Load, token: Token) -> Result<u64> {
    let clock = Clock::start();
    let begin = clock.monotonic();
    let mut ticks = tokio::time::interval(WRITE_INTERVAL);
    let mut written = 0;
    while !token.is_cancelled() {
        ticks.tick().await;
        let elapsed = u64::try_from(clock.monotonic().since(begin).as_millis())?;
        let due = elapsed * load.events_per_second / 1_000;
        let now = jiff::Timestamp::from_millisecond(clock.wall().millis())?.to_string();
        let lines: Vec<String> = (written..due).map(|number| line(number, &now)).collect();
        fleet.append("eu-1.jsonl", &lines)?;
        written = due;
    }
    Ok(written)
}

/// Two linked hubs under load, then one that has lost the other; what came of it and whether it is
/// within the bars.
///
/// # Errors
/// When a process does not start or end as it should.
pub(crate) async fn measure(load: Load) -> Result<(bool, Value)> {
    let fleet = Fleet::new()?;
    let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
    eu.reconfigure("restock_below = 0", "restock_below = 20")?;
    eu.grant("eu-1", &["inventory.events", "air.readings", "alerts"], &["eu-1-"])?;
    eu.expect(&us)?;
    us.dial(&eu)?;
    let mut agent = fleet.agent("eu-1", &eu)?;
    fleet.write("rules.sql", RULES)?;
    eu.start().await?;
    us.start().await?;
    agent.start().await?;
    let stop = Token::new();
    let work = async {
        tokio::time::sleep(WARM_UP).await;
        let near = Watch::begin(&eu, "alerts").await?;
        // The first alert makes the mirror.
        us.records_when("eu.alerts", 1).await?;
        let far = Watch::begin(&us, "eu.alerts").await?;
        tokio::time::sleep(load.lasts).await;
        let (linked, across) = (near.take(), far.end().await?);
        us.kill().await?;
        tokio::time::sleep(WARM_UP).await;
        near.take();
        tokio::time::sleep(load.lasts).await;
        let alone = near.end().await?;
        stop.cancel();
        Ok::<_, anyhow::Error>((linked, across, alone))
    };
    let (measured, written) = tokio::join!(work, write(&fleet, load, stop.clone()));
    let ((linked, across, alone), written) = (measured?, written?);
    let status = eu.status().await?;
    let applied = status.get("applied").and_then(Value::as_object).context("no cut")?;
    let applied: u64 = applied.values().filter_map(Value::as_u64).sum();
    if written.saturating_sub(applied) > load.events_per_second {
        bail!("the hub is more than a second behind: {applied} of {written} events");
    }
    let is_below = |of: &Latencies, bar| of.percentile(99).is_some_and(|p99| p99 < bar);
    // Loopback has no round trip to speak of.
    let is_green = is_below(&alone, 500) && is_below(&linked, 500) && is_below(&across, 1_000);
    let result = json!({
        "events_per_second": load.events_per_second,
        "seconds_each": load.lasts.as_secs(),
        "events": written,
        "others_unreachable": alone.json(),
        "linked_here": linked.json(),
        "linked_across": across.json(),
    });
    Ok((is_green, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_latency_that_so_many_did_not_exceed() {
        let latencies = Latencies((1..=200).collect());

        let found = [1, 50, 99, 100].map(|percent| latencies.percentile(percent));

        assert_eq!(found, [Some(2), Some(100), Some(198), Some(200)]);
        assert_eq!(Latencies::default().percentile(99), None);
    }

    #[test]
    fn a_sku_is_restocked_once_and_sold_until_it_is_where_it_was() {
        let of_sku = |turn| line(turn * SKUS + 7, "2010-12-01T08:06:00Z");
        let quantity = |text: String| {
            let event: Value = serde_json::from_str(&text).unwrap();
            let units = event["quantity"].as_i64().unwrap();
            if event["kind"] == "sale" { -units } else { units }
        };

        let first = quantity(of_sku(0));
        let moved: Vec<i64> = (1..=EVENTS_PER_ALERT).map(of_sku).map(quantity).collect();

        assert_eq!((first, moved.iter().sum::<i64>()), (93, 0));
        assert_eq!(moved.iter().filter(|units| **units == 100).count(), 1);
    }
}
