//! How long nothing arrived.

use std::time::Duration;

use serde_json::{Value, json};

/// Shorter pauses are those of the disk and of batches.
const SHORTEST: Duration = Duration::from_millis(20);

/// Pauses that are kept, most; later ones are as good as none, which a scenario's limits would show
/// as too long a pause before them.
const PAUSES: usize = 10_000;

/// Every pause between two arrivals, by the machine's monotonic clock.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Silences {
    last: Option<Duration>,
    pauses: Vec<(Duration, Duration)>,
}

impl Silences {
    /// Something arrived.
    pub(crate) fn end(&mut self, now: Duration) {
        if let Some(last) = self.last.replace(now)
            && now.saturating_sub(last) >= SHORTEST
            && self.pauses.len() < PAUSES
        {
            self.pauses.push((last, now));
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let micros = |at: Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        json!(self.pauses.iter().map(|(from, to)| [micros(*from), micros(*to)]).collect::<Vec<_>>())
    }

    /// Reads what another process has said; nothing when it said nothing.
    pub(crate) fn from_json(value: Option<&Value>) -> Self {
        let moment = |value: Option<&Value>| value?.as_u64().map(Duration::from_micros);
        let pause = |pause: &Value| Some((moment(pause.get(0))?, moment(pause.get(1))?));
        let pauses = value.and_then(Value::as_array).into_iter().flatten().filter_map(pause);
        Self { last: None, pauses: pauses.collect() }
    }

    /// How long after `moment` the first arrival was: 0 when it fell into no pause.
    pub(crate) fn first_after(&self, moment: Duration) -> Duration {
        let pause = self.pauses.iter().find(|(from, to)| *from <= moment && moment < *to);
        pause.map_or(Duration::ZERO, |(_, to)| to.saturating_sub(moment))
    }

    /// The longest pause of which a part lies between two moments.
    pub(crate) fn longest(&self, from: Duration, to: Duration) -> Duration {
        let within = self.pauses.iter().filter(|pause| pause.1 > from && pause.0 < to);
        within.map(|(from, to)| to.saturating_sub(*from)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_arrival_after_a_moment_ends_the_pause_around_it() {
        let mut silences = Silences::default();
        [0, 10, 1_000, 1_010, 1_060].into_iter().for_each(|ms| silences.end(at(ms)));

        let silences = Silences::from_json(Some(&silences.to_json()));

        assert_eq!(silences.first_after(at(800)), at(200));
        assert_eq!(silences.first_after(at(5)), at(0));
        assert_eq!(silences.first_after(at(1_000)), at(0));
        assert_eq!(silences.longest(at(1_005), at(2_000)), at(50));
        assert_eq!(silences.longest(at(900), at(2_000)), at(990));
    }
}
