//! Playing the plan into the agents' inputs: what is paced, what is kept back, what is planted.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{EventTime, Monotonic, Promise, RegionId, TopicName};
use headland_platform::clock::Clock;
use serde_json::{Map, Value};

use super::api::{Page, PartitionListing, TopicListing};
use super::causal_case::Round;
use super::error::QuickstartError;
use super::inputs::Inputs;
use super::nodes::Nodes;
use super::plan::{Feed, HeldLine};

/// How long played lines are gathered before they are written: below what an agent would notice.
const TICK: Duration = Duration::from_millis(5);

/// How often promises are looked for: a late event is not urgent.
const PROMISE_INTERVAL: Duration = Duration::from_millis(100);

/// A promise that takes longer after the play has stopped than the hubs hold back for an agent.
const PROMISE_LIMIT: Duration = Duration::from_secs(90);

/// How long a planted write may take to be visible at the hubs that must see it.
const VISIBLE_LIMIT: Duration = Duration::from_secs(8);

/// Apart this far, the second of two writes has the later clock at whatever hub.
const CLOCK_STEP: Duration = Duration::from_millis(2);

/// The topic whose lateness the held lines show.
const INVENTORY: &str = "inventory.events";

/// Plays lines when they are due; `progress` hears how many are done.
///
/// # Errors
/// [`QuickstartError::File`] when an input cannot be written.
pub(super) async fn play_paced(
    feeds: &[Feed],
    inputs: &Inputs,
    clock: Clock,
    start: Monotonic,
    progress: impl Fn(usize),
) -> Result<(), QuickstartError> {
    let mut rest = feeds;
    while let Some(next) = rest.first() {
        let wait = clock.until(start.after(next.due));
        tokio::time::sleep(wait.max(TICK)).await;
        let elapsed = clock.monotonic().since(start);
        let due = rest.partition_point(|feed| feed.due <= elapsed);
        debug_assert!(due <= rest.len() && rest.is_sorted_by_key(|feed| feed.due));
        let (now, later) = rest.split_at(due);
        now.iter().try_for_each(|feed| inputs.play(feed))?;
        rest = later;
        progress(feeds.len() - rest.len());
    }
    Ok(())
}

/// Writes rounds of planted steps, each when all of the round before is visible where it must be.
///
/// # Errors
/// [`QuickstartError`] when an input cannot be written or a step is not visible in time.
pub(super) async fn play_rounds(
    rounds: &[Round],
    inputs: &Inputs,
    nodes: &Nodes,
) -> Result<(), QuickstartError> {
    for round in rounds {
        round.iter().try_for_each(|step| inputs.plant(step))?;
        for step in round {
            nodes.await_visible(step, VISIBLE_LIMIT).await?;
        }
        tokio::time::sleep(CLOCK_STEP).await;
    }
    Ok(())
}

/// Releases held lines, each once its region's hub has logged a promise at or past its time.
///
/// # Errors
/// [`QuickstartError`] when an input cannot be written or a promise does not come.
pub(super) async fn release_held(
    held: &[HeldLine],
    inputs: &Inputs,
    nodes: &Nodes,
    play: Duration,
) -> Result<(), QuickstartError> {
    let mut logs: BTreeMap<&RegionId, PromiseLog> = BTreeMap::new();
    let mut waiting: Vec<&HeldLine> = held.iter().collect();
    let rounds = (play + PROMISE_LIMIT).as_millis() / PROMISE_INTERVAL.as_millis();
    for _ in 0..rounds {
        for (region, api) in nodes.hubs() {
            let log = logs.entry(region).or_default();
            // A hub that was just killed does not answer; it will have been asked again by the end.
            if let Ok(page) = log.read(api).await {
                log.on_page(&page);
            }
        }
        for line in waiting.extract_if(.., |line| promised(&logs, line)) {
            inputs.release(line)?;
        }
        if waiting.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PROMISE_INTERVAL).await;
    }
    let found = waiting.iter().map(|line| format!("hub {}: {}", line.region, line.line)).collect();
    let waited = play + PROMISE_LIMIT;
    Err(QuickstartError::Overdue { what: "no promise has passed these events", waited, found })
}

fn promised(logs: &BTreeMap<&RegionId, PromiseLog>, line: &HeldLine) -> bool {
    let watermark = logs.get(&line.region).and_then(|log| log.watermark);
    watermark.is_some_and(|watermark| watermark >= line.time)
}

/// A reader of one hub's promises.
#[derive(Debug, Default)]
struct PromiseLog {
    next: BTreeMap<u32, u64>,
    watermark: Option<EventTime>,
}

impl PromiseLog {
    async fn read(&mut self, api: &super::api::Api) -> Result<Page, QuickstartError> {
        let mut all = Page { records: Vec::new(), next: 0 };
        let topics: Vec<TopicListing> = api.get("/v1/topics").await?;
        let promises = topics.into_iter().filter(|topic| topic.topic == "_promises");
        for PartitionListing { partition, end } in promises.flat_map(|topic| topic.partitions) {
            let next = self.next.entry(partition).or_default();
            while *next < end {
                let path = format!("/v1/topics/_promises/{partition}/records?from={next}&max=1000");
                let page: Page = api.get(&path).await?;
                *next = page.next;
                all.records.extend(page.records);
            }
        }
        Ok(all)
    }

    fn on_page(&mut self, page: &Page) {
        self.watermark =
            self.watermark.max(page.records.iter().filter_map(inventory_promise).max());
    }
}

fn inventory_promise(record: &Map<String, Value>) -> Option<EventTime> {
    let promise: Promise = serde_json::from_str(record.get("value")?.as_str()?).ok()?;
    (promise.topic == TopicName::new(INVENTORY).ok()?).then_some(promise.watermark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(promises: &[&str]) -> Page {
        let record = |promise: &&str| {
            let mut record = Map::new();
            record.insert("value".to_owned(), Value::from(*promise));
            record
        };
        Page { records: promises.iter().map(record).collect(), next: 0 }
    }

    #[test]
    fn a_held_line_is_released_when_its_own_topic_is_promised_up_to_its_time() {
        let region = RegionId::new("eu").unwrap();
        let line = |millis| HeldLine {
            region: region.clone(),
            time: EventTime::from_millis(millis),
            site: headland_event::AgentName::new("eu-1").unwrap(),
            line: String::new(),
        };
        let mut log = PromiseLog::default();
        log.on_page(&page(&[
            r#"{"topic":"inventory.events","watermark":500,"ends":{"0":7}}"#,
            r#"{"topic":"air.readings","watermark":900,"ends":{"0":7}}"#,
            r#"{"agent":"eu-1","state":"ABSENT"}"#,
        ]));
        let logs = BTreeMap::from([(&region, log)]);

        assert!(promised(&logs, &line(500)));
        assert!(!promised(&logs, &line(501)));
    }
}
