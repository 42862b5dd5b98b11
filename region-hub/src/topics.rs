//! The hub's topics: which exist, where they come from, and which are offered to other hubs.
//!
//! Origin and path are kept with the topic, so a loop or a look-alike is decided on them and never
//! by splitting a name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::TOPICS_LIMIT;
use headland_event::{AgentName, Lane, NameError, PartitionIndex, RegionId, TopicName};
use headland_replication::Offer;
use headland_replication::frame::HOPS_LIMIT;
use serde::Serialize;

use crate::config::TopicConfig;
use crate::peer_link::agent_partition;
use crate::records::alerts_topic;

/// What copies are called: by what they are, never the other way round.
mod names;

const VERSION: u8 = 2;
/// The layout of a topic that has one name.
const VERSION_1: u8 = 1;

/// Most partitions of one topic; each costs an index on every hub that mirrors it.
pub const PARTITIONS_LIMIT: u32 = 1_024;

/// Derived tables of which a row changes; of the others almost each record has its own key.
const CHANGING: [&str; 4] =
    ["inventory.stock", "inventory.oversold", "inventory.late", "inventory.overlaps"];

/// Whether a topic is a derived table whose rows change.
pub(crate) fn is_changing_table(topic: &TopicName) -> bool {
    CHANGING.contains(&topic.as_str())
}

/// What a hub derives from inventory, each in `inventory.<name>`.
const DERIVED: [&str; 8] =
    ["stock", "oversold", "postings", "conflicts", "late", "overlaps", "duplicates", "rejected"];

/// Whether a topic is a table that each hub derives from inventory, or the dead letters of one.
pub(crate) fn is_derived(name: &str) -> bool {
    let table = name.strip_prefix("inventory.");
    table.is_some_and(|table| DERIVED.contains(&table.strip_suffix(".dead").unwrap_or(table)))
}

/// What names of topics begin with that hold what was [handed on](Topic::is_apart).
const APART: &str = "handed-on";

/// The topic of a topic's dead letters.
///
/// # Errors
/// [`NameError`] when the name would be too long.
pub fn dead_topic(topic: &TopicName) -> Result<TopicName, NameError> {
    TopicName::new(&format!("{topic}.dead"))
}

/// What topics bring with them; it is kept for as long as they are, and as safe.
const COMPANIONS: [&str; 2] = [".dead", ".late"];

/// The topic that one came with; `None` when it came by itself.
pub(crate) fn base_topic(topic: &TopicName) -> Option<TopicName> {
    let base = COMPANIONS.iter().find_map(|companion| topic.as_str().strip_suffix(companion));
    TopicName::new(base?).ok()
}

/// Whether a topic is offered to other hubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Replication {
    /// Offered to every peer that it has not come from.
    Offered,
    /// Kept here: every hub derives its own.
    Kept,
}

/// A topic and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name at this hub, for good: its log, and who it is offered to, have it by this name.
    pub name: TopicName,
    /// Other names that it is found by here, the newest last: its prefix is called that, or was.
    pub also: Vec<TopicName>,
    /// Its lane on links.
    pub lane: Lane,
    /// How many partitions it has.
    pub partitions: u32,
    /// The region it was born in.
    pub origin: RegionId,
    /// Its name there.
    pub origin_name: TopicName,
    /// The regions it came through before this one, the origin first; empty for a local topic.
    pub path: Vec<RegionId>,
    /// Whether it is offered to other hubs.
    pub replication: Replication,
}

impl Topic {
    /// Whether the topic was born at this hub.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.path.is_empty()
    }

    /// Whether it holds what this hub lacked of a region's logs and others handed on: of several
    /// lives and from several hubs, each record once.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        !self.is_local() && self.replication == Replication::Kept
    }

    /// Whether it holds what former lives of this hub's own region wrote of a topic that hubs need
    /// not hold alike, and others [gave back](Topics::take_back). Unlike others that are
    /// [apart](Self::is_apart) it is a mirror of that topic, part by part.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.is_apart() && self.path.len() == 1
    }

    /// Whether others gave its partitions their order: it holds what the region it was born in
    /// wrote, part by part.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        !self.is_local() && (!self.is_apart() || self.is_given_back())
    }

    /// Whether hubs write it for each other: promises, statements, members, committed offsets,
    /// settings.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.origin_name.as_str().starts_with('_')
    }

    /// The topic in the state `topics`: version, lane, partitions, replication, names, path, and
    /// what else it is called; nothing of that where there is none, as in the first version.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { name, also, lane, partitions, origin, origin_name, path, replication } = self;
        let mut writer = Writer::new();
        writer.u8(if also.is_empty() { VERSION_1 } else { VERSION });
        writer.u8(lane.code());
        writer.u32(*partitions);
        writer.u8(match replication {
            Replication::Offered => 1,
            Replication::Kept => 0,
        });
        writer.name(name.as_str());
        writer.name(origin.as_str());
        writer.name(origin_name.as_str());
        writer.length(path.len());
        for region in path {
            writer.name(region.as_str());
        }
        if !also.is_empty() {
            writer.length(also.len());
            also.iter().for_each(|other| writer.name(other.as_str()));
        }
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range.
    pub fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let code = |field, at, found, expected| CodecError::Value { field, at, found, expected };
        let version = reader.u8("topic version")?;
        if !(VERSION_1..=VERSION).contains(&version) {
            return Err(code("topic version", 0, i64::from(version), "1 or 2"));
        }
        let lane = reader.u8("topic lane")?;
        let lane = Lane::from_code(lane)
            .ok_or_else(|| code("topic lane", 1, i64::from(lane), "0 to 3"))?;
        let partitions = reader.u32("topic partitions")?;
        let replication = match reader.u8("topic replication")? {
            0 => Replication::Kept,
            1 => Replication::Offered,
            other => return Err(code("topic replication", 6, i64::from(other), "0 or 1")),
        };
        let name = reader.name("topic name")?;
        let origin = reader.name("topic origin")?;
        let origin_name = reader.name("topic name at its origin")?;
        let hops = reader.length("topic path", HOPS_LIMIT)?;
        let path = (0..hops).map(|_| reader.name("topic path")).collect::<Result<Vec<_>, _>>()?;
        let others = match version {
            VERSION_1 => 0,
            _ => reader.length("other names of a topic", names::ALSO_LIMIT)?,
        };
        let also = (0..others).map(|_| reader.name("other name of a topic"));
        let also = also.collect::<Result<Vec<_>, _>>()?;
        reader.end()?;
        Ok(Self { name, also, lane, partitions, origin, origin_name, path, replication })
    }
}

/// Why a topic could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// There are as many topics as a node may have.
    #[error("topic {name} would be one more than the limit of {limit}")]
    TooMany {
        /// The topic refused.
        name: TopicName,
        /// Most topics.
        limit: usize,
    },
    /// More partitions than a topic may have, or none.
    #[error("topic {name} has {found} partitions, expected 1 to {PARTITIONS_LIMIT}")]
    Partitions {
        /// The topic refused.
        name: TopicName,
        /// Its partitions.
        found: u32,
    },
    /// A topic of that name with another origin exists.
    #[error(
        "topic {name} exists with origin {origin}, and another one of that name has {found}; a \
         topic that is declared here cannot have the name of a copy that is here already"
    )]
    Origin {
        /// The topic refused.
        name: TopicName,
        /// Origin of the existing one.
        origin: RegionId,
        /// Origin announced.
        found: RegionId,
    },
    /// Too many topics want the same name.
    #[error("{limit} other topics are called {name} here, with numbers; rename one of them")]
    Namesakes {
        /// The name.
        name: TopicName,
        /// Most topics of a name.
        limit: u32,
    },
    /// The name does not fit.
    #[error("the topic cannot be named")]
    Name(#[from] NameError),
}

/// Every topic of a hub.
#[derive(Debug, Clone)]
pub struct Topics {
    region: RegionId,
    topics: BTreeMap<TopicName, Topic>,
    /// Names that no copy is to have.
    reserved: BTreeSet<TopicName>,
    /// Where agents go on that wrote a topic before it grew.
    assigned: BTreeMap<(AgentName, TopicName), PartitionIndex>,
}

impl Topics {
    /// The topics every hub of a region has, and the declared ones.
    ///
    /// # Errors
    /// [`TopicError`] when a declared topic has no or too many partitions, or there are too many.
    pub fn new(region: &RegionId, declared: &[TopicConfig]) -> Result<Self, TopicError> {
        let (region, assigned, reserved) = (region.clone(), BTreeMap::new(), BTreeSet::new());
        let mut topics = Self { region, topics: BTreeMap::new(), reserved, assigned };
        // First, so that it keeps its lane where it is declared for its retention.
        let alerts = alerts_topic();
        topics.add_local(alerts.as_str(), Lane::Alerts, 8, Replication::Offered)?;
        for TopicConfig { name, lane, partitions, .. } in declared {
            topics.add_local(name.as_str(), *lane, *partitions, Replication::Offered)?;
            let dead = dead_topic(name)?;
            topics.add_local(dead.as_str(), Lane::Telemetry, *partitions, Replication::Offered)?;
            let late = format!("{name}.late");
            topics.add_local(&late, Lane::Telemetry, *partitions, Replication::Offered)?;
        }
        topics.add_local("alerts.dead", Lane::Telemetry, 8, Replication::Offered)?;
        topics.add_local("_promises", Lane::State, 1, Replication::Offered)?;
        topics.add_local("_audit", Lane::Telemetry, 8, Replication::Offered)?;
        topics.add_local("_groups", Lane::State, 1, Replication::Offered)?;
        topics.add_local("_settings", Lane::State, 1, Replication::Offered)?;
        for derived in DERIVED {
            let name = format!("inventory.{derived}");
            topics.add_local(&name, Lane::State, 1, Replication::Kept)?;
            let dead = format!("{name}.dead");
            topics.add_local(&dead, Lane::Telemetry, 1, Replication::Kept)?;
        }
        Ok(topics)
    }

    /// Adds the log of this hub's rights to sell.
    ///
    /// # Errors
    /// [`TopicError`] when there are too many topics.
    pub fn add_escrow(&mut self) -> Result<(), TopicError> {
        let name = crate::escrow::escrow_topic();
        self.add_local(name.as_str(), Lane::State, 1, Replication::Offered)
    }

    /// Adds the topic that says that this hub is there.
    ///
    /// # Errors
    /// [`TopicError`] when there are too many topics.
    pub fn add_heartbeats(&mut self) -> Result<(), TopicError> {
        let name = crate::records::heartbeats_topic();
        self.add_local(name.as_str(), Lane::Telemetry, 1, Replication::Offered)
    }

    /// Adds what this hub says about who takes part.
    ///
    /// # Errors
    /// [`TopicError`] when there are too many topics.
    pub fn add_members(&mut self) -> Result<(), TopicError> {
        let name = crate::members::members_topic();
        // What an operator says of a region is what inventory of the lane below may wait for.
        self.add_local(name.as_str(), Lane::Alerts, 1, Replication::Offered)
    }

    /// Adds the topic that a rule over several regions writes its results to: every hub has its
    /// own.
    ///
    /// # Errors
    /// [`TopicError`] when there are too many topics, or the name of its dead letters does not fit.
    pub fn add_results(&mut self, name: &TopicName) -> Result<(), TopicError> {
        self.add_local(name.as_str(), Lane::State, 1, Replication::Kept)?;
        let dead = dead_topic(name)?;
        self.add_local(dead.as_str(), Lane::Telemetry, 1, Replication::Kept)
    }

    fn add_local(
        &mut self,
        name: &str,
        lane: Lane,
        partitions: u32,
        replication: Replication,
    ) -> Result<(), TopicError> {
        let name = TopicName::new(name)?;
        let origin = self.region.clone();
        let (origin_name, path, also) = (name.clone(), Vec::new(), Vec::new());
        self.add(Topic { name, also, lane, partitions, origin, origin_name, path, replication })
    }

    /// Adds a topic, or grows the partitions of one that exists.
    ///
    /// # Errors
    /// [`TopicError`] when a limit is passed or the existing one has another origin.
    pub fn add(&mut self, mut topic: Topic) -> Result<(), TopicError> {
        if topic.partitions == 0 || topic.partitions > PARTITIONS_LIMIT {
            return Err(TopicError::Partitions { name: topic.name, found: topic.partitions });
        }
        if let Some(known) = self.topics.get_mut(&topic.name) {
            if (&known.origin, &known.origin_name) != (&topic.origin, &topic.origin_name) {
                return Err(TopicError::Origin {
                    name: topic.name,
                    origin: known.origin.clone(),
                    found: topic.origin,
                });
            }
            known.partitions = known.partitions.max(topic.partitions);
            return Ok(());
        }
        self.drop_other(&topic.name);
        topic.also.retain(|other| !self.topics.contains_key(other));
        if self.topics.len() >= TOPICS_LIMIT {
            return Err(TopicError::TooMany { name: topic.name, limit: TOPICS_LIMIT });
        }
        self.topics.insert(topic.name.clone(), topic);
        Ok(())
    }

    /// Adds or grows the local topic of an offer that was checked; says its name here and
    /// whether anything changed. A copy is found by what it is: one that has another name keeps
    /// that, and is found by the wanted one as well. Where another topic has the name, a number is
    /// appended: names are a view, and a local topic `us.orders` is not what region `us` calls
    /// `orders`.
    ///
    /// # Errors
    /// [`TopicError`] when a limit is passed or other topics have all names that fit.
    pub fn mirror(
        &mut self,
        wanted: &TopicName,
        offer: &Offer,
    ) -> Result<(TopicName, Mirror), TopicError> {
        let way = (offer.path.clone(), Replication::Offered);
        let (name, mirror) = self.take_up(wanted, offer, way)?;
        let is_news = self.call(&name, wanted);
        Ok((name, if is_news { Mirror::Changed } else { mirror }))
    }

    /// Adds or grows the topic for what is handed on of a region's topic, whoever does: there is
    /// one, so that what is lost again and again needs no more of them.
    ///
    /// # Errors
    /// [`TopicError`] as [`Self::mirror`].
    pub fn set_apart(&mut self, offer: &Offer) -> Result<(TopicName, Mirror), TopicError> {
        let wanted = TopicName::new(&format!("{APART}.{}.{}", offer.origin, offer.origin_topic))?;
        let path = vec![offer.origin.clone(), self.region.clone()];
        self.take_up(&wanted, offer, (path, Replication::Kept))
    }

    /// Adds or grows the topic for what others give back of a topic of this region, of former lives
    /// of this hub. It is bulk whatever the topic is: what is over keeps nothing live waiting.
    ///
    /// # Errors
    /// [`TopicError`] as [`Self::mirror`].
    pub fn take_back(&mut self, offer: &Offer) -> Result<(TopicName, Mirror), TopicError> {
        let wanted = TopicName::new(&format!("{APART}.{}.{}", offer.origin, offer.origin_topic))?;
        let path = vec![offer.origin.clone()];
        let offer = Offer { lane: Lane::Telemetry, ..offer.clone() };
        self.take_up(&wanted, &offer, (path, Replication::Kept))
    }

    /// What was given back of a topic of this region.
    #[must_use]
    pub fn given_back(&self, topic: &TopicName) -> Option<&Topic> {
        let is_it = |known: &&Topic| known.is_given_back() && known.origin_name == *topic;
        let usual = TopicName::new(&format!("{APART}.{}.{topic}", self.region)).ok();
        let usual = usual.and_then(|name| self.get(&name)).filter(is_it);
        usual.or_else(|| self.topics.values().find(is_it))
    }

    fn take_up(
        &mut self,
        wanted: &TopicName,
        offer: &Offer,
        (path, replication): (Vec<RegionId>, Replication),
    ) -> Result<(TopicName, Mirror), TopicError> {
        let known = self.copy(&offer.origin, &offer.origin_topic, &path).map(|of| of.name.clone());
        let name = &known.map_or_else(|| self.free_name(wanted), Ok)?;
        let partitions = offer.source.partition.get().saturating_add(1);
        let before = self.topics.get(name).map_or(0, |known| known.partitions);
        self.add(Topic {
            name: name.clone(),
            also: Vec::new(),
            lane: offer.lane,
            partitions,
            origin: offer.origin.clone(),
            origin_name: offer.origin_topic.clone(),
            path,
            replication,
        })?;
        let mirror = if partitions > before { Mirror::Changed } else { Mirror::Known };
        Ok((name.clone(), mirror))
    }

    /// Gives a topic more partitions; fewer it never has.
    pub(crate) fn grow(&mut self, name: &TopicName, partitions: u32) {
        if let Some(known) = self.topics.get_mut(name) {
            known.partitions = known.partitions.max(partitions);
        }
    }

    /// An agent's batches of a topic go to this partition, whatever the topic grows to.
    pub(crate) fn assign(&mut self, of: (AgentName, TopicName), partition: PartitionIndex) {
        self.assigned.insert(of, partition);
    }

    /// The partition an agent's batches of a topic go to for good; `None` when that is up to its
    /// name.
    pub(crate) fn assigned(&self, of: &(AgentName, TopicName)) -> Option<PartitionIndex> {
        self.assigned.get(of).copied()
    }

    /// The partition that an agent's batches of a topic go to.
    #[must_use]
    pub fn partition_of(&self, agent: &AgentName, topic: &Topic) -> PartitionIndex {
        let own = || agent_partition(agent.as_str(), topic.partitions);
        self.assigned(&(agent.clone(), topic.name.clone())).unwrap_or_else(own)
    }

    /// A topic by the name of its log here.
    #[must_use]
    pub fn get(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// Every topic, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }
}

/// Whether announcing a topic changed the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// A topic or partition was added.
    Changed,
    /// It was known.
    Known,
}

#[cfg(test)]
mod tests {
    use headland_event::{Codec, Offset, TopicPartition, mirrored_name};
    use headland_platform::config::DurationText;

    use super::*;
    use crate::config::{Ack, Cleanup, Copies, RetentionConfig};

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn events() -> TopicConfig {
        TopicConfig {
            name: TopicName::new("inventory.events").unwrap(),
            lane: Lane::State,
            partitions: 2,
            retention: RetentionConfig::default(),
            cleanup: Cleanup::Delete,
            tombstones: DurationText::new(std::time::Duration::from_hours(24)),
            codec: Codec::None,
            ack: Ack::Local,
            ack_wait: DurationText::new(std::time::Duration::from_secs(10)),
            copies: Copies::Here,
        }
    }

    fn topics() -> Topics {
        Topics::new(&region("eu"), &[events()]).unwrap()
    }

    #[test]
    fn alerts_keep_their_lane_however_they_are_declared() {
        let alerts = TopicConfig { name: alerts_topic(), lane: Lane::Telemetry, ..events() };

        let topics = Topics::new(&region("eu"), &[alerts]).unwrap();

        assert_eq!(topics.get(&alerts_topic()).map(|topic| topic.lane), Some(Lane::Alerts));
    }

    fn mirror(
        topics: &mut Topics,
        source: &str,
        topic: &str,
        path: &[&str],
    ) -> Result<(TopicName, Mirror), TopicError> {
        let path: Vec<RegionId> = path.iter().map(|name| region(name)).collect();
        let topic = TopicName::new(topic).unwrap();
        let offer = Offer {
            source: TopicPartition::new(topic.clone(), PartitionIndex::new(1)),
            origin: path.first().unwrap().clone(),
            origin_topic: topic.clone(),
            path,
            lane: Lane::State,
            start: Offset::new(0),
            head: Offset::new(0),
        };
        topics.mirror(&mirrored_name(&region(source), &topic).unwrap(), &offer)
    }

    #[test]
    fn a_mirror_is_new_once_and_known_the_second_time() {
        let mut topics = topics();

        let first = mirror(&mut topics, "us", "inventory.events", &["us"]).unwrap();
        let second = mirror(&mut topics, "us", "inventory.events", &["us"]).unwrap();

        assert_eq!((first.1, second.1), (Mirror::Changed, Mirror::Known));
        assert_eq!((first.0.as_str(), &first.0), ("us.inventory.events", &second.0));
    }

    #[test]
    fn a_local_topic_that_looks_like_a_mirror_is_not_taken_for_one() {
        let mut topics = topics();
        topics.add_local("us.orders", Lane::State, 1, Replication::Offered).unwrap();

        let (name, _) = mirror(&mut topics, "us", "orders", &["us"]).unwrap();
        let (again, _) = mirror(&mut topics, "us", "orders", &["us"]).unwrap();

        assert!(topics.get(&TopicName::new("us.orders").unwrap()).unwrap().is_local());
        assert_eq!((name.as_str(), &again), ("us.orders-2", &name));
        assert_eq!(topics.get(&name).unwrap().origin, region("us"));
    }

    #[test]
    fn regions_with_dots_in_their_names_keep_topics_apart_that_would_be_called_alike() {
        let mut topics = topics();

        let (long, _) = mirror(&mut topics, "us.west", "orders", &["us.west"]).unwrap();
        let (short, _) = mirror(&mut topics, "us", "west.orders", &["us"]).unwrap();

        assert_eq!([long.as_str(), short.as_str()], ["us.west.orders", "us.west.orders-2"]);
    }

    #[test]
    fn two_ways_over_one_region_stay_apart_whatever_that_region_is_called() {
        let mut topics = topics();
        let mut mirrored = |alias: &str, path: &[&str]| {
            let path: Vec<RegionId> = path.iter().map(|name| region(name)).collect();
            let [source, orders] = ["a.b.orders", "orders"].map(|of| TopicName::new(of).unwrap());
            let origin_topic = orders;
            let offer = Offer {
                source: TopicPartition::new(source.clone(), PartitionIndex::new(0)),
                origin: region("eu"),
                origin_topic,
                path,
                lane: Lane::State,
                start: Offset::new(0),
                head: Offset::new(0),
            };
            let wanted = mirrored_name(&region(alias), &source).unwrap();
            topics.mirror(&wanted, &offer).unwrap().0.to_string()
        };

        let near = mirrored("us", &["eu", "us"]);
        let far = mirrored("us", &["eu", "ap", "us"]);
        let again = [&["eu", "us"][..], &["eu", "ap", "us"]].map(|path| mirrored("usa", path));

        assert_eq!((near.as_str(), far.as_str()), ("us.a.b.orders", "us.a.b.orders-2"));
        assert_eq!(again, [near, far]);
    }

    #[test]
    fn of_more_names_than_a_copy_is_found_by_the_oldest_goes_and_that_of_its_log_never() {
        let mut topics = topics();
        mirror(&mut topics, "us", "orders", &["us"]).unwrap();
        for number in 0..=names::ALSO_LIMIT {
            mirror(&mut topics, &format!("us{number}"), "orders", &["us"]).unwrap();
        }

        let found = |name: &str| topics.resolve(&TopicName::new(name).unwrap()).is_some();
        assert_eq!(
            ["us.orders", "us0.orders", "us1.orders", "us8.orders"].map(found),
            [true, false, true, true]
        );
        let names = topics.resolve(&TopicName::new("us.orders").unwrap()).unwrap().names().len();
        assert_eq!(names, 1 + names::ALSO_LIMIT);
    }

    #[test]
    fn decode_of_encode_is_the_same_topic() {
        let mut topics = topics();
        mirror(&mut topics, "us", "air", &["ap", "us"]).unwrap();
        let air = TopicName::new("us.air").unwrap();
        let first = topics.get(&air).unwrap().clone();
        mirror(&mut topics, "usa", "air", &["ap", "us"]).unwrap();
        let renamed = topics.get(&air).unwrap().clone();

        assert_eq!(renamed.names(), ["us.air", "usa.air"]);
        // One that was never renamed has the first version's bytes: earlier builds read it.
        assert_eq!([first.encode()[0], renamed.encode()[0]], [1, 2]);
        for topic in [first, renamed] {
            assert_eq!(Topic::decode(topic.encode()), Ok(topic));
        }
    }

    #[test]
    fn a_topic_with_one_name_has_the_bytes_it_always_had() {
        let mut topics = topics();
        mirror(&mut topics, "us", "air", &["us"]).unwrap();
        let topic = topics.get(&TopicName::new("us.air").unwrap()).unwrap();

        let bytes: &[u8] = b"\x01\x02\0\0\0\x02\x01\x06us.air\x02us\x03air\0\0\0\x01\x02us";
        assert_eq!(topic.encode(), bytes);
    }
}
