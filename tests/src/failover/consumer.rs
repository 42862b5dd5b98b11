//! A consumer group that remembers what it has read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use headland_platform::clock::Clock;
use serde_json::{Value, json};

use super::regions::TOPIC;
use crate::fleet::Node;
use crate::process::WAIT_LIMIT;

/// How long one question waits for records.
const WAIT_MS: u64 = 100;

/// How often it is asked at most.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// Most records of one page.
const PAGE: u64 = 10_000;

/// A group that reads the union over regions.
#[derive(Debug)]
pub(super) struct Consumer {
    group: String,
    /// What it has read, and the records of it that it has read more than once.
    seen: BTreeMap<String, u64>,
    /// Records of which it has had one copy with the same dot: those count once.
    dots: BTreeSet<String>,
    copies: u64,
    /// Whether the last page was empty.
    is_at_end: bool,
}

/// A record as a group reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    /// Of which agent.
    pub(super) agent: String,
    /// The number of its line.
    pub(super) number: u64,
}

impl Consumer {
    pub(super) fn new(group: &str) -> Self {
        let (seen, dots) = (BTreeMap::new(), BTreeSet::new());
        Self { group: group.to_owned(), seen, dots, copies: 0, is_at_end: false }
    }

    /// How many different lines it has read.
    pub(super) fn distinct(&self) -> u64 {
        u64::try_from(self.seen.len()).unwrap_or(u64::MAX)
    }

    /// How often it has read a line that it had read before.
    pub(super) fn again(&self) -> u64 {
        self.seen.values().map(|times| times - 1).sum()
    }

    /// How many lines it has under several dots: each copy of a dot counts once.
    pub(super) fn doubled(&self) -> u64 {
        self.again() - self.copies
    }

    /// The lines it has read, each `<agent>,<number>`.
    pub(super) fn into_seen(self) -> BTreeSet<String> {
        self.seen.into_keys().collect()
    }

    /// Reads a page at a hub and commits it; `None` where the hub refuses or does not answer.
    pub(super) async fn page(&mut self, hub: &Node, max: u64) -> Option<Result<Vec<Read>>> {
        let of = format!("/v1/groups/{}", self.group);
        let path = format!("{of}/records?topic={TOPIC}@*&max={max}&wait_ms={WAIT_MS}");
        let answer = hub.api.json(&path).await.ok()?;
        let positions = answer.get("positions");
        let positions = positions.filter(|all| all.as_array().is_some_and(|all| !all.is_empty()));
        self.is_at_end = positions.is_none();
        if let Some(positions) = positions {
            let request = json!({ "change": "commit", "positions": positions });
            let committed = hub.api.post(&format!("{of}/offsets"), &request).await.ok()?;
            if committed.code != 200 {
                // Nothing of it counts as read: it is dealt with where the group goes on.
                return None;
            }
        }
        Some(self.note(&answer))
    }

    fn note(&mut self, answer: &Value) -> Result<Vec<Read>> {
        let mut read = Vec::new();
        for record in answer.get("records").and_then(Value::as_array).context("no records")? {
            // What stands for records that another hub has says so in a header.
            if record.pointer("/headers/hl-dropped").is_some() {
                continue;
            }
            let text = |field: &str| record.get(field).and_then(Value::as_str);
            let (value, dot) = text("value").zip(text("dot")).context("no value")?;
            let (agent, rest) = value.split_once(',').context("a line of columns")?;
            let (_, number) = rest.rsplit_once(',').context("a line of three columns")?;
            let (agent, number) = (agent.to_owned(), number.parse().context("a number")?);
            let times = self.seen.entry(format!("{agent},{number}")).or_default();
            *times += 1;
            if !self.dots.insert(dot.to_owned()) {
                self.copies += 1;
            }
            read.push(Read { agent, number });
        }
        Ok(read)
    }

    /// Reads on at a hub until it has had so many different lines, and no page beyond; gives up
    /// when they do not come, so that what was passed over is told by what it has.
    pub(super) async fn read_until(&mut self, hub: &Node, distinct: u64) -> Result<()> {
        let clock = Clock::start();
        let began = clock.monotonic();
        let mut interval = tokio::time::interval(ASK_INTERVAL);
        while self.distinct() < distinct && clock.monotonic().since(began) < WAIT_LIMIT {
            interval.tick().await;
            self.page(hub, distinct - self.distinct()).await.transpose()?;
        }
        Ok(())
    }

    /// Reads whatever there is at a hub.
    ///
    /// # Errors
    /// When the hub refuses.
    pub(super) async fn drain(&mut self, hub: &Node) -> Result<()> {
        self.is_at_end = false;
        while !self.is_at_end {
            self.page(hub, PAGE).await.context("a group is refused")??;
        }
        Ok(())
    }
}
