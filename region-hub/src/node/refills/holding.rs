//! Reads for peers that met damage, and wait until it is known whether what was lost comes back.
//!
//! A peer that is sent a hole keeps it: what comes back here later does not come to its copy any
//! more, which would lack for good what others have. So a channel waits before what is lost here,
//! as long as what came for it is to be put back, and until each configured region was asked for
//! it: ten minutes at most, as agents are asked no sooner. Other partitions go on, and alerts and
//! what hubs tell each other wait for nothing: who reads them is served by what comes now.

use std::collections::BTreeMap;

use headland_event::{ChannelId, Lane, Monotonic, Now, RegionId, TopicPartition};
use headland_storage::MissingOffsets;

use super::super::Node;
use super::resent::HUBS_AWAITED;
use crate::peer_link::LinkId;

/// Reads that wait.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Of each channel what its read met.
    reads: BTreeMap<(LinkId, ChannelId), MissingOffsets>,
    /// Until when regions that were not asked are waited for, or were.
    until: BTreeMap<TopicPartition, Monotonic>,
    /// When the first of these is over.
    wake_at: Option<Monotonic>,
}

impl Holding {
    /// Forgets the reads of a connection that is over.
    pub(super) fn forget(&mut self, link_id: LinkId) {
        self.reads.retain(|(of, _), _| *of != link_id);
    }

    /// When [`Node::release_reads`] wants to be called.
    pub(super) const fn wake_at(&self) -> Option<Monotonic> {
        self.wake_at
    }

    /// Until when regions are waited for that were not asked for what a partition lost.
    fn until(&mut self, now: Now, partition: &TopicPartition) -> Monotonic {
        let begun = now.monotonic.after(HUBS_AWAITED);
        let until = self.until.entry(partition.clone()).or_insert(begun);
        // What is lost later is waited for again.
        if until.after(HUBS_AWAITED) <= now.monotonic {
            *until = begun;
        }
        *until
    }
}

impl Node {
    /// Has a read that met damage wait, when what was lost may come back; says whether it does.
    pub(in crate::node) fn hold_read(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        lost: &MissingOffsets,
    ) -> bool {
        if !self.is_coming_back(now, lost) {
            return false;
        }
        let Some(known) = self.peer_links.get_mut(&link_id) else { return false };
        let MissingOffsets { partition, from, until } = lost;
        tracing::info!(peer = %known.identity, %partition, %from, %until, "waits for lost records");
        known.link.put_off(channel);
        self.refills.holding.reads.insert((link_id, channel), lost.clone());
        self.wake_for_reads(now);
        self.drain(now, link_id);
        true
    }

    /// Reads on where nothing is waited for any more.
    pub(super) fn release_reads(&mut self, now: Now) {
        if self.refills.holding.reads.is_empty() {
            return;
        }
        for (place, lost) in std::mem::take(&mut self.refills.holding.reads) {
            if self.is_coming_back(now, &lost) {
                self.refills.holding.reads.insert(place, lost);
                continue;
            }
            let (link_id, channel) = place;
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.link.go_on(channel);
                self.drain(now, link_id);
            }
        }
        self.wake_for_reads(now);
    }

    fn wake_for_reads(&mut self, now: Now) {
        let Holding { reads, until, wake_at } = &mut self.refills.holding;
        let untils = reads.values().filter_map(|lost| until.get(&lost.partition)).copied();
        *wake_at = untils.filter(|until| now.monotonic < *until).min();
    }

    /// Whether some of a range is to be put back, or may be at a region that was not asked yet.
    fn is_coming_back(&mut self, now: Now, lost: &MissingOffsets) -> bool {
        let MissingOffsets { partition, from, until } = lost;
        let is_urgent = self
            .topics
            .get(&partition.topic)
            .is_none_or(|topic| topic.lane == Lane::Alerts || topic.is_internal());
        if is_urgent || !self.may_come_back(partition) {
            return false;
        }
        let first = (partition.clone(), *from);
        let mut came = self.refills.givers.range(first..).map(|((of, at), _)| (of, at));
        let is_here = came.next().is_some_and(|(of, at)| of == partition && at < until);
        let is_of_it = |known: &&MissingOffsets| {
            known.partition == *partition && known.from < *until && *from < known.until
        };
        let mut known = self.missing.offsets().filter(is_of_it);
        let is_coming = is_here || known.any(|known| self.is_open(known));
        is_coming && now.monotonic < self.refills.holding.until(now, partition)
    }

    /// Whether a configured region was not asked for a range that none gave all of.
    fn is_open(&self, lost: &MissingOffsets) -> bool {
        let mut regions = self.peers.iter().map(|peer| peer.identity.region());
        let Some(tried) = self.refills.tried.get(lost) else { return regions.next().is_some() };
        let has_said = |of: &RegionId| tried.not_at.contains(of) || tried.wrong_at.contains(of);
        !tried.is_found && !regions.all(has_said)
    }
}
