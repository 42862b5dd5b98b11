//! A timed list of changes, read from TOML.
//!
//! ```toml
//! profile = "continental"
//!
//! [[step]]
//! at = "10s"
//! change = { cut = "both" }
//!
//! [[step]]
//! at = "40s"
//! change = { cut = "none", to_target = { loss = "3%" } }
//! ```

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::change::{Change, NamedProfile};
use crate::profile::Profile;
use crate::quantity;

/// Steps of one scenario: one a second for a day would fit.
const STEPS_LIMIT: usize = 100_000;

/// A scenario's text could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is no scenario.
    #[error("cannot read the scenario")]
    Malformed(#[from] Box<toml::de::Error>),
    /// A step lies before the one above it.
    #[error("step {number} at {at:?} comes before the one above it, at {previous:?}")]
    Unordered {
        /// Counted from 1.
        number: usize,
        /// When it is to happen.
        at: Duration,
        /// When the one above it is to happen.
        previous: Duration,
    },
    /// More steps than are read.
    #[error("{found} steps; at most {STEPS_LIMIT} are read")]
    TooLong {
        /// How many there are.
        found: usize,
    },
}

/// What happens to a network over time: time goes in, changes come out when they are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    profile: Option<Profile>,
    steps: std::collections::VecDeque<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    profile: Option<NamedProfile>,
    #[serde(default)]
    step: Vec<Step>,
}

/// One change and its time since the network was ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(deserialize_with = "quantity::deserialize_duration")]
    at: Duration,
    change: Change,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] when it is malformed or its steps are not in order of time.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let Text { profile, step: steps } = toml::from_str(text).map_err(Box::new)?;
        if steps.len() > STEPS_LIMIT {
            return Err(ScenarioError::TooLong { found: steps.len() });
        }
        for ((number, step), previous) in (2..).zip(steps.iter().skip(1)).zip(&steps) {
            if step.at < previous.at {
                let (at, previous) = (step.at, previous.at);
                return Err(ScenarioError::Unordered { number, at, previous });
            }
        }
        Ok(Self { profile: profile.map(NamedProfile::profile), steps: steps.into() })
    }

    /// The network at the start, when the scenario names one.
    #[must_use]
    pub const fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// The next change that is due at `now`, time since the network was ready.
    pub fn poll_output(&mut self, now: Duration) -> Option<Change> {
        let is_due = self.steps.front().is_some_and(|step| step.at <= now);
        is_due.then(|| self.steps.pop_front()).flatten().map(|step| step.change)
    }

    /// When the next change is due, `None` after the last.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.steps.front().map(|step| step.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shaper::Cut;

    const TEXT: &str = "\
profile = \"continental\"
[[step]]
at = \"10s\"
change = { cut = \"both\" }
[[step]]
at = \"40s\"
change = { cut = \"none\", address = \"new\" }
";

    #[test]
    fn changes_come_out_when_they_are_due() {
        let mut scenario = Scenario::parse(TEXT).unwrap();

        assert_eq!(scenario.profile(), Profile::named("continental").ok());
        assert_eq!(scenario.poll_timeout(), Some(Duration::from_secs(10)));
        assert_eq!(scenario.poll_output(Duration::from_millis(9_999)), None);
        let cut = scenario.poll_output(Duration::from_secs(10)).unwrap();
        assert_eq!(cut.cut, Some(Cut::Both));
        assert_eq!(scenario.poll_output(Duration::from_secs(10)), None);
        let heal = scenario.poll_output(Duration::from_secs(41)).unwrap();
        assert_eq!(heal.cut, Some(Cut::None));
        assert_eq!(scenario.poll_timeout(), None);
    }

    #[test]
    fn a_step_before_the_one_above_it_is_refused_by_number() {
        let text = "[[step]]\nat = \"2s\"\nchange = {}\n[[step]]\nat = \"1s\"\nchange = {}\n";

        let error = Scenario::parse(text).unwrap_err();

        assert_eq!(error.to_string(), "step 2 at 1s comes before the one above it, at 2s");
    }

    #[test]
    fn a_step_that_says_something_unknown_is_refused_with_its_place() {
        let error = Scenario::parse("[[step]]\nat = \"1s\"\nchange = { cutt = 1 }").unwrap_err();

        let ScenarioError::Malformed(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().contains("line 3"), "{cause}");
        assert!(cause.to_string().contains("unknown field `cutt`"), "{cause}");
    }
}
