//! Ingest: what the hub says, once, about a batch that an agent publishes.
//!
//! The stamp is decided in the order of the journal: it carries the hub's hybrid clock, what the
//! journal held before the batch, and the verdict on every record that is not on time.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::limits::CLOCK_ENTRIES_LIMIT;
use headland_event::{
    Actor, AgentName, Batch, BatchError, EventClock, EventTime, Extent, Hlc, HlcClock, Incarnation,
    Offset, OffsetDelta, Record, RegionId, Stamp, TopicName, TopicPartition, VectorClock, Verdict,
    VerdictAt,
};
use headland_reconcile::Membership;
use headland_replication::Filter;

use crate::config::{AgentConfig, DevicePattern, HubConfig, TopicConfig};
use crate::members::is_of_members;
use crate::records::{alerts_topic, audit_topic};
use crate::topics::{PARTITIONS_LIMIT, base_topic};

/// What an agent's record has to be to count.
mod gate;
/// What the journal holds of inventory, and how much of that counts.
mod past;

pub use gate::{Forbidden, Gate, RegisteredSchemas};
pub use past::CausalPast;
pub(crate) use past::HeldParts;

/// Most actors of other regions in the hub's causal past; an entry of one more is refused.
///
/// Incarnation and partition are the peer's word, and a clock beyond [`CLOCK_ENTRIES_LIMIT`] can
/// not be written: what is left is for the hub's own partitions, whose number is bounded alike.
pub const FOREIGN_ACTORS_LIMIT: usize = CLOCK_ENTRIES_LIMIT - PARTITIONS_LIMIT as usize;

/// The latest clock that another hub's stamp may have: the end of the year 9999. A clock that is
/// wrong by less is followed, and still leaves ours room to grow for good.
const CLOCK_MAX: EventTime = EventTime::from_millis(253_402_300_799_999);

/// Why another region's batch cannot be taken note of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// Its end in the log of its origin is no 64-bit number.
    #[error("its stamp is at {offset} and would end {span} records later, beyond 64 bits")]
    Overflow {
        /// Where the stamp says that it begins.
        offset: Offset,
        /// How many offsets it takes.
        span: u64,
    },
    /// Its clock is beyond every date: ours would follow it, and could not grow any more.
    #[error("its clock is at {found}, beyond the year 9999")]
    Clock {
        /// The clock's wall part.
        found: EventTime,
    },
    /// Its actor is new, and as many as fit are known.
    #[error("its actor {actor} is new, and {limit} of other regions are known already")]
    TooManyActors {
        /// The new one.
        actor: Actor,
        /// Most that are taken.
        limit: usize,
    },
}

/// What an agent may publish, from its certificate's name and the hub's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    agent: AgentName,
    /// The region in its certificate; `None` is the hub's own.
    region: Option<RegionId>,
    topics: Vec<TopicName>,
    devices: Vec<DevicePattern>,
}

impl Grant {
    /// The grants of a hub's agents.
    #[must_use]
    pub fn of_all(config: &HubConfig) -> Vec<Self> {
        config.agents.iter().map(|agent| Self::new(agent, &config.topics)).collect()
    }

    /// The grant of a configured agent, at a hub with these topics.
    #[must_use]
    pub fn new(config: &AgentConfig, declared: &[TopicConfig]) -> Self {
        let AgentConfig { name, region, topics, exclude, devices } = config;
        let filter = Filter::new(Some(topics.clone()), exclude.clone());
        let named = topics.iter().filter_map(|topic| TopicName::new(topic.name()?).ok());
        let known = declared.iter().map(|topic| topic.name.clone());
        let granted: BTreeSet<TopicName> =
            named.chain(known).filter(|topic| filter.takes(topic.as_str())).collect();
        Self {
            agent: name.clone(),
            region: region.clone(),
            topics: granted.into_iter().collect(),
            devices: devices.clone(),
        }
    }

    /// The region of the agent, at a hub of region `own`.
    #[must_use]
    pub fn region<'a>(&'a self, own: &'a RegionId) -> &'a RegionId {
        self.region.as_ref().unwrap_or(own)
    }

    /// The agent it is for.
    #[must_use]
    pub const fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// The topics it names, and those that its patterns stand for, in their order.
    #[must_use]
    pub fn topics(&self) -> &[TopicName] {
        &self.topics
    }

    /// Whether the agent may publish to a topic; a topic's dead and late ones follow it, and every
    /// agent states what its own streams come to.
    #[must_use]
    pub fn covers(&self, topic: &TopicName) -> bool {
        if *topic == audit_topic() {
            return true;
        }
        let base = base_topic(topic);
        self.topics.iter().any(|granted| granted == topic || Some(granted) == base.as_ref())
    }

    /// Whether the agent may publish for the device a record is about.
    fn covers_device(&self, record: &Record) -> bool {
        let device = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        device.is_some_and(|device| self.devices.iter().any(|pattern| pattern.covers(device)))
    }
}

/// Whether the keys of a topic's records are device ids that a grant must cover.
///
/// Alerts are about skus and stations of a rule's choosing, a line that could not be decoded has
/// no device, and what a stream comes to is about all of its devices.
#[must_use]
pub fn has_device_keys(topic: &TopicName) -> bool {
    let is_about_devices = *topic != alerts_topic() && *topic != audit_topic();
    is_about_devices && !topic.as_str().ends_with(".dead")
}

/// The hub's clocks, and the stamps it makes with them.
#[derive(Debug)]
pub struct Ingest {
    region: RegionId,
    incarnation: Incarnation,
    inventory: TopicName,
    gate: Gate,
    hlc: HlcClock,
    past: CausalPast,
    clocks: BTreeMap<TopicName, EventClock>,
}

impl Ingest {
    /// A configured hub that has ingested nothing; of its topic of inventory the causal past is
    /// kept.
    #[must_use]
    pub fn new(config: &HubConfig, incarnation: Incarnation) -> Self {
        Self {
            region: config.region.clone(),
            incarnation,
            inventory: config.reconcile.topic.clone(),
            gate: Gate::new(config),
            hlc: HlcClock::new(),
            past: CausalPast::default(),
            clocks: BTreeMap::new(),
        }
    }

    /// Stamps a batch that will stand at `offset` of `partition`.
    ///
    /// Cost: decodes the records once; O(partitions of inventory) for the causal past.
    ///
    /// # Errors
    /// [`BatchError`] when the records contradict the batch's header.
    pub fn stamp(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        batch: &Batch,
        grant: &Grant,
        now: EventTime,
    ) -> Result<(Stamp, Vec<(OffsetDelta, Record)>), BatchError> {
        let records = batch.numbered_records()?;
        let clock = self.clocks.get(&partition.topic).copied().unwrap_or_default();
        let verdicts = records
            .iter()
            .map(|(delta, record)| {
                let verdict = if self.forbidden(grant, partition, record).is_some() {
                    Verdict::Forbidden
                } else if self.gate.is_unlisted(&partition.topic, record) {
                    Verdict::Unlisted
                } else {
                    clock.verdict(record.time, now)
                };
                VerdictAt { delta: *delta, verdict }
            })
            .filter(|at| at.verdict != Verdict::OnTime)
            .collect();
        let stamp = self.stamp_born(partition, offset, verdicts, now);
        self.observe(&partition.topic, &stamp, batch);
        Ok((stamp, records))
    }

    /// Why an agent may not publish a record; `None` when it may.
    #[must_use]
    pub fn forbidden(
        &self,
        grant: &Grant,
        partition: &TopicPartition,
        record: &Record,
    ) -> Option<Forbidden> {
        self.gate.forbidden(grant, &partition.topic, record)
    }

    /// Stamps a hole that an agent names: nothing in it is late, or of a device.
    pub fn stamp_hole(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        batch: &Batch,
        now: EventTime,
    ) -> Stamp {
        let stamp = self.stamp_born(partition, offset, Vec::new(), now);
        self.observe(&partition.topic, &stamp, batch);
        stamp
    }

    /// Stamps a batch born at this hub.
    pub fn stamp_born(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        verdicts: Vec<VerdictAt>,
        now: EventTime,
    ) -> Stamp {
        let actor = Actor {
            region: self.region.clone(),
            incarnation: self.incarnation,
            partition: partition.partition,
        };
        let is_inventory = partition.topic == self.inventory;
        // What is missing below these ends is claimed, too: no hub says yet where its logs begin.
        let seen = is_inventory.then(|| self.past.counted().ends().clone());
        let context = Extent::from(seen.unwrap_or_default());
        Stamp { actor, offset, hlc: self.hlc.tick(now), context, verdicts }
    }

    /// Checks another region's batch before it is composed and [observed](Self::observe).
    ///
    /// Cost: O(actors known) for the first batch of an actor.
    ///
    /// # Errors
    /// [`MirrorError`] when its numbers or its actor do not fit.
    pub fn check_mirrored(
        &self,
        origin_topic: &TopicName,
        stamp: &Stamp,
        batch: &Batch,
    ) -> Result<(), MirrorError> {
        let (offset, span) = (stamp.offset, batch.span());
        if offset.get().checked_add(span).is_none() {
            return Err(MirrorError::Overflow { offset, span });
        }
        let found = stamp.hlc.wall();
        if found > CLOCK_MAX {
            return Err(MirrorError::Clock { found });
        }
        let is_known = self.heads().end(&stamp.actor) > Offset::new(0);
        if *origin_topic != self.inventory || is_known {
            return Ok(());
        }
        let foreign = self.heads().iter().filter(|(actor, _)| actor.region != self.region).count();
        if foreign >= FOREIGN_ACTORS_LIMIT {
            let (actor, limit) = (stamp.actor.clone(), FOREIGN_ACTORS_LIMIT);
            return Err(MirrorError::TooManyActors { actor, limit });
        }
        Ok(())
    }

    /// Takes note of a batch in the journal, from here or from another region. What stands in for
    /// lost records is none: they are missing as soon as something comes behind them.
    ///
    /// `origin_topic` is the batch's topic where it was born.
    pub fn observe(&mut self, origin_topic: &TopicName, stamp: &Stamp, batch: &Batch) {
        self.hlc.observe(stamp.hlc);
        if *origin_topic == self.inventory {
            let end = stamp.offset.after(batch.span());
            self.past.on_inventory(&stamp.actor, stamp.offset, end);
        } else if is_of_members(origin_topic) {
            self.past.on_members(batch);
        }
    }

    /// The latest timestamp of the hub's hybrid clock.
    #[must_use]
    pub const fn hlc(&self) -> Hlc {
        self.hlc.last()
    }

    /// Where logs of inventory end in the journal.
    #[must_use]
    pub const fn heads(&self) -> &VectorClock {
        self.past.heads().ends()
    }

    /// What the journal holds of inventory, with what is missing below those ends.
    #[must_use]
    pub const fn extent(&self) -> &Extent {
        self.past.heads()
    }

    /// As much of what the journal holds of inventory as counts.
    #[must_use]
    pub const fn counted(&self) -> &Extent {
        self.past.counted()
    }

    /// Who takes part, by all that was composed.
    #[must_use]
    pub const fn members(&self) -> &Membership {
        self.past.members()
    }

    /// Goes on from a snapshot: what the journal held up to it, instead of observing all of it.
    pub fn take_up(&mut self, hlc: Hlc, past: CausalPast) {
        self.hlc.observe(hlc);
        self.past = past;
    }

    /// Raises a topic's promised watermark; says whether it rose.
    #[must_use]
    pub fn promise(&mut self, topic: &TopicName, watermark: EventTime) -> bool {
        self.clocks.entry(topic.clone()).or_default().advance(watermark)
    }

    /// Promised watermarks by topic.
    pub fn watermarks(&self) -> impl Iterator<Item = (&TopicName, EventTime)> {
        self.clocks.iter().filter_map(|(topic, clock)| Some((topic, clock.watermark()?)))
    }
}

#[cfg(test)]
mod tests {
    use headland_event::schema::SCHEMA_HEADER;
    use headland_event::{PartitionIndex, SchemaId};
    use headland_replication::NamePattern;

    use super::*;

    const NOW: EventTime = EventTime::from_millis(1_000_000);

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn at(name: &str) -> TopicPartition {
        TopicPartition::new(topic(name), PartitionIndex::new(0))
    }

    fn config(topics: &str) -> HubConfig {
        let text = r#"
region = "eu"
name = "hub-1"
data_dir = "none"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
"#;
        let (path, text) = (std::path::Path::new("hub.toml"), format!("{text}{topics}"));
        headland_platform::config::parse(path, text).unwrap().value
    }

    fn ingest() -> Ingest {
        Ingest::new(&config(""), Incarnation::new(1, 1))
    }

    fn grant() -> Grant {
        Grant::new(&agent(&["inventory.events"], &[]), &[])
    }

    fn agent(topics: &[&str], exclude: &[&str]) -> AgentConfig {
        let patterns =
            |texts: &[&str]| texts.iter().map(|text| NamePattern::new(text).unwrap()).collect();
        AgentConfig {
            name: AgentName::new("eu-1").unwrap(),
            region: None,
            topics: patterns(topics),
            exclude: patterns(exclude),
            devices: vec![DevicePattern::new("eu-1-").unwrap()],
        }
    }

    #[test]
    fn a_pattern_grants_the_topics_there_are_but_for_those_that_are_excluded() {
        let topics = ["air.raw", "air.mean", "water"];
        let topics = topics.map(|name| format!("[[topic]]\nname = \"{name}\"\n")).concat();
        let config = config(&topics);

        let of =
            |topics: &[&str], exclude: &[&str]| Grant::new(&agent(topics, exclude), &config.topics);

        assert_eq!(of(&["air.*"], &[]).topics(), [topic("air.mean"), topic("air.raw")]);
        let granted = of(&["*", "alerts"], &["*.raw"]);
        assert_eq!(granted.topics(), [topic("air.mean"), topic("alerts"), topic("water")]);
        assert!(granted.covers(&topic("air.mean.dead")) && !granted.covers(&topic("air.raw.dead")));
        assert!(!granted.covers(&topic("_members")) && !granted.covers(&topic("us.water")));
    }

    fn batch(records: &[(&'static str, i64)]) -> Batch {
        let records: Vec<Record> = records
            .iter()
            .map(|(key, time)| Record::new(EventTime::from_millis(*time), *key, "{}"))
            .collect();
        Batch::encode(&records).unwrap()
    }

    fn verdicts(ingest: &mut Ingest, name: &str, records: &[(&'static str, i64)]) -> Vec<Verdict> {
        let (stamp, records) =
            ingest.stamp(&at(name), Offset::new(0), &batch(records), &grant(), NOW).unwrap();
        records.iter().map(|(delta, _)| stamp.verdict(*delta)).collect()
    }

    #[test]
    fn lateness_is_decided_by_the_promise_that_precedes_the_record() {
        let mut ingest = ingest();
        let records = [("eu-1-till", 500), ("eu-1-till", 501)];

        let before = verdicts(&mut ingest, "inventory.events", &records);
        assert!(ingest.promise(&topic("inventory.events"), EventTime::from_millis(500)));
        let after = verdicts(&mut ingest, "inventory.events", &records);

        assert_eq!(before, [Verdict::OnTime, Verdict::OnTime]);
        assert_eq!(after, [Verdict::Late, Verdict::OnTime]);
    }

    #[test]
    fn a_device_outside_the_grant_is_forbidden_but_alerts_have_no_device() {
        let records = [("us-1-till", 500), ("eu-1-till", 500)];

        let events = verdicts(&mut ingest(), "inventory.events", &records);
        let alerts = verdicts(&mut ingest(), "alerts", &records);

        assert_eq!(events, [Verdict::Forbidden, Verdict::OnTime]);
        assert_eq!(alerts, [Verdict::OnTime, Verdict::OnTime]);
    }

    #[test]
    fn an_agent_may_not_decide_about_late_events_in_any_spelling() {
        let decided = |kind: &str| {
            format!(
                r#"{{"id":"d","kind":"{kind}","device":"eu-1-till","sku":"85123A","late":"eu-1/7","#
            ) + r#""reviewer":"alice","reason":"seen","time":"2010-12-01T08:06:00Z"}"#
        };
        let texts = ["approve", "\\u0061pprove", "reject"].map(decided);
        let sale = texts[0].replace("approve", "sale").replace("seen", "approve");
        let time = EventTime::from_millis(500);
        let records = texts.into_iter().chain([sale]);
        let records: Vec<Record> =
            records.map(|text| Record::new(time, "eu-1-till", text)).collect();
        let batch = Batch::encode(&records).unwrap();

        let of = |name: &str| {
            let stamped = ingest().stamp(&at(name), Offset::new(0), &batch, &grant(), NOW);
            let (stamp, records) = stamped.unwrap();
            records.iter().map(|(delta, _)| stamp.verdict(*delta)).collect::<Vec<_>>()
        };

        let (forbidden, on_time) = (Verdict::Forbidden, Verdict::OnTime);
        assert_eq!(of("inventory.events"), [forbidden, forbidden, forbidden, on_time]);
        assert_eq!(of("sensor.readings"), [on_time; 4]);
    }

    #[test]
    fn an_event_about_an_unknown_sku_or_in_another_unit_is_unlisted_whenever_it_happened() {
        let mut ingest = ingest();
        let unit = headland_reconcile::UnitName::new("each").unwrap();
        let sku = headland_reconcile::Sku::new("85123A").unwrap();
        ingest.gate.list_only([(sku, unit)].into());
        let sale = |sku: &str, unit: &str| {
            format!(
                r#"{{"id":"1","kind":"sale","device":"eu-1-till","sku":"{sku}","location":"l","#
            ) + &format!(r#""quantity":1{unit},"time":"2010-12-01T08:06:00Z"}}"#)
        };
        let [each, case] = ["each", "case"].map(|unit| format!(r#","unit":"{unit}""#));
        let texts = [
            sale("85123A", ""),
            sale("85123A", &each),
            sale("85123A", &case),
            sale("85123B", ""),
            "{}".to_owned(),
        ];
        let time = NOW.plus(std::time::Duration::from_secs(3_600));
        let records = texts.map(|text| Record::new(time, "eu-1-till", text));
        let batch = Batch::encode(&records).unwrap();

        let stamped = ingest.stamp(&at("inventory.events"), Offset::new(0), &batch, &grant(), NOW);
        let other = ingest.stamp(&at("sensor.readings"), Offset::new(0), &batch, &grant(), NOW);

        let verdicts = |stamped: Result<(Stamp, Vec<(OffsetDelta, Record)>), BatchError>| {
            let (stamp, records) = stamped.unwrap();
            records.iter().map(|(delta, _)| stamp.verdict(*delta)).collect::<Vec<_>>()
        };
        let (future, unlisted) = (Verdict::Future, Verdict::Unlisted);
        assert_eq!(verdicts(stamped), [future, future, unlisted, unlisted, future]);
        assert_eq!(verdicts(other), [future; 5]);
    }

    #[test]
    fn a_record_of_a_schema_that_is_not_registered_for_its_topic_is_forbidden_and_names_those() {
        let mut ingest = ingest();
        let [int, long] = ["\"int\"", "\"long\""].map(SchemaId::of_canonical);
        ingest.gate.register([(topic("inventory.events"), [int].into())].into());
        let plain = Record::new(EventTime::from_millis(5), "eu-1-till", "{}");
        let of = |id: &str| plain.clone().with_header(SCHEMA_HEADER, id.to_owned());
        let records = [plain.clone(), of(&int.to_string()), of(&long.to_string()), of("v1")];

        let reasons = |name: &str| {
            let why = |record| Some(ingest.forbidden(&grant(), &at(name), record)?.to_string());
            records.iter().map(why).collect::<Vec<_>>()
        };

        let unknown =
            format!("schema {long} is not registered for topic inventory.events; it has {int}");
        let garbled = "schema id \"v1\" is not 16 hexadecimal digits".to_owned();
        assert_eq!(reasons("inventory.events"), [None, None, Some(unknown), Some(garbled)]);
        assert_eq!(reasons("inventory.events.dead"), [None, None, None, None]);
    }

    #[test]
    fn the_causal_past_is_what_the_journal_held_before() {
        let mut ingest = ingest();
        let partition = at("inventory.events");
        let mut stamp = |offset| {
            ingest
                .stamp(&partition, Offset::new(offset), &batch(&[("eu-1-a", 1)]), &grant(), NOW)
                .unwrap()
                .0
        };

        let (first, second) = (stamp(0), stamp(1));

        assert_eq!(first.context, Extent::default());
        assert!(second.context.includes(&first.actor, first.offset));
        assert!(!second.context.includes(&second.actor, second.offset));
        assert!(second.hlc > first.hlc);
    }

    #[test]
    fn a_grant_covers_a_topics_dead_and_late_ones_and_nothing_else() {
        let covered: Vec<bool> =
            ["inventory.events", "inventory.events.dead", "inventory.events.late", "inventory"]
                .iter()
                .map(|name| grant().covers(&topic(name)))
                .collect();

        assert_eq!(covered, [true, true, true, false]);
    }
}
