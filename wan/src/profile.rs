//! What a path does to datagrams.
//!
//! Profiles of known networks are TOML files in `infra/wan`.

use std::time::Duration;

use serde::Deserialize;

use crate::quantity::{self, Chance, Mtu, QueueSize, Rate};

/// Both directions of an emulated network.
///
/// A relay stands between clients and a target; of two namespaces, `a` is the client's side and
/// `b` the target's.
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
    /// The delay wanders by up to this much more, default 0. It wanders as queues of other
    /// traffic do, slowly enough that packets keep their order; `reordering` breaks it.
    #[serde(deserialize_with = "quantity::deserialize_duration")]
    pub jitter: Duration,
    /// How often a packet is lost on its own, default 0%.
    pub loss: Chance,
    /// Losses that come in a row, default none. They add to `loss`.
    pub bursts: Bursts,
    /// How often a packet arrives twice, default 0%.
    pub duplication: Chance,
    /// How often a packet is held back so that later ones overtake it, default 0%.
    pub reordering: Chance,
    /// How long it is held back, default 5ms.
    #[serde(deserialize_with = "quantity::deserialize_duration")]
    pub reordering_delay: Duration,
    /// How fast packets leave, default without limit. Their IP headers count.
    pub rate: Option<Rate>,
    /// How much waits for the rate before more is dropped, default 1 MiB. Much more than one
    /// bandwidth-delay product shows as latency instead of loss; much less starves a fast sender.
    pub queue: QueueSize,
    /// The largest packet with its IP header, default what the driver's devices carry.
    pub mtu: Option<Mtu>,
}

impl Default for PathProfile {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Chance::default(),
            bursts: Bursts::default(),
            duplication: Chance::default(),
            reordering: Chance::default(),
            reordering_delay: Duration::from_millis(5),
            rate: None,
            queue: QueueSize::bytes(1 << 20),
            mtu: None,
        }
    }
}

/// Losses in a row: a chain of a good and a bad state that takes one step with every packet.
///
/// The mean burst is 1/`end` packets long and the share of packets that meet the bad state is
/// `start` / (`start` + `end`).
///
/// # Source
/// Gilbert, "Capacity of a Burst-Noise Channel", 1960; Elliott, 1963. `PathProfile::loss` is the
/// loss of the good state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bursts {
    /// How often the bad state begins with a packet, default 0%: never.
    pub start: Chance,
    /// How often it ends with a packet, default 25%.
    pub end: Chance,
    /// How often a packet is lost during it, default 100%.
    pub loss: Chance,
}

impl Default for Bursts {
    fn default() -> Self {
        Self {
            start: Chance::default(),
            end: Chance::parts_per_million(250_000),
            loss: Chance::ALWAYS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_profile_leaves_out_shapes_nothing() {
        let profile: Profile = toml::from_str("to_target = {}\nfrom_target = {}").unwrap();

        assert_eq!(profile, Profile::default());
    }

    #[test]
    fn bursts_are_read_with_what_they_leave_out() {
        let path: PathProfile = toml::from_str("bursts = { start = \"0.5%\" }").unwrap();

        let bursts = Bursts { start: Chance::parts_per_million(5_000), ..Bursts::default() };
        assert_eq!(path.bursts, bursts);
    }

    #[test]
    fn an_mtu_is_a_number_of_bytes() {
        let path: PathProfile = toml::from_str("mtu = 1400").unwrap();

        assert_eq!(path.mtu, Mtu::new(1_400));
        assert!(toml::from_str::<PathProfile>("mtu = 100").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<PathProfile>("latency = \"4ms\"").unwrap_err();

        assert!(error.to_string().contains("unknown field `latency`"), "{error}");
    }
}
