//! Profiles of known networks, by name: the files of `infra/wan`.

use thiserror::Error;

use crate::profile::Profile;

/// A profile's text could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No network has this name.
    #[error("no profile is called {name:?}; there are {}", names().join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The text is no profile.
    #[error("cannot read the profile {name}")]
    Malformed {
        /// The profile's name or file.
        name: String,
        /// What is wrong with it, and where.
        source: Box<toml::de::Error>,
    },
}

/// Name and text of each.
const PROFILES: [(&str, &str); 7] = [
    ("lan", include_str!("../../infra/wan/lan.toml")),
    ("metro", include_str!("../../infra/wan/metro.toml")),
    ("continental", include_str!("../../infra/wan/continental.toml")),
    ("intercontinental", include_str!("../../infra/wan/intercontinental.toml")),
    ("cellular", include_str!("../../infra/wan/cellular.toml")),
    ("satellite", include_str!("../../infra/wan/satellite.toml")),
    ("lossy", include_str!("../../infra/wan/lossy.toml")),
];

/// The names, from near to far.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PROFILES.iter().map(|(name, _)| *name).collect()
}

impl Profile {
    /// The profile of a known network.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`], which lists the names there are.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        let found = PROFILES.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| ProfileError::Unknown { name: name.into() })?;
        Self::parse(name, text)
    }

    /// Reads a profile's text; `name` is for the error.
    ///
    /// # Errors
    /// [`ProfileError::Malformed`] with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        toml::from_str(text).map_err(|source| ProfileError::Malformed {
            name: name.into(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quantity::{Chance, QueueSize, Rate};

    #[test]
    fn every_profile_of_the_catalogue_is_readable() {
        for name in names() {
            assert!(Profile::named(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_long_profiles_have_the_round_trips_they_are_named_for() {
        for (name, millis) in [("continental", 80), ("intercontinental", 160)] {
            let Profile { to_target, from_target } = Profile::named(name).unwrap();

            assert_eq!(to_target.delay + from_target.delay, Duration::from_millis(millis));
            assert_eq!(to_target.rate, Rate::bits_per_second(400_000_000));
            assert_eq!(to_target.queue, QueueSize::Time(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn the_cellular_profile_is_slower_up_than_down() {
        let profile = Profile::named("cellular").unwrap();

        assert_eq!(profile.to_target.rate, Rate::bits_per_second(5_000_000));
        assert_eq!(profile.from_target.rate, Rate::bits_per_second(20_000_000));
        assert_eq!(profile.to_target.loss, Chance::parts_per_million(5_000));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let error = Profile::named("mars").unwrap_err();

        assert_eq!(
            error.to_string(),
            "no profile is called \"mars\"; there are lan, metro, continental, intercontinental, \
             cellular, satellite, lossy"
        );
    }
}
