//! Results that wait to be written, and what is left out when they are too many.

use std::collections::VecDeque;

use super::results::Made;

/// Bytes of results that wait beyond which provisional ones are left out: what they say is said
/// again, by a later one or the final one. Finals and corrections always wait. Of finals there are
/// at most as many as the rules' own limits let them keep groups; corrections have no bound of
/// their own, since each late row makes one for each of its windows.
const READY_BYTES_LIMIT: usize = 16 << 20;

/// Whether a result may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Another will say it again.
    Provisional,
    /// It is said once, or takes back what was said.
    Standing,
}

/// Results that are not taken yet.
#[derive(Debug, Default)]
pub(super) struct Ready {
    results: VecDeque<Made>,
    bytes: usize,
    left_out: u64,
}

impl Ready {
    /// Adds a result behind the others, or leaves it out.
    pub(super) fn push(&mut self, made: Made) {
        match made.urgency {
            Urgency::Provisional if self.bytes >= READY_BYTES_LIMIT => {
                self.left_out = self.left_out.saturating_add(1);
            }
            Urgency::Provisional | Urgency::Standing => {
                self.bytes += made.record.payload_len();
                self.results.push_back(made);
            }
        }
    }

    /// The result that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Made> {
        let made = self.results.pop_front()?;
        self.bytes = self.bytes.saturating_sub(made.record.payload_len());
        Some(made)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Results that were left out.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{AlertId, EventTime, Record, TopicName};

    use super::*;
    use crate::global::written::Mark;

    fn made(bytes: usize, urgency: Urgency) -> Made {
        let record = Record::new(EventTime::from_millis(0), "", vec![0; bytes]);
        let mark = Mark::new(AlertId::derive("n", "", ""));
        Made { rule: "n".into(), topic: TopicName::new("n").unwrap(), record, urgency, mark }
    }

    #[test]
    fn beyond_the_bound_provisional_results_are_left_out_and_counted_and_others_wait() {
        let mut ready = Ready::default();
        ready.push(made(READY_BYTES_LIMIT, Urgency::Provisional));

        ready.push(made(1, Urgency::Provisional));
        ready.push(made(1, Urgency::Standing));

        assert_eq!((ready.left_out(), ready.results.len()), (1, 2));
        assert!(ready.pop().is_some());
        ready.push(made(1, Urgency::Provisional));
        assert_eq!((ready.left_out(), ready.results.len()), (1, 2));
    }
}
