//! What a path does to datagrams.
//!
//! Profiles of known networks are TOML files in `infra/wan`.

use std::time::Duration;

use serde::Deserialize;

use crate::quantity::{self, Chance, QueueSize, Rate};

/// Both directions of an emulated network between clients and the target of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// From the clients to the target.
    pub to_target: PathProfile,
    /// From the target back to the clients.
    pub from_target: PathProfile,
}

/// One direction. The default passes everything on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathProfile {
    /// One-way propagation delay, default 0.
    #[serde(deserialize_with = "quantity::deserialize_duration")]
    pub delay: Duration,
    /// Each datagram takes up to this much longer, uniformly, default 0. Datagrams nearer to each
    /// other than the jitter may overtake, as on a real path.
    #[serde(deserialize_with = "quantity::deserialize_duration")]
    pub jitter: Duration,
    /// How often a datagram is lost, default 0%.
    pub loss: Chance,
    /// How often a datagram arrives twice, default 0%.
    pub duplication: Chance,
    /// How fast datagrams leave, default without limit.
    pub rate: Option<Rate>,
    /// How much waits for the rate before more is dropped, default 1 MiB. Much more than one
    /// bandwidth-delay product shows as latency instead of loss; much less starves a fast sender.
    pub queue: QueueSize,
}

impl Default for PathProfile {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Chance::default(),
            duplication: Chance::default(),
            rate: None,
            queue: QueueSize::bytes(1 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERCONTINENTAL: &str = include_str!("../../infra/wan/intercontinental.toml");
    const CELLULAR: &str = include_str!("../../infra/wan/cellular.toml");

    #[test]
    fn the_intercontinental_profile_is_the_same_both_ways() {
        let path = PathProfile {
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(2),
            loss: Chance::parts_per_million(1_000),
            duplication: Chance::default(),
            rate: Rate::bits_per_second(400_000_000),
            queue: QueueSize::bytes(4 << 20),
        };

        let profile: Profile = toml::from_str(INTERCONTINENTAL).unwrap();

        assert_eq!(profile, Profile { to_target: path, from_target: path });
    }

    #[test]
    fn the_cellular_profile_is_slower_up_than_down() {
        let profile: Profile = toml::from_str(CELLULAR).unwrap();

        assert_eq!(profile.to_target.rate, Rate::bits_per_second(5_000_000));
        assert_eq!(profile.from_target.rate, Rate::bits_per_second(20_000_000));
        assert_eq!(profile.to_target.loss, Chance::parts_per_million(10_000));
    }

    #[test]
    fn what_a_profile_leaves_out_shapes_nothing() {
        let profile: Profile = toml::from_str("to_target = {}\nfrom_target = {}").unwrap();

        assert_eq!(profile, Profile::default());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<PathProfile>("latency = \"4ms\"").unwrap_err();

        assert!(error.to_string().contains("unknown field `latency`"), "{error}");
    }
}
