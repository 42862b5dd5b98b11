//! Records that say that this hub is there, for who watches topics instead of links.
//!
//! A heartbeat is a record like any other: it takes the way of the hub's topics to all who read
//! them, on the lane of bulk, so that one that is missing or late says something of that way. The
//! link's own sign of life is a keepalive.

use std::time::Duration;

use bytes::Bytes;
use headland_event::{Batch, Monotonic, Now, PartitionIndex, SeededRandom, TopicPartition};
use headland_storage::StateStore;

use super::recovery::owner;
use super::{Node, RecoveryError};
use crate::config::HeartbeatsConfig;
use crate::records::{heartbeat_record, heartbeats_topic};

/// What tells the stream of heartbeats from others whose ids are made of the life alone.
const STREAM: u64 = 0xbea7;

/// When the next one is due.
#[derive(Debug)]
pub(super) struct Heartbeats {
    every: Duration,
    keep: Duration,
    due_at: Monotonic,
}

impl Heartbeats {
    /// The first one is due at once.
    pub(super) fn new(config: &HeartbeatsConfig, now: Monotonic) -> Self {
        Self { every: config.every.get(), keep: config.keep.get(), due_at: now }
    }
}

impl Node {
    /// Lets old heartbeats go, where their log holds nothing else: agents may have published a
    /// topic of that name before. That it began with heartbeats is kept until there are none any
    /// more.
    pub(super) fn restore_heartbeats(
        &mut self,
        state: &impl StateStore,
    ) -> Result<(), RecoveryError> {
        let key = Bytes::from_static(b"heartbeats");
        let is_own = state.get(&owner("node"), &key)?.is_some();
        let keep = self.heartbeats.as_ref().map(|heartbeats| heartbeats.keep);
        let is_empty = self.composer.ends().all(|(at, _)| at.topic != heartbeats_topic());
        match keep {
            Some(keep) if is_own || is_empty => {
                self.keeping.limit_heartbeats(keep);
                if !is_own {
                    self.composer.set(owner("node"), key, Some(Bytes::from_static(b"own")));
                }
            }
            Some(_) => tracing::warn!(
                "topic heartbeats holds what was published before [heartbeats]: all of it is kept"
            ),
            None if is_own => self.composer.set(owner("node"), key, None),
            None => {}
        }
        Ok(())
    }

    /// Writes a heartbeat, when one is due. Those of a time in which nothing could be written are
    /// left out.
    pub(super) fn beat(&mut self, now: Now) {
        let Some(heartbeats) = &mut self.heartbeats else { return };
        if now.monotonic < heartbeats.due_at {
            return;
        }
        heartbeats.due_at = now.monotonic.after(heartbeats.every);
        let record = heartbeat_record(self.identity.region(), self.incarnation, now);
        match Batch::encode(&[record]) {
            Ok(batch) => {
                let at = TopicPartition::new(heartbeats_topic(), PartitionIndex::new(0));
                // Not drawn: the schedule of all else is that of a hub without heartbeats.
                let mut random = SeededRandom::new(self.incarnation.nonce() ^ STREAM);
                self.born_by(&at, batch, now, &mut random);
            }
            // A region's name and two numbers always fit.
            Err(error) => tracing::error!(%error, "a heartbeat fits no batch"),
        }
    }

    /// When the next one is due; `None` without heartbeats, and while the disk takes none.
    pub(super) fn beat_at(&self) -> Option<Monotonic> {
        let due_at = self.heartbeats.as_ref().map(|heartbeats| heartbeats.due_at);
        due_at.filter(|_| !self.fullness.is_full())
    }

    /// Composes a batch born at this hub, where another draws the stream's id, should it be new.
    pub(super) fn born_by(
        &mut self,
        partition: &TopicPartition,
        batch: Batch,
        now: Now,
        random: &mut SeededRandom,
    ) {
        std::mem::swap(&mut self.random, random);
        self.born(partition, batch, now);
        std::mem::swap(&mut self.random, random);
    }
}
