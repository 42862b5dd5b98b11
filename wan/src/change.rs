//! What can change while a network runs, as scenarios and the control socket say it.

use std::time::Duration;

use serde::Deserialize;

use crate::path::Packet;
use crate::profile::{Bursts, PathProfile, Profile};
use crate::quantity::{self, Chance, Mtu, QueueSize, Rate};
use crate::shaper::{Cut, Shaper};

/// A change; what it leaves out stays as it is. Its parts apply in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// The name of the network that it becomes.
    pub profile: Option<NamedProfile>,
    /// What becomes different both ways.
    pub both: PathPatch,
    /// What becomes different towards the target.
    pub to_target: PathPatch,
    /// What becomes different from the target.
    pub from_target: PathPatch,
    /// Which directions are cut from now on; `none` heals.
    pub cut: Option<Cut>,
    /// Whether the clients' side gets another address towards the target.
    pub address: Option<AddressChange>,
}

/// What happens to the address under which the target sees the clients' side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressChange {
    /// It becomes another one, as when a NAT forgets or a device roams; answers to the old one
    /// are lost.
    New,
}

/// A profile of the catalogue, looked up when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamedProfile(Profile);

impl NamedProfile {
    /// The profile that the name stood for.
    #[must_use]
    pub const fn profile(self) -> Profile {
        self.0
    }
}

impl TryFrom<String> for NamedProfile {
    type Error = crate::catalogue::ProfileError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Profile::named(&name).map(Self)
    }
}

/// The fields of a [`PathProfile`] that become different; those left out stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathPatch {
    /// See [`PathProfile::delay`].
    #[serde(deserialize_with = "quantity::deserialize_some_duration")]
    pub delay: Option<Duration>,
    /// See [`PathProfile::jitter`].
    #[serde(deserialize_with = "quantity::deserialize_some_duration")]
    pub jitter: Option<Duration>,
    /// See [`PathProfile::loss`].
    pub loss: Option<Chance>,
    /// See [`PathProfile::bursts`]; replaced as a whole.
    pub bursts: Option<Bursts>,
    /// See [`PathProfile::duplication`].
    pub duplication: Option<Chance>,
    /// See [`PathProfile::reordering`].
    pub reordering: Option<Chance>,
    /// See [`PathProfile::reordering_delay`].
    #[serde(deserialize_with = "quantity::deserialize_some_duration")]
    pub reordering_delay: Option<Duration>,
    /// See [`PathProfile::rate`]; `"unlimited"` lifts it.
    #[serde(deserialize_with = "quantity::deserialize_rate_or_none")]
    pub rate: Option<Option<Rate>>,
    /// See [`PathProfile::queue`].
    pub queue: Option<QueueSize>,
    /// See [`PathProfile::mtu`].
    pub mtu: Option<Mtu>,
}

impl PathPatch {
    /// The profile with this patch on it.
    #[must_use]
    pub fn onto(self, profile: PathProfile) -> PathProfile {
        let Self {
            delay,
            jitter,
            loss,
            bursts,
            duplication,
            reordering,
            reordering_delay,
            rate,
            queue,
            mtu,
        } = self;
        PathProfile {
            delay: delay.unwrap_or(profile.delay),
            jitter: jitter.unwrap_or(profile.jitter),
            loss: loss.unwrap_or(profile.loss),
            bursts: bursts.unwrap_or(profile.bursts),
            duplication: duplication.unwrap_or(profile.duplication),
            reordering: reordering.unwrap_or(profile.reordering),
            reordering_delay: reordering_delay.unwrap_or(profile.reordering_delay),
            rate: rate.unwrap_or(profile.rate),
            queue: queue.unwrap_or(profile.queue),
            mtu: mtu.or(profile.mtu),
        }
    }
}

impl Change {
    /// A change of the paths only, both ways.
    #[must_use]
    pub fn both(patch: PathPatch) -> Self {
        Self { both: patch, ..Self::default() }
    }

    /// The profile that this change makes of one.
    #[must_use]
    pub fn onto(&self, profile: Profile) -> Profile {
        let Profile { to_target, from_target } =
            self.profile.map_or(profile, |NamedProfile(named)| named);
        Profile {
            to_target: self.to_target.onto(self.both.onto(to_target)),
            from_target: self.from_target.onto(self.both.onto(from_target)),
        }
    }
}

impl<P: Packet> Shaper<P> {
    /// Applies a change; its address is the driver's business.
    pub fn apply(&mut self, change: &Change) {
        self.set_profile(change.onto(self.profile()));
        if let Some(cut) = change.cut {
            self.set_cut(cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Change {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_change_of_one_field_leaves_the_others() {
        let lossy = Profile::named("lossy").unwrap();

        let changed = read("to_target = { delay = \"7ms\" }").onto(lossy);

        let to_target = PathProfile { delay: Duration::from_millis(7), ..lossy.to_target };
        assert_eq!(changed, Profile { to_target, ..lossy });
    }

    #[test]
    fn a_direction_has_the_last_word_over_both_and_both_over_the_profile() {
        let text = "profile = \"lan\"\nboth = { delay = \"2ms\" }\nto_target = { delay = \"3ms\" }";

        let changed = read(text).onto(Profile::default());

        assert_eq!(changed.to_target.delay, Duration::from_millis(3));
        assert_eq!(changed.from_target.delay, Duration::from_millis(2));
        assert_eq!(changed.from_target.rate, Profile::named("lan").unwrap().from_target.rate);
    }

    #[test]
    fn a_rate_can_be_lifted() {
        let changed = read("both = { rate = \"unlimited\" }").onto(Profile::named("lan").unwrap());

        assert_eq!((changed.to_target.rate, changed.from_target.rate), (None, None));
    }

    #[test]
    fn cuts_and_addresses_are_read_by_name() {
        let change = read("cut = \"to_target\"\naddress = \"new\"");

        assert_eq!(change.cut, Some(Cut::ToTarget));
        assert_eq!(change.address, Some(AddressChange::New));
    }

    #[test]
    fn a_change_that_nobody_knows_is_refused_by_name() {
        let error = toml::from_str::<Change>("cutt = \"both\"").unwrap_err();

        assert!(error.to_string().contains("unknown field `cutt`"), "{error}");
        assert!(toml::from_str::<Change>("profile = \"mars\"").is_err());
    }
}
