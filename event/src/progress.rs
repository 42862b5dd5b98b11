//! Promises about event time and verdicts on lateness.
//!
//! Lateness is decided once, by the ingest hub's log: a record is late when its event time is at
//! or before the watermark of the promise that precedes it there. Links, partitions and backlogs
//! between hubs never make a record late, so every region agrees.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Offset, PartitionIndex, TopicName};
use crate::time::EventTime;

/// How far ahead of the ingest hub's clock an event time may be before it is called future.
pub const FUTURE_LIMIT: Duration = Duration::from_secs(60);

/// What the ingest hub decided about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the promise: the record counts.
    OnTime,
    /// At or before the promised watermark.
    Late,
    /// More than [`FUTURE_LIMIT`] ahead of the hub's clock; it moves no watermark.
    Future,
    /// It may not be published: of a device that its agent may not speak for, a decision that only
    /// operators make, or of a schema that is not registered.
    Forbidden,
    /// About a sku, or in a unit, that the list of its ingest hub does not have.
    Unlisted,
}

impl Verdict {
    /// The verdict's byte in a stamp.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::OnTime => 0,
            Self::Late => 1,
            Self::Future => 2,
            Self::Forbidden => 3,
            Self::Unlisted => 4,
        }
    }

    /// The verdict of a byte in a stamp.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::OnTime),
            1 => Some(Self::Late),
            2 => Some(Self::Future),
            3 => Some(Self::Forbidden),
            4 => Some(Self::Unlisted),
            _ => None,
        }
    }
}

/// "My events of this topic up to `watermark` lie before these ends, or are late."
///
/// It takes effect at a receiver when its positions reach `ends`, so that no lane or delay lets it
/// overtake its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The topic the promise is about: topics keep their own event clocks (ADR 0003).
    pub topic: TopicName,
    /// Up to which event time, inclusive.
    pub watermark: EventTime,
    /// The end of each of the promiser's partitions of the topic.
    pub ends: BTreeMap<PartitionIndex, Offset>,
}

/// One topic's event clock at its ingest hub: the watermark its log has promised so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventClock {
    promised: Option<EventTime>,
}

impl EventClock {
    /// A clock that has promised nothing: nothing is late.
    #[must_use]
    pub const fn new() -> Self {
        Self { promised: None }
    }

    /// The watermark promised so far.
    #[must_use]
    pub const fn watermark(&self) -> Option<EventTime> {
        self.promised
    }

    /// Raises the watermark; returns whether it rose. It never falls.
    #[must_use]
    pub fn advance(&mut self, watermark: EventTime) -> bool {
        let rises = self.promised.is_none_or(|promised| watermark > promised);
        if rises {
            self.promised = Some(watermark);
        }
        rises
    }

    /// The verdict on an event time for a record written now.
    #[must_use]
    pub fn verdict(&self, time: EventTime, now: EventTime) -> Verdict {
        if time > now.plus(FUTURE_LIMIT) {
            Verdict::Future
        } else if self.promised.is_some_and(|promised| time <= promised) {
            Verdict::Late
        } else {
            Verdict::OnTime
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime::from_millis(1_000_000);

    #[test]
    fn an_event_at_the_watermark_is_late_and_one_after_it_is_on_time() {
        let mut clock = EventClock::new();
        assert!(clock.advance(EventTime::from_millis(500)));

        assert_eq!(clock.verdict(EventTime::from_millis(500), NOW), Verdict::Late);
        assert_eq!(clock.verdict(EventTime::from_millis(501), NOW), Verdict::OnTime);
    }

    #[test]
    fn an_event_is_future_only_beyond_sixty_seconds() {
        let clock = EventClock::new();

        assert_eq!(clock.verdict(NOW.plus(FUTURE_LIMIT), NOW), Verdict::OnTime);
        let beyond = NOW.plus(FUTURE_LIMIT).plus(Duration::from_millis(1));
        assert_eq!(clock.verdict(beyond, NOW), Verdict::Future);
    }

    #[test]
    fn the_watermark_never_falls() {
        let mut clock = EventClock::new();

        assert!(clock.advance(EventTime::from_millis(9)));
        assert!(!clock.advance(EventTime::from_millis(8)));
        assert!(!clock.advance(EventTime::from_millis(9)));
        assert_eq!(clock.watermark(), Some(EventTime::from_millis(9)));
    }

    #[test]
    fn every_verdict_survives_its_code() {
        use Verdict::{Forbidden, Future, Late, OnTime, Unlisted};
        for verdict in [OnTime, Late, Future, Forbidden, Unlisted] {
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
        }
        assert_eq!(Verdict::from_code(5), None);
    }
}
