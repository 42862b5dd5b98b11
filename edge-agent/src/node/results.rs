//! What rules raise, on its way into commits of bounded size.
//!
//! One row may close a window of a million groups, which is more than a commit holds. So the
//! commit with the row takes the first results, and those after it take the rest, each with how
//! many are written by then. Until all are, no more lines are read. A replay derives the results
//! of the last lines again, leaves out those that are written, and goes on with the others.

use std::collections::VecDeque;

use headland_event::{Record, TopicName};

use super::{InFlight, Node, Output};
use crate::outbox::Outbox;

/// Bytes of a commit after which results wait for the next: an eighth of what a commit may hold.
/// Larger ones delay what waits behind them, smaller ones cost a barrier more often.
const COMMIT_BYTES_TARGET: usize = 2 << 20;

/// Results of the last lines that are not in a commit yet.
#[derive(Debug, Default)]
pub(super) struct Results {
    waiting: VecDeque<(TopicName, Record)>,
    /// Results of the same lines that are.
    written: u64,
    /// By the state: how many of the last lines' results earlier runs wrote, unless all.
    found: Option<u64>,
}

impl Results {
    /// What an earlier run left behind.
    pub(super) fn new(found: Option<u64>) -> Self {
        Self { found, ..Self::default() }
    }

    /// Whether every result is in a commit.
    pub(super) fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }

    /// New lines begin.
    pub(super) fn on_lines(&mut self) {
        debug_assert!(
            self.is_written(),
            "lines wait until the results of those before are written"
        );
        self.written = 0;
        self.found = None;
    }

    /// A rule raised something.
    pub(super) fn push(&mut self, outbox: &mut Outbox, topic: TopicName, record: Record) {
        if self.waiting.is_empty() && outbox.waiting_bytes() < COMMIT_BYTES_TARGET {
            outbox.push(&topic, record);
            self.written += 1;
        } else {
            self.waiting.push_back((topic, record));
        }
    }

    /// Says in the commit that is about to be closed that there are more results.
    pub(super) fn note(&self, outbox: &mut Outbox) {
        if !self.is_written() {
            outbox.set_written_results(Some(self.written));
        }
    }

    /// Fills a commit with what waits; returns whether there was anything.
    fn step(&mut self, outbox: &mut Outbox) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        while outbox.waiting_bytes() < COMMIT_BYTES_TARGET
            && let Some((topic, record)) = self.waiting.pop_front()
        {
            outbox.push(&topic, record);
            self.written += 1;
        }
        outbox.set_written_results((!self.is_written()).then_some(self.written));
        true
    }

    /// The results of a commit's lines, derived again; only those of the last one matter.
    pub(super) fn on_replayed(&mut self, results: Vec<(TopicName, Record)>) {
        let Some(written) = self.found else { return };
        self.written = written;
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        self.waiting = results.into_iter().skip(written).collect();
    }
}

impl Node {
    /// Composes the next commit of results, as far as commits on their way leave room.
    pub(super) fn take_results(&mut self) -> Option<Output> {
        if self.in_flight.len() >= super::IN_FLIGHT_LIMIT || !self.results.step(&mut self.outbox) {
            return None;
        }
        self.commit_waiting()
    }

    /// Closes a commit with what was pushed into the outbox that is no line's.
    pub(super) fn commit_waiting(&mut self) -> Option<Output> {
        let (lanes, uptime) = (&self.lanes, self.uptime.last());
        let composed = self.outbox.finish(|topic| lanes.of(topic), uptime, &mut self.random)?;
        self.sum_up(&composed);
        let ends = composed.commit.entries.iter();
        let ends = ends.map(|(at, entry)| (at.clone(), entry.end())).collect();
        let (ticket, spans) = (composed.ticket, Vec::new());
        self.in_flight.push_back(InFlight { ticket, ends, reached: None, spans });
        self.on_results_composed();
        Some(Output::Commit(composed))
    }
}
