//! When the log is cleaned, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{DropPolicy, Incarnation, Monotonic, Now, Offset, TopicName, TopicPartition};
use headland_replication::{Identity, Marks, Refusal};
use headland_storage::{
    CleanPolicy, CodecNotBuilt, Compaction, CompactionRule, Dropped, LogReader, Retention, ShedBy,
    TopicCodecs, TopicPattern, TopicRule,
};

use super::{Node, Output};
use crate::config::{HubConfig, TopicConfig};
use crate::escrow::escrow_topic;
use crate::members::{is_of_members, reported_topics};
use crate::peer_link::LinkId;
use crate::records::{audit_topic, groups_topic};
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

/// What is kept, and who has what of it.
#[derive(Debug)]
pub(super) struct Keeping {
    /// By the topic's name where it was born.
    retentions: BTreeMap<TopicName, Retention>,
    /// Topics that are compacted by key, by their names where they were born.
    compactions: BTreeMap<TopicName, Compaction>,
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
        let topics = config.topics.iter();
        let retentions = topics.clone().map(|topic| (topic.name.clone(), topic.retention.into()));
        let retentions = retentions.chain([(audit_topic(), super::audit::RETENTION)]);
        let compactions =
            topics.filter_map(|topic| Some((topic.name.clone(), topic.compaction()?)));
        // Of a committed offset the last word is all there is.
        let groups = (groups_topic(), Compaction { tombstones: Duration::ZERO });
        let starts = log.partitions().into_iter().map(|at| (at.clone(), log.start(&at)));
        Self {
            retentions: retentions.collect(),
            compactions: compactions.chain([groups]).collect(),
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

    /// The retention of a topic by its name where it was born: its own, or that of the topic it
    /// came with.
    fn retention(&self, topic: &TopicName) -> Option<Retention> {
        let own = self.retentions.get(topic);
        let of_base = || self.retentions.get(&base_topic(topic)?);
        own.or_else(of_base).copied()
    }

    /// How a topic is compacted. A hub's own tables are; what another region calls so is a topic
    /// like any other.
    fn compaction(&self, topic: &Topic) -> Option<Compaction> {
        if topic.is_local() && is_changing_table(&topic.name) {
            return self.tables;
        }
        if is_of_members(&topic.origin_name) {
            // Nobody takes back what was said of a life, so there are no tombstones.
            return Some(Compaction { tombstones: Duration::ZERO });
        }
        self.compactions.get(&topic.origin_name).copied()
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
        if known.is_again(channel) {
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
        if known.is_again(channel) {
            return;
        }
        if let Some(partition) = known.sending(channel).cloned() {
            self.keeping.refused.insert((known.identity.clone(), partition));
        }
        known.on_refused(channel, refusal.to_string());
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
        let Keeping { cleaned_at, is_dirty, retentions, .. } = &self.keeping;
        if *is_dirty || self.fullness.is_full() {
            return Some(cleaned_at.after(CLEAN_EVERY));
        }
        let ages = retentions.values().any(|retention| retention.time.is_some());
        ages.then(|| cleaned_at.after(AGE_EVERY))
    }

    /// What the log may let go: what retention and compaction say of topics and their copies.
    pub(super) fn clean_policy(&self) -> CleanPolicy {
        let operators = vec![Self::snapshot_owner()];
        let mut policy = CleanPolicy { operators, ..CleanPolicy::default() };
        for topic in self.topics.iter() {
            if let Some(retention) = self.keeping.retention(&topic.origin_name) {
                let pattern = TopicPattern::Exactly(topic.name.clone());
                policy.topics.push(TopicRule { pattern, retention });
            }
            // Lives are mixed there: what came last of a key need not be what holds of it.
            if topic.is_apart() && reported_topics().contains(&topic.origin_name) {
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
            if self.is_of_groups(partition) {
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

    fn is_of_groups(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        topic.is_some_and(|topic| topic.origin_name == groups_topic())
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
