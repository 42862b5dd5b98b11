//! Results that wait to be written, and what is left out when they are too many.

use std::collections::VecDeque;

use headland_event::{Record, TopicName};

use crate::reconcile::Progress;

/// Bytes of results that wait beyond which provisional ones are left out: what they say is said
/// again, by a later one or the final one. Finals and corrections always wait; of them there are at
/// most as many as the rules' own limits let them keep groups.
const READY_BYTES_LIMIT: usize = 16 << 20;

/// A result with the step that it is, its topic and its record.
pub(super) type Step = (Progress, TopicName, Record);

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
    steps: VecDeque<Step>,
    bytes: usize,
    left_out: u64,
}

impl Ready {
    /// Adds a result behind the others, or leaves it out.
    pub(super) fn push(&mut self, step: Step, urgency: Urgency) {
        let (_, _, record) = &step;
        match urgency {
            Urgency::Provisional if self.bytes >= READY_BYTES_LIMIT => {
                self.left_out = self.left_out.saturating_add(1);
            }
            Urgency::Provisional | Urgency::Standing => {
                self.bytes += record.payload_len();
                self.steps.push_back(step);
            }
        }
    }

    /// The result that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        self.bytes = self.bytes.saturating_sub(step.2.payload_len());
        Some(step)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Results that were left out.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use headland_event::EventTime;

    use super::*;

    fn step(bytes: usize) -> Step {
        let record = Record::new(EventTime::from_millis(0), "", vec![0; bytes]);
        (Progress::default(), TopicName::new("n").unwrap(), record)
    }

    #[test]
    fn beyond_the_bound_provisional_results_are_left_out_and_counted_and_others_wait() {
        let mut ready = Ready::default();
        ready.push(step(READY_BYTES_LIMIT), Urgency::Provisional);

        ready.push(step(1), Urgency::Provisional);
        ready.push(step(1), Urgency::Standing);

        assert_eq!((ready.left_out(), ready.steps.len()), (1, 2));
        assert!(ready.pop().is_some());
        ready.push(step(1), Urgency::Provisional);
        assert_eq!((ready.left_out(), ready.steps.len()), (1, 2));
    }
}
