//! When a recorded moment is played: opening hours scaled to the run, closed hours skipped.

use std::time::Duration;

use headland_event::EventTime;

/// A recorded pause longer than this, a night or a Sunday, is played as this long. Devices whose
/// clock is wrong and deliveries that come twice need less, so nothing is moved across a pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);

/// Maps recorded time to time since the start of the run.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Recorded moments and how much opening time lies before each, rising in both.
    points: Vec<(EventTime, Duration)>,
    span: Duration,
    play: Duration,
}

impl Pace {
    /// A pace of moments in their order, at first as they were recorded.
    pub(super) fn new(times: impl IntoIterator<Item = EventTime>) -> Self {
        let mut points: Vec<(EventTime, Duration)> = Vec::new();
        for time in times {
            let before = points.last().copied();
            match before {
                Some((last, _)) if time <= last => {}
                Some((last, span)) => points.push((time, span + pause(last, time))),
                None => points.push((time, Duration::ZERO)),
            }
        }
        debug_assert!(points.is_sorted(), "moments come in their order");
        let span = points.last().map_or(Duration::ZERO, |(_, span)| *span);
        Self { points, span, play: span }
    }

    /// The opening time of all moments, as recorded.
    pub(super) const fn span(&self) -> Duration {
        self.span
    }

    /// The same moments played in `play`.
    pub(super) fn played_in(self, play: Duration) -> Self {
        Self { play, ..self }
    }

    /// When `time` is played: never earlier than an earlier time, never after the end.
    pub(super) fn due(&self, time: EventTime) -> Duration {
        let at = self.points.partition_point(|(point, _)| *point <= time);
        let Some((point, before)) = at.checked_sub(1).and_then(|at| self.points.get(at)) else {
            return Duration::ZERO;
        };
        let open = *before + pause(*point, time);
        let nanos = open.as_nanos().saturating_mul(self.play.as_nanos());
        let due = nanos / self.span.as_nanos().max(1);
        Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX)).min(self.play)
    }
}

fn pause(from: EventTime, to: EventTime) -> Duration {
    let millis = u64::try_from(to.millis_since(from)).unwrap_or_default();
    Duration::from_millis(millis).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn pace() -> Pace {
        let times = [0, HOUR / 4, HOUR / 4, HOUR / 2, 14 * HOUR].map(EventTime::from_millis);
        Pace::new(times).played_in(Duration::from_secs(6))
    }

    #[test]
    fn opening_hours_are_scaled_and_a_night_is_half_an_hour() {
        let due = |millis| pace().due(EventTime::from_millis(millis));

        assert_eq!(pace().span(), Duration::from_secs(3_600));
        assert_eq!(due(HOUR / 2), Duration::from_secs(3));
        assert_eq!(due(14 * HOUR), Duration::from_secs(6));
    }

    #[test]
    fn a_moment_within_a_pause_is_not_played_after_the_pause() {
        let due = |millis| pace().due(EventTime::from_millis(millis));

        assert_eq!(due(HOUR / 2 + HOUR / 4), Duration::from_millis(4_500));
        assert_eq!(due(9 * HOUR), due(14 * HOUR));
        assert_eq!(due(-HOUR), Duration::ZERO);
    }
}
