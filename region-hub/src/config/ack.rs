//! When records are acknowledged to who sent them.

use headland_event::limits::LINKS_LIMIT;
use serde::Deserialize;

/// Where a record has to be on disk before it is acknowledged: `"local"` or `"regions(2)"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Ack {
    /// At this hub.
    #[default]
    Local,
    /// In so many regions, this one among them; at least two.
    Regions(usize),
}

/// A text that says no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is neither \"local\" nor \"regions(n)\" with n from 2 to {limit}")]
pub struct AckError {
    /// The text as found.
    pub found: String,
    /// Most regions: this one and as many as a hub links to.
    pub limit: usize,
}

impl Ack {
    /// How many regions have to hold a record.
    #[must_use]
    pub const fn regions(self) -> usize {
        match self {
            Self::Local => 1,
            Self::Regions(regions) => regions,
        }
    }
}

impl TryFrom<String> for Ack {
    type Error = AckError;

    fn try_from(text: String) -> Result<Self, AckError> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let limit = LINKS_LIMIT + 1;
        let number = text.strip_prefix("regions(").and_then(|rest| rest.strip_suffix(')'));
        let regions = number.and_then(|number| number.parse().ok());
        let regions = regions.filter(|regions| (2..=limit).contains(regions));
        regions.map(Self::Regions).ok_or(AckError { found: text, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_acknowledged_by_this_hub_or_by_two_regions_and_more() {
        let of = |text: &str| Ack::try_from(text.to_owned());

        assert_eq!(of("local"), Ok(Ack::Local));
        assert_eq!(of("regions(2)"), Ok(Ack::Regions(2)));
        assert_eq!(of("regions(33)"), Ok(Ack::Regions(33)));
        for found in ["regions(1)", "regions(34)", "regions()", "regions(2", "all"] {
            let found = found.to_owned();
            assert_eq!(of(&found), Err(AckError { found, limit: 33 }));
        }
    }
}
