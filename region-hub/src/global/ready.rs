//! Results that wait to be written, and what is left out when they are too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headland_event::ByteCount;

use super::results::Made;

/// Bytes of results that wait beyond which provisional ones are left out, since what they say is
/// said again by a later one or the final one; and beyond which a result takes the place of the one
/// before it of its rule, key and window, which is not said then. Less leaves out more revisions;
/// more costs memory.
const READY_BYTES_LIMIT: usize = 16 << 20;

/// Bytes of results that wait beyond which the hub takes no further rows of what rules read from
/// its links: whoever sent them has them still. With one result of each rule, key and window that
/// is not final, and the final ones, memory is bounded by this and what is on its way to the log.
const BEHIND_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(64);

/// Bytes that a result takes beside its key, value and headers: the record, its mark and its places
/// in two maps.
const OVERHEAD_BYTES: usize = 512;

/// Whether a result may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Another will say it again.
    Provisional,
    /// It takes back what was said, or is the last word so far: a later one may take its place.
    Standing,
    /// It is final: said once, whatever comes behind it.
    Final,
}

/// Results that are not taken yet.
#[derive(Debug)]
pub(super) struct Ready {
    /// In their order, by numbers that count up.
    results: BTreeMap<u64, Made>,
    next: u64,
    /// The last of each rule and record key that a later one may take the place of.
    last: BTreeMap<(Arc<str>, Bytes), u64>,
    bytes: usize,
    bytes_limit: usize,
    behind_limit: ByteCount,
    left_out: u64,
    replaced: u64,
}

impl Default for Ready {
    fn default() -> Self {
        Self::of_at_most(READY_BYTES_LIMIT, BEHIND_BYTES_LIMIT)
    }
}

impl Ready {
    /// Leaves out what may be beyond `bytes_limit`, and is behind at `behind_limit`.
    pub(super) fn of_at_most(bytes_limit: usize, behind_limit: ByteCount) -> Self {
        let (results, last) = (BTreeMap::new(), BTreeMap::new());
        let (next, bytes, left_out, replaced) = (0, 0, 0, 0);
        Self { results, next, last, bytes, bytes_limit, behind_limit, left_out, replaced }
    }

    /// Adds a result behind the others, or leaves out this one or one that it takes the place of.
    pub(super) fn push(&mut self, made: Made) {
        let is_full = self.bytes >= self.bytes_limit;
        if is_full && made.urgency == Urgency::Provisional {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let key = (made.rule.clone(), made.record.key.clone().unwrap_or_default());
        let before = match made.urgency {
            Urgency::Provisional | Urgency::Standing => self.last.insert(key, self.next),
            // What was said before it may go, and what comes behind it stands beside it.
            Urgency::Final => self.last.remove(&key),
        };
        if is_full && let Some(before) = before.and_then(|before| self.results.remove(&before)) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&before));
            self.replaced = self.replaced.saturating_add(1);
        }
        self.bytes += bytes_of(&made);
        self.results.insert(self.next, made);
        self.next += 1;
    }

    /// The result that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Made> {
        let (number, made) = self.results.pop_first()?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&made));
        let key = (made.rule.clone(), made.record.key.clone().unwrap_or_default());
        if self.last.get(&key) == Some(&number) {
            self.last.remove(&key);
        }
        Some(made)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Behind every result that was added so far.
    pub(super) const fn end(&self) -> u64 {
        self.next
    }

    /// Whether every result before `end` was taken, or another will be in its place.
    pub(super) fn is_taken(&self, end: u64) -> bool {
        self.results.first_key_value().is_none_or(|(number, _)| *number >= end)
    }

    /// Whether as many wait as may.
    pub(super) fn is_behind(&self) -> bool {
        u64::try_from(self.bytes).is_ok_and(|bytes| bytes >= self.behind_limit.get())
    }

    /// Provisional results that were left out.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Results that a later one took the place of.
    pub(super) const fn replaced(&self) -> u64 {
        self.replaced
    }
}

/// What a result that waits takes of memory, about.
fn bytes_of(made: &Made) -> usize {
    made.record.payload_len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use headland_event::{AlertId, EventTime, Record, TopicName};

    use super::*;
    use crate::global::written::Mark;

    const LIMIT: usize = 2_000;

    fn ready() -> Ready {
        Ready::of_at_most(LIMIT, ByteCount::new(3_000))
    }

    fn made(key: &str, bytes: usize, urgency: Urgency) -> Made {
        let mut record = Record::new(EventTime::from_millis(0), "", vec![0; bytes]);
        record.key = Some(key.to_owned().into());
        let mark = Mark::new(AlertId::derive("n", "", ""));
        Made { rule: "n".into(), topic: TopicName::new("n").unwrap(), record, urgency, mark }
    }

    fn waiting(ready: &mut Ready) -> Vec<(String, usize)> {
        let all = std::iter::from_fn(|| ready.pop());
        let named = all.map(|made| {
            let key = String::from_utf8(made.record.key.unwrap().to_vec()).unwrap();
            (key, made.record.value.unwrap().len())
        });
        named.collect()
    }

    fn named(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(key, bytes)| ((*key).to_owned(), *bytes)).collect()
    }

    #[test]
    fn beyond_the_bound_provisional_results_are_left_out_and_counted_and_others_wait() {
        let mut ready = ready();
        ready.push(made("a", LIMIT, Urgency::Provisional));

        ready.push(made("b", 1, Urgency::Provisional));
        ready.push(made("c", 1, Urgency::Standing));

        assert_eq!((ready.left_out(), ready.results.len()), (1, 2));
        assert!(ready.pop().is_some());
        ready.push(made("b", 1, Urgency::Provisional));
        assert_eq!((ready.left_out(), ready.results.len()), (1, 2));
    }

    #[test]
    fn below_the_bound_every_correction_is_said() {
        let mut ready = ready();

        [1, 2, 3].into_iter().for_each(|bytes| ready.push(made("a", bytes, Urgency::Standing)));

        assert_eq!(ready.replaced(), 0);
        assert_eq!(waiting(&mut ready), named(&[("a", 1), ("a", 2), ("a", 3)]));
    }

    #[test]
    fn beyond_the_bound_only_the_last_correction_of_a_window_waits_and_what_is_final_stays() {
        let mut ready = ready();
        ready.push(made("a", 1, Urgency::Provisional));
        ready.push(made("big", LIMIT, Urgency::Final));
        ready.push(made("a", 2, Urgency::Final));
        for bytes in 3..1_000 {
            ready.push(made("a", bytes % 7, Urgency::Standing));
            ready.push(made("b", bytes % 5, Urgency::Standing));
        }

        assert_eq!(ready.replaced(), 1 + 2 * 996);
        let expected = [("big", LIMIT), ("a", 2), ("a", 999 % 7), ("b", 999 % 5)];
        assert_eq!(waiting(&mut ready), named(&expected));
        assert_eq!((ready.bytes, ready.last.len()), (0, 0));
    }

    #[test]
    fn results_are_taken_up_to_an_end_when_those_before_it_are_whatever_comes_behind() {
        let mut ready = ready();
        assert!(ready.is_taken(ready.end()));
        ["a", "b"].into_iter().for_each(|key| ready.push(made(key, 1, Urgency::Final)));
        let end = ready.end();
        ready.push(made("c", 1, Urgency::Final));

        let taken = [0, 1, 2].map(|_| {
            let before = ready.is_taken(end);
            assert!(ready.pop().is_some());
            before
        });

        assert_eq!(taken, [false, false, true]);
    }

    #[test]
    fn results_without_a_value_take_memory_too() {
        let mut ready = ready();

        (0..6).for_each(|_| ready.push(made("a", 0, Urgency::Final)));

        assert!(ready.is_behind());
    }

    #[test]
    fn the_hub_is_behind_while_as_much_waits_as_may() {
        let mut ready = ready();
        ready.push(made("a", 3_000, Urgency::Final));

        assert!(ready.is_behind());
        assert!(ready.pop().is_some());
        assert!(!ready.is_behind());
    }
}
