//! When the log is cleaned, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{
    ByteCount, DropPolicy, Incarnation, Monotonic, Now, Offset, TopicName, TopicPartition,
};
use headland_replication::{Identity, Marks, Refusal};
use headland_storage::{
    CleanPolicy, CodecNotBuilt, Compaction, CompactionRule, Dropped, LogReader, Retention, ShedBy,
    TopicCodecs, TopicPattern, TopicRule,
};
use serde::Serialize;

use super::settings::Statements;
use super::{Node, Output};
use crate::config::{Copies, HubConfig, SyncConfig, SyncedSetting, TopicConfig};
use crate::escrow::escrow_topic;
use crate::members::{is_of_members, is_taken_late};
use crate::peer_link::LinkId;
use crate::records::{audit_topic, groups_topic, heartbeats_topic};
use crate::settings::{Said, Settings, settings_topic};
use crate::topics::{Topic, base_topic, dead_topic, is_changing_table};

/// How often the log is cleaned while anything is written.
const CLEAN_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked for what grew too old while nothing is written: a day's retention does
/// not need it to the second, and a hub at rest stays at rest.
const AGE_EVERY: Duration = Duration::from_mins(5);

/// How long the log of rights says that a promise has ended. A hub that goes on behind that, from
/// an older backup or another hub's copy, takes promises that ended for open, and so fewer units
/// for free than there are, never more.
const ENDED_PROMISES_KEPT: Duration = Duration::from_hours(7 * 24);

/// Who says how a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// This hub.
    Here,
    /// The hub of the region it was born in.
    Origin,
}

/// How a topic is kept, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeptStatus {
    /// Who says so.
    pub said_by: Keeper,
    /// How long records are kept, in milliseconds; absent when for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// How many bytes of a partition are kept; absent when any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// Whether it is compacted by key.
    pub compacted: bool,
}

/// Where a decision of this hub comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecidedBy {
    /// A `[[topic]]`, which other regions hear of.
    Topic,
    /// What the topic is for.
    Kind,
}

/// How a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// How long and how much of it.
    pub retention: Retention,
    /// How it is compacted; `None` when every key keeps all of its records.
    pub compaction: Option<Compaction>,
    copies: Copies,
    of: DecidedBy,
}

impl Kept {
    const fn all() -> Self {
        let retention = Retention { time: None, bytes: None };
        Self { retention, compaction: None, copies: Copies::Here, of: DecidedBy::Kind }
    }

    fn of(topic: &TopicConfig) -> Self {
        let retention = topic.retention.into();
        let (compaction, copies) = (topic.compaction(), topic.copies);
        Self { retention, compaction, copies, of: DecidedBy::Topic }
    }
}

/// What is kept, and who has what of it.
#[derive(Debug)]
pub(super) struct Keeping {
    /// What this hub decides, by the topic's name where it was born.
    here: BTreeMap<TopicName, Kept>,
    /// How this hub's own heartbeats are kept; what another region calls so is a topic like any
    /// other.
    heartbeats: Option<Kept>,
    /// What hubs say of their topics.
    pub(super) said: Statements,
    /// What copies take over of that.
    sync: SyncConfig,
    /// The topic whose every event counts, in every region.
    reconciled: TopicName,
    /// How derived tables whose rows change are compacted, if they are.
    tables: Option<Compaction>,
    cleaned_at: Monotonic,
    /// Whether anything was written since the log was cleaned last.
    is_dirty: bool,
    /// How far peers have what they were sent, in this run.
    acked: BTreeMap<(Identity, TopicPartition), Offset>,
    /// What peers do not take, as they said last in this run: it holds nothing back.
    refused: BTreeSet<(Identity, TopicPartition)>,
    /// Bytes and times along what this run has written.
    pub(super) marks: BTreeMap<TopicPartition, Marks>,
    /// Which life of a peer said how far it is.
    lives: BTreeMap<Identity, Incarnation>,
    /// Where partitions start in the log.
    starts: BTreeMap<TopicPartition, Offset>,
    /// Why records of a partition were shed last.
    shed: BTreeMap<TopicPartition, DropPolicy>,
}

impl Keeping {
    pub(super) fn new(config: &HubConfig, log: &impl LogReader, now: Monotonic) -> Self {
        let declared = config.topics.iter().map(|topic| (topic.name.clone(), Kept::of(topic)));
        let hours = Kept { retention: super::audit::RETENTION, ..Kept::all() };
        // Of a committed offset the last word is all there is, and of what is said of topics.
        let last =
            Kept { compaction: Some(Compaction { tombstones: Duration::ZERO }), ..Kept::all() };
        let internal = [(audit_topic(), hours), (groups_topic(), last), (settings_topic(), last)];
        let starts = log.partitions().into_iter().map(|at| (at.clone(), log.start(&at)));
        Self {
            here: declared.chain(internal).collect(),
            heartbeats: None,
            said: Statements::default(),
            sync: config.sync.clone(),
            reconciled: config.reconcile.topic.clone(),
            tables: config.reconcile.compaction(),
            cleaned_at: now,
            is_dirty: false,
            acked: BTreeMap::new(),
            refused: BTreeSet::new(),
            marks: BTreeMap::new(),
            lives: BTreeMap::new(),
            starts: starts.collect(),
            shed: BTreeMap::new(),
        }
    }

    /// Something was written.
    pub(super) const fn on_written(&mut self) {
        self.is_dirty = true;
    }

    /// The log of heartbeats holds nothing but what this hub wrote of itself: that may go.
    pub(super) fn limit_heartbeats(&mut self, keep: Duration) {
        let retention = Retention { time: Some(keep), bytes: None };
        self.heartbeats = Some(Kept { retention, of: DecidedBy::Topic, ..Kept::all() });
    }

    /// Another configuration decides how topics are kept that were declared at the start.
    pub(super) fn configure(&mut self, config: &HubConfig) {
        for topic in &config.topics {
            let known = self.here.get_mut(&topic.name);
            let Some(kept) = known.filter(|kept| kept.of == DecidedBy::Topic) else { continue };
            *kept = Kept::of(topic);
            if topic.name == self.reconciled {
                // Which topic is reconciled changes with the next start.
                kept.compaction = None;
            }
        }
        self.sync.clone_from(&config.sync);
        // What is kept for less time now may go at once.
        self.is_dirty = true;
    }

    /// What this hub declares, with how many partitions each topic has.
    pub(super) fn declared(&self, partitions: impl Fn(&TopicName) -> u32) -> Said {
        let declared = self.here.iter().filter(|(_, kept)| kept.of == DecidedBy::Topic);
        let name = heartbeats_topic();
        let declared = declared.chain(self.heartbeats.as_ref().map(|kept| (&name, kept)));
        let said = declared.map(|(name, Kept { retention, compaction, .. })| {
            (name.clone(), Settings::new(partitions(name), *retention, *compaction))
        });
        Said::new(said.collect())
    }

    /// Who says how a topic is kept, and how: this hub, or the hub of the region where the copy was
    /// born, as far as copies take that over.
    pub(super) fn kept(&self, topic: &Topic) -> (Keeper, Kept) {
        let name = &topic.origin_name;
        if let Some(kept) = self.heartbeats
            && topic.is_local()
            && *name == heartbeats_topic()
        {
            return (Keeper::Here, kept);
        }
        let base = base_topic(name);
        let of_base = || Some(Kept { compaction: None, ..*self.here.get(base.as_ref()?)? });
        let here = self.here.get(name).copied().or_else(of_base);
        let copies = here.map_or(self.sync.retention, |kept| kept.copies);
        // What stock is made of goes by what is decided here alone: nobody could hand it on again.
        let is_reconciled = [Some(name), base.as_ref()].contains(&Some(&self.reconciled));
        let is_own = topic.is_local() || topic.is_apart() || topic.is_internal();
        if is_own || is_reconciled || copies == Copies::Here || *name == escrow_topic() {
            return (Keeper::Here, here.unwrap_or_else(Kept::all));
        }
        let of_base = || {
            let copy = Topic { origin_name: base.clone()?, ..topic.clone() };
            self.said.of(&copy).map(|said| Settings::new(said.partitions(), said.retention(), None))
        };
        match self.said.of(topic).copied().or_else(of_base) {
            Some(said) => (Keeper::Origin, self.taken_over(&said)),
            // Its origin may mean to keep all of it.
            None => (Keeper::Here, Kept::all()),
        }
    }

    /// What a copy takes over of what is said of it. Nobody's slip of the pen takes away what is
    /// young or little, nor, unless copies are to be compacted, former records of a key.
    fn taken_over(&self, said: &Settings) -> Kept {
        let is_taken = |setting| !self.sync.exclude.contains(&setting);
        let Retention { time, bytes } = said.retention();
        let time = time.filter(|_| is_taken(SyncedSetting::RetentionTime));
        let bytes = bytes.filter(|_| is_taken(SyncedSetting::RetentionBytes));
        let retention = Retention {
            time: time.map(|time| time.max(self.sync.time_least.get())),
            bytes: bytes.map(|bytes| bytes.max(self.sync.bytes_least.get())),
        };
        let compaction = said.compaction().filter(|_| self.sync.compact);
        let compaction = compaction.map(|Compaction { tombstones }| Compaction {
            tombstones: tombstones.max(self.sync.time_least.get()),
        });
        Kept { retention, compaction, ..Kept::all() }
    }

    /// How many partitions a copy is to have, as far as that is said and taken over.
    pub(super) fn partitions(&self, topic: &Topic) -> Option<u32> {
        let is_taken = !self.sync.exclude.contains(&SyncedSetting::Partitions);
        self.said.partitions(topic).filter(|_| is_taken)
    }

    /// How a topic is compacted. A hub's own tables are; what another region calls so is a topic
    /// like any other.
    pub(super) fn compaction(&self, topic: &Topic) -> Option<Compaction> {
        if topic.is_local() && is_changing_table(&topic.name) {
            return self.tables;
        }
        if is_of_members(&topic.origin_name) {
            // Nobody takes back what was said of a life, so there are no tombstones.
            return Some(Compaction { tombstones: Duration::ZERO });
        }
        self.kept(topic).1.compaction
    }

    /// How far a peer has what it was sent of a partition; `None` before it said so in this run.
    pub(super) fn acked(&self, peer: &Identity, partition: &TopicPartition) -> Option<Offset> {
        self.acked.get(&(peer.clone(), partition.clone())).copied()
    }

    /// A peer is in this life. What it had in another one may be on a disk that is gone: it says
    /// anew how far it is.
    pub(super) fn on_life(&mut self, peer: &Identity, life: Incarnation) {
        let former = self.lives.insert(peer.clone(), life);
        if former.is_some_and(|former| former != life) {
            self.acked.retain(|(of, _), _| of != peer);
        }
    }

    /// Partitions start there in the log.
    pub(super) fn on_starts(&mut self, starts: impl IntoIterator<Item = (TopicPartition, Offset)>) {
        self.starts.extend(starts);
    }

    /// Where a partition starts in the log.
    pub(super) fn start(&self, partition: &TopicPartition) -> Offset {
        self.starts.get(partition).copied().unwrap_or_default()
    }

    /// Why records of a partition are gone, as far as that is known.
    pub(super) fn why(&self, partition: &TopicPartition) -> DropPolicy {
        self.shed.get(partition).copied().unwrap_or(DropPolicy::Acknowledged)
    }
}

/// How the batches of topics are compressed that are built of declared ones: dead letters.
///
/// # Errors
/// [`CodecNotBuilt`] when a codec is not in this build.
pub(super) fn codecs(topics: &[TopicConfig]) -> Result<TopicCodecs, CodecNotBuilt> {
    let rules = topics.iter().filter_map(|topic| {
        let dead = dead_topic(&topic.name).ok()?;
        Some((TopicPattern::Exactly(dead), topic.codec))
    });
    TopicCodecs::new(rules.collect())
}

impl Node {
    /// A peer has everything of a channel before `next` on disk.
    pub(super) fn on_acked(
        &mut self,
        now: Now,
        link_id: LinkId,
        channel: headland_event::ChannelId,
        next: Offset,
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        if known.is_beside(channel) {
            return;
        }
        if let Some(partition) = known.sending(channel).cloned() {
            let key = (known.identity.clone(), partition.clone());
            self.keeping.refused.remove(&key);
            let before = self.keeping.acked.insert(key, next);
            let mut peers = self.peers.iter_mut();
            if let Some(peer) = peers.find(|peer| peer.identity == known.identity) {
                peer.acked_at = Some(now.monotonic);
                // What it has to begin with was not sent in this run.
                let span = before.map(|before| (before, next));
                let topic = self.topics.get(&partition.topic).filter(|topic| !topic.is_internal());
                let marks = self.keeping.marks.get(&partition);
                if let (Some(span), Some(topic), Some(marks)) = (span, topic, marks) {
                    peer.on_arrived(now.monotonic, (topic.lane, marks), span);
                }
            }
            self.on_held(now, &partition);
        }
    }

    /// A peer does not take what a channel sends: it has it over another way, or is not configured
    /// to. Nothing waits for it, until it takes it after all.
    pub(super) fn on_not_taken(
        &mut self,
        link_id: LinkId,
        channel: headland_event::ChannelId,
        refusal: &Refusal,
    ) {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        if known.is_beside(channel) {
            return;
        }
        if let Some(partition) = known.sending(channel).cloned() {
            self.keeping.refused.insert((known.identity.clone(), partition));
        }
        known.on_refused(channel, refusal.clone());
    }

    /// How a topic is kept, and who says so.
    #[must_use]
    pub fn kept_of(&self, topic: &Topic) -> KeptStatus {
        let (said_by, Kept { retention, .. }) = self.keeping.kept(topic);
        let Retention { time, bytes } = retention;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        KeptStatus {
            said_by,
            retention_ms: time.map(millis),
            retention_bytes: bytes.map(ByteCount::get),
            compacted: self.keeping.compaction(topic).is_some(),
        }
    }

    /// Asks for the log to be cleaned, when that is due.
    pub(super) fn clean(&mut self, now: Now) {
        if self.clean_at().is_none_or(|due| now.monotonic < due) {
            return;
        }
        self.keeping.cleaned_at = now.monotonic;
        self.keeping.is_dirty = false;
        let policy = self.clean_policy();
        self.outputs.push_back(Output::Clean(policy));
    }

    /// When the log is cleaned next; `None` while nothing can have become superfluous. A full disk
    /// takes no commits, so what frees it must not wait for one.
    pub(super) fn clean_at(&self) -> Option<Monotonic> {
        let Keeping { cleaned_at, is_dirty, here, heartbeats, said, .. } = &self.keeping;
        if *is_dirty || self.fullness.is_full() {
            return Some(cleaned_at.after(CLEAN_EVERY));
        }
        let mut here = here.values().chain(heartbeats);
        let has_ages = here.any(|kept| kept.retention.time.is_some()) || said.have_ages();
        has_ages.then(|| cleaned_at.after(AGE_EVERY))
    }

    /// What the log may let go: what retention and compaction say of topics and their copies.
    pub(super) fn clean_policy(&self) -> CleanPolicy {
        let operators = vec![Self::snapshot_owner()];
        let mut policy = CleanPolicy { operators, ..CleanPolicy::default() };
        for topic in self.topics.iter() {
            let (_, Kept { retention, .. }) = self.keeping.kept(topic);
            if retention != Kept::all().retention {
                let pattern = TopicPattern::Exactly(topic.name.clone());
                policy.topics.push(TopicRule { pattern, retention });
            }
            // Lives are mixed there: what came last of a key need not be what holds of it.
            let is_mixed = topic.is_apart() && is_taken_late(&topic.origin_name);
            if is_mixed || topic.is_given_back() {
                continue;
            }
            // Of each key of a log of rights the last record is all there is.
            let is_cut = topic.origin_name == escrow_topic() && self.may_cut_rights();
            let of_rights = is_cut.then_some(Compaction { tombstones: ENDED_PROMISES_KEPT });
            if let Some(compaction) = self.keeping.compaction(topic).or(of_rights) {
                let pattern = TopicPattern::Exactly(topic.name.clone());
                policy.compactions.push(CompactionRule { pattern, compaction });
            }
        }
        for partition in self.durable.keys() {
            if self.is_last_word(partition) {
                // What is left of it is all that anybody needs: a region that is held back for days
                // takes the last word of each key, and the holes between.
                continue;
            }
            if let Some(hold) = self.slowest(partition) {
                policy.hold(partition.clone(), hold);
            }
            if let Some(regions) = self.regions_of(&partition.topic) {
                // A region that is told of a hole says afterwards that it has what is behind it.
                policy.keep(partition.clone(), self.held(partition, regions));
            }
        }
        policy
    }

    /// Whether of each key of a log the last record is all that anybody needs.
    fn is_last_word(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic).map(|topic| &topic.origin_name);
        topic.is_some_and(|topic| [groups_topic(), settings_topic()].contains(topic))
    }

    /// How far the slowest hub is that takes a partition; `None` when it is sent to none. One that
    /// was not met in this run may take it.
    fn slowest(&self, partition: &TopicPartition) -> Option<Offset> {
        let topic = self.topics.get(&partition.topic)?;
        let receivers = self.peers.iter().filter(|peer| {
            let region = peer.identity.region();
            peer.offering.offers(topic, region)
        });
        let keys = receivers.map(|peer| (peer.identity.clone(), partition.clone()));
        let taken = keys.filter(|key| !self.keeping.refused.contains(key));
        let acked = taken.map(|key| self.keeping.acked.get(&key).copied().unwrap_or_default());
        acked.min()
    }

    /// The log was cleaned: partitions start later, and what a linked hub did not have is named.
    pub fn on_cleaned(
        &mut self,
        starts: impl IntoIterator<Item = (TopicPartition, Offset)>,
        dropped: Vec<Dropped>,
    ) {
        self.keeping.on_starts(starts);
        self.let_go();
        for Dropped { partition, count: records, policy, .. } in dropped {
            let policy = match policy {
                ShedBy::Time => DropPolicy::Time,
                ShedBy::Bytes => DropPolicy::Bytes,
            };
            tracing::warn!(%partition, records, %policy, "shed records that a linked hub lacks");
            self.keeping.shed.insert(partition, policy);
        }
    }
}
