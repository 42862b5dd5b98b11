//! Damage to the log: what is missing is named to operators and peers, and all else is served.

/// Records that senders name as gone.
mod gone;

use std::collections::BTreeSet;

use headland_event::{
    Alert, Batch, ByteCount, ChannelId, DropPolicy, Entry, Lane, Now, PartitionIndex, Record,
    RegionId, TopicPartition,
};
use headland_storage::{Missing, MissingCommits, MissingOffsets};

use super::{Node, Output, StartError};
use crate::members::members_partition;
use crate::peer_link::{LinkId, murmur2};
use crate::records::alerts_topic;
pub(super) use gone::Gone;

/// Bytes read at once behind damage; as the link's own reads it is small beside a lane's window.
const READ_BYTES: ByteCount = ByteCount::new(256 << 10);

impl Node {
    /// The log was replayed, and `missing` is what it lacks by damage: that is said and alerted.
    ///
    /// # Errors
    /// [`StartError::HistoryGone`] when no snapshot was taken up and retention has removed the
    /// beginning of what stock is made of: what would be reconciled is not what there is.
    pub fn on_replay_ended(&mut self, now: Now, missing: Missing) -> Result<(), StartError> {
        let missing = self.less_unused(missing);
        self.check_beginnings(&missing)?;
        for MissingCommits { file, from, until, lost } in missing.commits() {
            tracing::error!(file, %from, %until, ?lost, "commits are damaged; the rest is served");
        }
        for lost in missing.offsets() {
            say(lost);
        }
        if missing.offsets().any(|lost| lost.partition == members_partition()) {
            self.inventory.say_again();
        }
        if self.speaking.is_none() && !self.inventory.reconciler().compacted().ends().is_empty() {
            tracing::error!(
                "there is no section [membership] any more: a stocktake that cannot be judged here \
                 would not count here and count elsewhere; put it back"
            );
        }
        if missing.offsets().any(|lost| self.is_inventory_at(&lost.partition)) {
            self.ask_from_the_beginning();
        }
        let alerts = missing.alerts(&self.identity.to_string(), now.wall);
        alerts.iter().for_each(|alert| self.raise(alert, now));
        self.missing = missing;
        // What retention let go just before the end of the last run.
        self.let_go();
        if self.note_lost_ends() {
            self.ask_from_the_beginning();
        }
        // What a scrub finds is lost at once, and asked for later: this may be the first to ask.
        let lost: BTreeSet<RegionId> =
            self.lost_ranges().into_iter().map(|(actor, _)| actor.region).collect();
        for origin in &lost {
            self.ask_from_the_beginning_of(origin);
        }
        self.seek_lost();
        let damaged: BTreeSet<TopicPartition> =
            self.missing.offsets().map(|lost| lost.partition.clone()).collect();
        damaged.iter().for_each(|log| self.ask_agents_later(now, log));
        self.look_for_repeats();
        let hlc = self.ingest.hlc();
        if let Some(rules) = &mut self.rules {
            rules.on_replay_ended(hlc);
        }
        self.begin_life(now);
        self.say_settings(now);
        Ok(())
    }

    /// Whether a partition here is a log of inventory, or a copy of some of one.
    fn is_inventory_at(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        topic.is_some_and(|topic| self.is_of_inventory(&topic.origin_name))
    }

    fn check_beginnings(&self, missing: &Missing) -> Result<(), StartError> {
        let mut beginnings = missing.beginnings().iter();
        let gone = beginnings.find(|(partition, _)| self.is_inventory_at(partition));
        let Some((partition, found)) = gone.cloned() else { return Ok(()) };
        let (data_dir, why) = (self.data_dir.clone(), self.no_snapshot.clone());
        Err(StartError::HistoryGone { data_dir, partition, found, why })
    }

    /// The log's answer to [`Output::Read`].
    pub fn on_entries(
        &mut self,
        now: Now,
        link_id: LinkId,
        channel: ChannelId,
        entries: Vec<Entry>,
    ) {
        self.scrub.on_other_read();
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            let partition = known.sending(channel).cloned();
            let why = partition.as_ref().map(|partition| self.keeping.why(partition));
            let why = why.unwrap_or(DropPolicy::Acknowledged);
            let start = partition.as_ref().map(|partition| self.keeping.start(partition));
            let let_go = (start.unwrap_or_default(), why);
            let damaged = known.on_entries(channel, entries, let_go);
            if let Some((partition, part)) = partition.zip(damaged) {
                self.on_damaged_part(now, &partition, &part);
            }
            self.drain(now, link_id);
        }
    }

    /// The log met damage where [`Output::Read`] was to go on. Where it may come back the read
    /// waits for that; else what lies there is given up, the read goes on behind it, and the peer
    /// is told what is missing.
    pub fn on_damaged(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        lost: MissingOffsets,
    ) {
        let MissingOffsets { partition, from: _, until } = lost.clone();
        self.note_damage(now, &lost);
        let known = self.peer_links.get(&link_id);
        let began = known.and_then(|known| known.read_from(channel)).unwrap_or(lost.from);
        self.on_damaged_end(now, MissingOffsets { from: lost.from.min(began), ..lost.clone() });
        if self.hold_read(now, (link_id, channel), &lost) {
            return;
        }
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        known.on_damaged(channel);
        let (from, limit) = (until, READ_BYTES);
        let read = Output::Read { link_id, channel, partition, from, limit };
        if self.note_gap(link_id, &lost) {
            // That the peer is behind the hole must never count, not after a crash either.
            self.acks.read_later(self.composer.next_ticket(), read);
        } else {
            self.outputs.push_back(read);
        }
    }

    /// Offsets of the log are damaged: that is said and alerted, once in a run.
    pub(super) fn note_damage(&mut self, now: Now, lost: &MissingOffsets) {
        let Some(lost) = &self.less_unused_of(lost) else { return };
        if self.missing.add(lost.clone()) {
            if lost.partition == members_partition() {
                self.inventory.say_again();
            }
            say(lost);
            let alert = lost.alert(&self.identity.to_string(), now.wall);
            self.raise(&alert, now);
            self.on_damage_apart(&lost.partition);
            self.on_more_lost(now);
            self.ask_agents_later(now, &lost.partition);
        }
    }

    /// The same of commits that a scrub found.
    pub(super) fn note_damaged_commits(&mut self, now: Now, commits: MissingCommits) {
        if self.missing.add_commits(commits.clone()) {
            let alert = commits.alert(&self.identity.to_string(), now.wall);
            let MissingCommits { file, from, until, lost } = commits;
            tracing::error!(file, %from, %until, ?lost, "commits are damaged; the rest is served");
            self.raise(&alert, now);
        }
    }

    /// What is known to be missing from the log by damage, in this run.
    #[must_use]
    pub const fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Writes an alert of the hub itself, into the partition of its key.
    pub(super) fn raise(&mut self, alert: &Alert, now: Now) {
        let topic = alerts_topic();
        let partitions = self.topics.get(&topic).map_or(1, |topic| topic.partitions);
        debug_assert!(
            self.topics.get(&topic).is_none_or(|topic| topic.lane == Lane::Alerts),
            "alerts have their lane"
        );
        let index = (murmur2(alert.key.as_bytes()) & 0x7fff_ffff) % partitions.max(1);
        #[expect(clippy::expect_used, reason = "text and numbers always have a JSON")]
        let value = serde_json::to_vec(alert).expect("an alert has a JSON");
        let record = Record::new(now.wall, alert.key.clone(), value);
        // One small record of ours is always a batch.
        if let Ok(batch) = Batch::encode(&[record]) {
            self.born(&TopicPartition::new(topic, PartitionIndex::new(index)), batch, now);
            self.cut_commit();
        }
    }
}

fn say(lost: &MissingOffsets) {
    let MissingOffsets { partition, from, until } = lost;
    let records = until.since(*from);
    tracing::error!(%partition, %from, %until, records, "records are damaged; the rest is served");
}
