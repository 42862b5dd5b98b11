//! What peers deliver, on its way into the log.

use bytes::Bytes;
use headland_event::progress::FUTURE_LIMIT;
use headland_event::{
    AgentName, Alert, Batch, ChannelId, DropPolicy, Entry, Hole, Incarnation, NodeRule, Now,
    Offset, PartitionIndex, Record, TopicName, TopicPartition, Verdict,
};
use headland_replication::frame::{Announce, ChannelPromise};
use headland_replication::{Identity, LinkOutput, Refusal, RefusalCode};

use super::acks::Stored;
use super::early::{Brought, Turn};
use super::ends::Cut;
use super::recovery::owner;
use super::{Node, Output};
use crate::ingest::{Grant, MirrorError};
use crate::peer_link::{LinkId, Peer, Receiving};
use crate::promises::AgentPromise;
use crate::records::{
    REASON_HEADER, Whole, absent_record, dead_record, groups_topic, promise_record, promises_topic,
};
use crate::settings::settings_topic;
use crate::topics::{Topic, dead_topic};

/// What is refused when an entry is not taken.
enum Rejected {
    /// Its channel; the link's others flow on.
    Entry(Refusal),
    /// The whole link: the numbers of this peer cannot be trusted.
    Peer(Refusal),
}

impl Node {
    /// Does what a link asks for until it asks for nothing more.
    pub(super) fn drain(&mut self, now: Now, link_id: LinkId) {
        while let Some(output) =
            self.peer_links.get_mut(&link_id).and_then(|known| known.link.poll_output())
        {
            self.on_link_output(now, link_id, output);
        }
        self.peer_links.rest(&link_id);
    }

    fn on_link_output(&mut self, now: Now, link_id: LinkId, output: LinkOutput) {
        match output {
            LinkOutput::Send { lane, frame } => {
                self.outputs.push_back(Output::Send { link_id, lane, frame });
            }
            LinkOutput::PeerReady(hello) => {
                if self.is_kept(now, link_id, hello.incarnation) {
                    self.on_peer_ready(now, link_id, hello.incarnation);
                }
            }
            LinkOutput::Announced(announce) => self.on_announced(now, link_id, &announce),
            LinkOutput::Read { channel, from, limit } => {
                let Some(known) = self.peer_links.get_mut(&link_id) else { return };
                known.on_read(channel, from);
                if let Some(partition) = known.sending(channel).cloned() {
                    self.outputs.push_back(Output::Read {
                        link_id,
                        channel,
                        partition,
                        from,
                        limit,
                    });
                }
            }
            LinkOutput::Deliver { channel, entry } => {
                self.on_delivered(now, link_id, channel, entry);
            }
            LinkOutput::Promised(promise) => self.on_promised(now, link_id, promise),
            LinkOutput::Leased(message) => self.on_lease_message(now, link_id, message),
            LinkOutput::RefillAsked(ask) => self.on_refill_asked(now, link_id, &ask),
            LinkOutput::Refilled(part) => self.on_refill_part(now, link_id, part),
            LinkOutput::Acked { channel, next } => self.on_acked(now, link_id, channel, next),
            LinkOutput::OfferRefused { channel, refusal, asked } => {
                let Some(known) = self.peer_links.get_mut(&link_id) else { return };
                if refusal.code() == RefusalCode::Loop {
                    // It has it over another way, which is in order.
                    tracing::debug!(peer = %known.identity, %channel, %refusal, "not taken");
                } else {
                    tracing::warn!(peer = %known.identity, %channel, %refusal, "not taken");
                }
                self.look_beyond(now, link_id, (channel, asked));
                self.on_not_taken(link_id, channel, &refusal);
            }
            LinkOutput::Ended { channel, refusal } => {
                self.look_astray(now, link_id, channel, &refusal);
                let Some(known) = self.peer_links.get_mut(&link_id) else { return };
                known.on_ended(channel);
                let peer = &known.identity;
                tracing::warn!(%peer, %channel, %refusal, "a channel does not flow");
            }
            LinkOutput::Close(reason) => {
                tracing::info!(%link_id, %reason, "closing");
                self.on_over(now, link_id, reason.ended());
                self.on_failed(link_id, &reason.to_string());
                self.outputs.push_back(Output::Close { link_id, reason });
            }
        }
    }

    fn on_peer_ready(&mut self, now: Now, link_id: LinkId, life: Incarnation) {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        known.on_ready(life);
        self.keeping.on_life(&known.identity, life);
        if let Identity::Hub { region, .. } = &known.identity {
            self.keeping.said.on_met(region, life);
        }
        let handed_on = self.handed_on(link_id);
        let hands_on = self.speaking.is_some();
        self.look_for_copies_of_former(link_id);
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        if hands_on {
            known.offer_passed(self.identity.region());
        }
        known.hand_on(handed_on);
        let is_hub = match &known.peer {
            Peer::Agent(grant) => {
                self.promises.on_connected(now.monotonic, grant.agent());
                false
            }
            Peer::Hub(_) => true,
        };
        for (partition, end) in &self.durable {
            if let Some(topic) = self.topics.get(&partition.topic) {
                known.on_head(topic, partition, *end);
            }
        }
        if is_hub {
            self.note_peer_met();
            self.offer_leases(link_id);
            self.offer_refills(link_id);
        }
        self.on_up(now, link_id);
    }

    pub(super) fn on_announced(&mut self, now: Now, link_id: LinkId, announce: &Announce) {
        let Announce { channel, offer } = announce;
        let known = self.peer_links.get_mut(&link_id);
        let is_said = known.is_some_and(|known| known.take_passed(announce))
            || self.on_leases_offered(now, link_id, announce)
            || self.on_refills_offered(now, link_id, announce);
        if is_said {
            return;
        }
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let unlike = self.unlike(&known.identity, &offer.origin_topic);
        let is_hub = matches!(known.peer, Peer::Hub(_));
        if let Some(refusal) = unlike {
            let Some(known) = self.peer_links.get_mut(&link_id) else { return };
            tracing::error!(peer = %known.identity, %refusal, "refused a hub");
            known.link.refuse_peer(refusal);
            return;
        }
        if !is_hub && self.waits_for_lease(now.monotonic, link_id, announce) {
            return;
        }
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let admitted = match self.left().filter(|_| !is_hub) {
            // The agent keeps it, for when the region is returned to.
            Some(why) => Err(Refusal::new(RefusalCode::NotAuthorised, why)),
            None => known.admit(&self.topics, offer),
        };
        let admitted = admitted.and_then(|receiving| {
            if is_hub { self.mirror(link_id, receiving, offer) } else { Ok(receiving) }
        });
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        let receiving = match admitted {
            Ok(receiving) => receiving,
            Err(refusal) => {
                if refusal.code() == RefusalCode::Loop {
                    tracing::debug!(peer = %known.identity, %refusal, "refused a topic");
                } else {
                    tracing::warn!(peer = %known.identity, %refusal, "refused a topic");
                }
                known.link.refuse(*channel, refusal);
                return;
            }
        };
        if let Peer::Agent(grant) = &known.peer {
            self.promises.on_offer(grant.agent(), &receiving.local.topic);
        }
        let key = receiving.position_key.clone();
        known.receive(*channel, receiving.clone());
        let next = self.goes_on_at(&receiving);
        self.look_back(now, link_id, &receiving, (offer.head, next));
        let next = if is_hub { next } else { self.refills.resent.begin(&receiving, offer, next) };
        self.subscribe(now, (link_id, *channel), &key, next);
    }

    /// Takes a channel from `next` on, once that position is durable: the peer is told that all
    /// before it is. Until then nothing moves it, since the peer's former connection is gone.
    ///
    /// Only commits with that very position are waited for: while the disk is full those of events
    /// stand still, and alerts have to flow all the same.
    fn subscribe(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        key: &[u8],
        next: Offset,
    ) {
        let mut in_flight = self.in_flight.iter_mut().rev();
        if self.moved.contains(key) {
            self.subscribed.push((link_id, channel, next));
        } else if let Some(last) = in_flight.find(|commit| commit.moved.contains(key)) {
            last.subscribed.push((link_id, channel, next));
        } else {
            self.go_on(now, (link_id, channel), next);
        }
    }

    pub(super) fn on_delivered(
        &mut self,
        now: Now,
        link_id: LinkId,
        channel: ChannelId,
        entry: Entry,
    ) {
        let known = self.peer_links.get(&link_id);
        let receiving = known.and_then(|known| known.receiving(channel)).cloned();
        let Some(receiving) = receiving else { return };
        let place = (link_id, channel);
        let was_crowded = self.is_crowded(place);
        let Some((entry, turn)) = self.hold(place, &receiving.local, entry) else {
            if !was_crowded && self.is_crowded(place) {
                self.release_one(now, place);
            }
            return;
        };
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let again = self.refills.resent.next_of(&receiving.position_key);
        let position = again.unwrap_or_else(|| self.next_of(place, &receiving.position_key));
        if entry.base != position {
            // Only a superseded connection can be behind; the one after it has the data.
            tracing::debug!(%link_id, %channel, %position, base = %entry.base, "skipped an entry");
            return;
        }
        let (brought, next) = (Brought::of(&entry), entry.end());
        let accepted = match (&known.peer, turn) {
            (Peer::Agent(_), _) if self.refills.resent.is_known(&receiving, &entry) => Ok(()),
            (Peer::Agent(grant), _) => {
                let (grant, noted) = (grant.clone(), (entry.dot, entry.batch.span()));
                let ingested = self.ingest_entry(now, &grant, &receiving.local, entry);
                ingested
                    .map(|()| self.refills.resent.note(&receiving, noted))
                    .map_err(Rejected::Entry)
            }
            (Peer::Hub(_), Turn::PutOff) => {
                self.put_off(place, &receiving.local, &entry);
                Ok(())
            }
            (Peer::Hub(_), Turn::Comes | Turn::Waits) => {
                self.mirror_entry(now, place, &receiving, entry)
            }
        };
        if let Err(rejected) = accepted {
            self.reject(link_id, channel, rejected);
            return;
        }
        let again = self.refills.resent.go_on(&receiving, next).map(|position| (position, next));
        let (position, kept) = again.unwrap_or_else(|| {
            let kept = self.went_on(place, &receiving, brought);
            (kept, kept)
        });
        self.write_position(&receiving.position_key, position);
        self.stored.push(Stored { place, next, kept });
        self.advance_promises(link_id);
        self.cut_commit();
    }

    /// Where a channel goes on, in the commit that is being composed.
    pub(super) fn write_position(&mut self, key: &Bytes, next: Offset) {
        self.positions.insert(key.clone(), next);
        let value = next.get().to_be_bytes().to_vec();
        self.moved.insert(key.clone());
        self.composer.set(owner("positions"), key.clone(), Some(value.into()));
    }

    fn reject(&mut self, link_id: LinkId, channel: ChannelId, rejected: Rejected) {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        match rejected {
            Rejected::Entry(refusal) => {
                tracing::error!(%link_id, %channel, %refusal, "refused an entry");
                known.link.refuse(channel, refusal);
            }
            Rejected::Peer(refusal) => {
                let peer = &known.identity;
                tracing::error!(%link_id, %peer, %channel, %refusal, "refused a peer's numbers");
                known.link.refuse_peer(refusal);
            }
        }
    }

    /// Stamps a batch of an agent and composes it, with what it may not publish in a dead letter.
    fn ingest_entry(
        &mut self,
        now: Now,
        grant: &Grant,
        local: &TopicPartition,
        entry: Entry,
    ) -> Result<(), Refusal> {
        if local.topic == *self.inventory.configuration().0
            && let Some(why) = self.closed()
        {
            // The agent keeps it, for this region's next life or another hub.
            return Err(Refusal::new(RefusalCode::NotAuthorised, why));
        }
        let offset = self.composer.end(local);
        if let Some(hole) = Hole::of(&entry.batch) {
            // It is counted by its name once it is durable; there is no record to judge.
            let is_told_apart = entry.is_stand_in();
            let entry = named(local, entry, hole)?;
            if is_told_apart {
                self.say_lost_at(grant.agent(), (local, entry.base), hole, now);
            }
            let offset = self.composer.end(local);
            let stamp = self.ingest.stamp_hole(local, offset, &entry.batch, now.wall);
            self.composer.copied(local, entry.dot, Some(stamp), entry.batch);
            return Ok(());
        }
        let (stamp, records) = self
            .ingest
            .stamp(local, offset, &entry.batch, grant, now.wall)
            .map_err(|error| broken(local, &entry, &error.to_string()))?;
        let forbidden: Vec<Record> = records
            .iter()
            .filter(|(delta, _)| stamp.verdict(*delta) == Verdict::Forbidden)
            .filter_map(|(delta, record)| {
                let reason = self.ingest.forbidden(grant, local, record)?.to_string();
                Some(dead_record(record, &reason, Whole::At(offset.at(*delta))))
            })
            .collect();
        self.composer.copied(local, entry.dot, Some(stamp), entry.batch);
        if let Some(first) = forbidden.first() {
            // One line for all: a device that is not granted sends as fast as any other.
            let (agent, topic, records) = (grant.agent(), &local.topic, forbidden.len());
            let first = first.header(REASON_HEADER).map(String::from_utf8_lossy);
            tracing::warn!(%agent, %topic, records, first = first.as_deref(), "not published");
            self.bury(local, &forbidden, now);
        }
        Ok(())
    }

    /// An agent lost records of an earlier life by damage: that is said before the hole is stored.
    fn say_lost_at(
        &mut self,
        agent: &AgentName,
        (local, base): (&TopicPartition, Offset),
        Hole { count, policy }: Hole,
        now: Now,
    ) {
        tracing::error!(%agent, %local, %base, count, %policy, "an agent lost records for good");
        let place = (format!("agent/{agent}|{local}"), base.to_string());
        let facts = [("records", count.to_string()), ("policy", policy.to_string())];
        let alert = Alert::of_node(NodeRule::DamagedLog, place, now.wall, facts);
        self.raise(&alert, now);
    }

    /// Composes dead letters of a partition's topic. It cannot fail: the records themselves are in
    /// the log already, and refusing them now would store them again on every connection.
    fn bury(&mut self, local: &TopicPartition, records: &[Record], now: Now) {
        let Ok(topic) = dead_topic(&local.topic) else { return };
        let dead = TopicPartition::new(topic, local.partition);
        for batch in self.codecs.encode_all(&dead.topic, records) {
            match batch {
                Ok(batch) => self.born(&dead, batch, now),
                Err(error) => tracing::error!(%dead, %error, "a dead letter fits no batch"),
            }
        }
    }

    /// Composes a batch of another region as it came.
    fn mirror_entry(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        receiving: &Receiving,
        entry: Entry,
    ) -> Result<(), Rejected> {
        let Receiving { local, origin_topic, .. } = receiving;
        let unfit = |why: &str| Err(Rejected::Entry(broken(local, &entry, why)));
        let Some(stamp) = &entry.stamp else {
            return unfit("a hub sent a batch without a stamp");
        };
        if self.is_of_another_self(origin_topic, stamp, &entry.batch) {
            return unfit("it is of this life of this hub, which has not written it");
        }
        let topic = self.topics.get(&local.topic);
        if topic.is_none_or(|topic| topic.origin != stamp.actor.region) {
            return unfit(&format!("its stamp is of region {}", stamp.actor.region));
        }
        if stamp.actor.partition != local.partition {
            return unfit(&format!("its stamp is of partition {}", stamp.actor.partition));
        }
        if let Err(error) = entry.batch.records() {
            return unfit(&error.to_string());
        }
        if let Err(error) = self.ingest.check_mirrored(origin_topic, stamp, &entry.batch) {
            let text = refused_text(local, &entry, &error.to_string());
            let code = match error {
                MirrorError::Overflow { .. } | MirrorError::Clock { .. } => RefusalCode::BadFrame,
                // Until an operator acts, every attempt ends alike.
                MirrorError::TooManyActors { .. } => RefusalCode::NotAuthorised,
            };
            return Err(Rejected::Peer(Refusal::new(code, text)));
        }
        if self.topics.get(&local.topic).is_some_and(Topic::is_given_back) {
            self.take_back(now, (local, origin_topic), entry);
            return Ok(());
        }
        let is_apart = self.topics.get(&local.topic).is_some_and(Topic::is_apart);
        // Whose records are gone from a topic in which lives are mixed is not known: passing over
        // what a hole's stamp says could pass over what others have.
        let is_stand_in = entry.is_stand_in();
        let is_hole =
            is_stand_in || Hole::of(&entry.batch).is_some() && !self.is_of_inventory(origin_topic);
        let cut = self.cut_by((link_id, channel), receiving, &entry);
        self.note_compacted((link_id, channel), receiving, &entry, cut);
        let is_passed = is_hole && cut != Some(Cut::Through);
        if is_apart && (is_passed || self.has(origin_topic, stamp, &entry.batch)) {
            return Ok(());
        }
        if is_apart && self.is_beyond(origin_topic, stamp) {
            return unfit("it is of one log more than are told apart");
        }
        if !is_stand_in {
            self.regain(&local.topic, origin_topic, (stamp, &entry.batch));
            self.go_on_behind_loss(local, &stamp.actor);
            self.ingest.observe(origin_topic, stamp, &entry.batch);
        }
        if cut != Some(Cut::GoesOn) {
            self.note_end(local, origin_topic, stamp, &entry.batch);
        }
        if !is_apart {
            self.follow(local, stamp, now);
        }
        if *origin_topic == groups_topic() {
            self.take_groups(now, link_id, &stamp.actor.region, &entry.batch);
        }
        if *origin_topic == settings_topic() {
            self.take_settings(&local.topic, &entry);
        }
        self.composer.copied(local, entry.dot, entry.stamp, entry.batch);
        Ok(())
    }

    /// Composes a batch born at this hub.
    pub(super) fn born(&mut self, partition: &TopicPartition, batch: Batch, now: Now) {
        let offset = self.composer.end(partition);
        let stamp = self.ingest.stamp_born(partition, offset, Vec::new(), now.wall);
        self.ingest.observe(&partition.topic, &stamp, &batch);
        self.note_end(partition, &partition.topic, &stamp, &batch);
        self.composer.born(partition, Some(stamp), batch, &mut self.random);
    }

    fn on_promised(&mut self, now: Now, link_id: LinkId, promise: ChannelPromise) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        // Promises of other regions are records of their `_promises`; only agents send frames.
        let Peer::Agent(grant) = &known.peer else { return };
        let ChannelPromise { topic, watermark, ends } = promise;
        if watermark > now.wall.plus(FUTURE_LIMIT) {
            // One row from the future must not make all that follows it late.
            tracing::warn!(agent = %grant.agent(), %topic, %watermark, "ignored a future promise");
            return;
        }
        let sources = ends
            .iter()
            .map(|end| Some((known.receiving(end.channel)?.source.clone(), end.end)))
            .collect::<Option<Vec<_>>>();
        // Without its ends a promise would take effect before its data is here.
        let Some(ends) = sources.filter(|ends| !ends.is_empty()) else { return };
        self.promises.on_promise(grant.agent(), AgentPromise { topic, watermark, ends });
        self.advance_promises(link_id);
    }

    fn advance_promises(&mut self, link_id: LinkId) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let Peer::Agent(grant) = &known.peer else { return };
        let positions = &self.positions;
        self.promises.on_progress(grant.agent(), |source| {
            known
                .all_receiving()
                .find(|receiving| receiving.source == *source)
                .and_then(|receiving| positions.get(&receiving.position_key))
                .copied()
                .unwrap_or_default()
        });
    }

    /// Logs the region's promises that have risen, at most once per interval.
    pub(super) fn promise(&mut self, now: Now) {
        if now.monotonic < self.promise_at {
            return;
        }
        self.promise_at = now.monotonic.after(self.promise_interval);
        let local: Vec<TopicName> =
            self.topics.iter().filter(|topic| topic.is_local()).map(|t| t.name.clone()).collect();
        for topic in local {
            let Some(watermark) = self.promises.watermark(&topic) else { continue };
            if !self.ingest.promise(&topic, watermark) {
                continue;
            }
            let ends = self
                .composer
                .ends()
                .filter(|(partition, _)| partition.topic == topic)
                .map(|(partition, end)| (partition.partition, end))
                .collect();
            let key = topic.as_str().to_owned();
            let value = watermark.millis().to_be_bytes().to_vec();
            self.composer.set(owner("watermarks"), key.into(), Some(value.into()));
            self.born_promise(promise_record(&topic, watermark, &ends, now), now);
            self.cut_commit();
        }
    }

    /// Logs agents that have been silent for the hold time.
    pub(super) fn name_absent(&mut self, now: Now) {
        let absent: Vec<AgentName> = self.promises.on_timeout(now.monotonic);
        for agent in absent {
            tracing::warn!(%agent, "absent: it holds the region's event time no longer");
            self.born_promise(absent_record(&agent, now), now);
        }
    }

    fn born_promise(&mut self, record: Record, now: Now) {
        let partition = TopicPartition::new(promises_topic(), PartitionIndex::new(0));
        // One small record of ours is always a batch.
        if let Ok(batch) = Batch::encode(&[record]) {
            self.born(&partition, batch, now);
        }
    }
}

/// An agent's hole as the log has it. Of an earlier life of its own an agent knows no dots, as a
/// hub knows none of what it lost itself: others would wait for what nobody has. So what damage
/// took there has the name of that life, and an alert says why.
fn named(local: &TopicPartition, entry: Entry, hole: Hole) -> Result<Entry, Refusal> {
    if !entry.is_stand_in() {
        return Ok(entry);
    }
    let hole = Hole { policy: DropPolicy::EarlierLife, ..hole };
    match hole.to_batch(entry.batch.span(), entry.batch.base_time()) {
        Ok(batch) => Ok(Entry { batch, ..entry }),
        Err(error) => Err(broken(local, &entry, &error.to_string())),
    }
}

fn broken(local: &TopicPartition, entry: &Entry, why: &str) -> Refusal {
    Refusal::new(RefusalCode::BadFrame, refused_text(local, entry, why))
}

fn refused_text(local: &TopicPartition, entry: &Entry, why: &str) -> String {
    let Entry { base, dot, .. } = entry;
    format!("an entry for {local} at {base} (dot {dot}) cannot be stored: {why}")
}
