//! What happens to the network while records are sent.

use std::thread::Scope;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_gauge as gauge;
use serde_json::{Value, json};

use crate::network::{Network, Teller};
use crate::scenario::{Change, Scenario};
use crate::silence::Silences;

/// After a change for so long a pause counts as its own, unless another change came.
const AFTERMATH: Duration = Duration::from_secs(10);

/// When each change of a scenario was made.
pub(crate) type Made<'scope> = std::thread::ScopedJoinHandle<'scope, Result<Vec<Duration>>>;

/// Makes the changes of a scenario when each is due, from now on.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    network: &Network,
    scenario: &'scope Scenario,
) -> Result<Made<'scope>> {
    let teller = network.teller();
    if teller.is_none() && !scenario.changes.is_empty() {
        bail!("there is no network to change");
    }
    let started = gauge::now();
    Ok(scope.spawn(move || {
        let teller = teller.iter().cycle();
        scenario.changes.iter().zip(teller).map(|(change, to)| make(change, to, started)).collect()
    }))
}

fn make(change: &Change, teller: &Teller, started: Duration) -> Result<Duration> {
    let due = started + Duration::from_millis(change.at_ms);
    std::thread::sleep(due.saturating_sub(gauge::now()));
    let line = serde_json::to_string(&change.tell).context("a table is text")?;
    let made = gauge::now();
    teller.tell(&line)?;
    Ok(made)
}

/// What each change did to a link, and whether that is within its limits.
pub(crate) fn conclude(
    scenario: &Scenario,
    made: &[Duration],
    silences: &Silences,
) -> (Value, bool) {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let mut is_green = made.len() == scenario.changes.len();
    let mut said = Vec::new();
    for (index, (change, at)) in scenario.changes.iter().zip(made).enumerate() {
        let until = (*at + AFTERMATH).min(made.get(index + 1).copied().unwrap_or(Duration::MAX));
        let first = ms(silences.first_after(*at));
        let longest = ms(silences.longest(*at, until));
        is_green &= change.first_ms_most.is_none_or(|most| first <= most);
        is_green &= change.silence_ms_most.is_none_or(|most| longest <= most);
        said.push(json!({
            "tell": change.tell,
            "first_record_after_ms": first,
            "longest_silence_ms": longest,
        }));
    }
    (json!(said), is_green)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heal_is_judged_by_the_first_record_behind_it() {
        let text = "records = 1\nrecord_bytes = 16\nrecords_per_second = 1\n\
            [[changes]]\nat_ms = 1\ntell = { cut = \"both\" }\n\
            [[changes]]\nat_ms = 2\ntell = { cut = \"none\" }\nfirst_ms_most = 300.0\n";
        let scenario: Scenario = toml::from_str(text).unwrap();
        let made = [Duration::from_secs(1), Duration::from_secs(2)];
        let pause = |until: u64| Silences::from_json(Some(&json!([[1_040_000, until]])));

        let (said, is_green) = conclude(&scenario, &made, &pause(2_290_000));

        assert_eq!(said[1]["first_record_after_ms"], 290.0);
        assert_eq!(said[0]["longest_silence_ms"], 1_250.0);
        assert!(is_green);
        assert!(!conclude(&scenario, &made, &pause(2_310_000)).1);
        assert!(!conclude(&scenario, &made[..1], &pause(2_290_000)).1);
    }
}
