//! Topics: lanes and mirrored names.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Alias, NameError, RegionId, TopicName};

/// The class of service of a topic on links, for life; an earlier lane goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The link's own frames.
    Control,
    /// Alerts: they never queue behind bulk.
    Alerts,
    /// State: inventory, promises.
    State,
    /// Everything else.
    Telemetry,
}

impl Lane {
    /// Every lane, first to last.
    pub const ALL: [Self; 4] = [Self::Control, Self::Alerts, Self::State, Self::Telemetry];

    /// The lane's byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Alerts => 1,
            Self::State => 2,
            Self::Telemetry => 3,
        }
    }

    /// The lane of a byte on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Control),
            1 => Some(Self::Alerts),
            2 => Some(Self::State),
            3 => Some(Self::Telemetry),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Alerts => "alerts",
            Self::State => "state",
            Self::Telemetry => "telemetry",
        })
    }
}

/// The local name of a topic mirrored from `source`: `<source>.<topic>`.
///
/// The prefix is only a view; origin and path are in the topic's metadata, and nobody splits the
/// name to learn them.
///
/// # Errors
/// [`NameError`] when the name becomes longer than a topic's name may be.
///
/// # Source
/// MirrorMaker 2's `DefaultReplicationPolicy`, KIP-382.
pub fn mirrored_name(source: &RegionId, topic: &TopicName) -> Result<TopicName, NameError> {
    aliased_name(&Alias::from(source), topic)
}

/// The same where a hub calls the source something else: `<alias>.<topic>`.
///
/// # Errors
/// [`NameError`] when the name becomes longer than a topic's name may be.
pub fn aliased_name(alias: &Alias, topic: &TopicName) -> Result<TopicName, NameError> {
    TopicName::new(&format!("{alias}.{topic}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_topic_is_named_after_its_source() {
        let topic = TopicName::new("inventory.events").unwrap();

        let name = mirrored_name(&RegionId::new("eu").unwrap(), &topic).unwrap();

        assert_eq!(name.as_str(), "eu.inventory.events");
        let alias = Alias::new("eu.west").unwrap();
        assert_eq!(aliased_name(&alias, &topic).unwrap().as_str(), "eu.west.inventory.events");
    }

    #[test]
    fn every_lane_survives_its_code() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_code(lane.code()), Some(lane));
        }
        assert_eq!(Lane::from_code(4), None);
    }
}
