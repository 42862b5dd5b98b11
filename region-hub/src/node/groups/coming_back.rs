//! What groups had read before this hub began its life, and waiting for it.
//!
//! A hub that lost its disk, or goes on from a backup, lacks what groups have committed since, here
//! and elsewhere. Its peers have it: what was committed at theirs is in their own `_groups`, what
//! was committed here in copies of this region's, which they give back
//! ([`super::super::giving_back`]). The present life says that again in its own log, so that who
//! hears that life only knows it too.
//!
//! Whoever read on before that is here would read again what was read. So groups read on, are reset
//! and are shown only once each configured peer has brought all of `_groups` that it had when it
//! was met, or the time for it is up. Whoever commits where it is goes on at once: it knows better.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{Actor, Batch, ChannelId, GroupName, Monotonic, Now, Offset, RegionId};
use headland_replication::groups::{GroupRecord, Source};

use super::super::members::{JOIN_WAIT, LOOK_EVERY};
use super::super::recovery::owner;
use super::super::{KnownPeer, Node};
use super::{GroupError, Kept, json};
use crate::peer_link::LinkId;
use crate::records::groups_topic;

/// The key in the state `node` that is there while something may come back: a restart before that
/// waits as well.
pub(super) const KEY: &[u8] = b"groups";

/// How long peers may take in all that are linked by the time that others are not waited for any
/// more: a few megabytes over a slow link. Beyond it groups read on, and may read again.
const BRINGING_WAIT: Duration = Duration::from_secs(60);

/// Whether groups wait for what comes back.
#[derive(Debug, Default)]
pub(super) struct Wait(Option<Waiting>);

/// What is waited for.
#[derive(Debug, Default)]
struct Waiting {
    /// Until when peers are waited for that are not linked; not known before the first look.
    until: Option<Monotonic>,
    look_at: Monotonic,
    /// So many looks in a row have found that all is here.
    looks: u32,
    /// Up to where a channel has to bring what it carries: its end when it was met. Groups go on
    /// committing meanwhile.
    goals: BTreeMap<(LinkId, ChannelId), Offset>,
    /// Regions that had not brought all when it was looked at last.
    regions: Vec<RegionId>,
    /// Where groups have committed in this life, since it began.
    said: BTreeSet<(GroupName, Source)>,
}

/// How far a peer is with what it has to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// All of it is here.
    All,
    /// It is linked, and some of it is not here.
    More,
    /// It is not linked.
    Away,
}

impl Wait {
    /// A group was told here how far it has read.
    pub(super) fn on_said(&mut self, record: &GroupRecord) {
        if let Some(waiting) = &mut self.0 {
            waiting.said.insert((record.group.clone(), record.source()));
        }
    }

    /// Whether a group was told so of all these partitions while it was waited.
    pub(super) fn has_said<'a>(
        &self,
        group: &GroupName,
        mut of: impl Iterator<Item = &'a Source>,
    ) -> bool {
        let Some(waiting) = &self.0 else { return true };
        of.all(|source| waiting.said.contains(&(group.clone(), source.clone())))
    }
}

impl Node {
    /// This life begins: it is to hear how far groups had read, also after a restart meanwhile.
    pub(super) fn await_offsets_anew(&mut self) {
        self.await_offsets();
        if self.consumers.wait.0.is_some() {
            self.composer.set(owner("node"), KEY.into(), Some(Vec::new().into()));
        }
    }

    /// This life has not heard yet how far groups had read. Without peers nobody knows.
    pub(super) fn await_offsets(&mut self) {
        let regions = self.peers.iter().map(|peer| peer.identity.region().clone());
        let waiting = Waiting { regions: regions.collect(), ..Waiting::default() };
        self.consumers.wait = Wait(Some(waiting).filter(|waiting| !waiting.regions.is_empty()));
    }

    /// Looks, once a second, whether peers have brought how far groups had read.
    pub(in crate::node) fn look_for_offsets(&mut self, now: Now) {
        let Wait(waiting) = &mut self.consumers.wait;
        let due = waiting.take_if(|waiting| waiting.look_at <= now.monotonic);
        let Some(mut waiting) = due else { return };
        let until = *waiting.until.get_or_insert_with(|| now.monotonic.after(JOIN_WAIT));
        let mut brings = Vec::new();
        for peer in &self.peers {
            let found = self.brings_offsets(peer, &mut waiting.goals);
            brings.push((found, peer.identity.region().clone()));
        }
        let is_any = |what| brings.iter().any(|(found, _)| *found == what);
        let is_here = !is_any(Brings::More) && !is_any(Brings::Away);
        // What a hub has to say is announced soon after its hello, hence in time for the next look.
        waiting.looks = if is_here { waiting.looks + 1 } else { 0 };
        let limit = if is_any(Brings::More) { BRINGING_WAIT } else { JOIN_WAIT };
        let is_over = until.after(limit.saturating_sub(JOIN_WAIT)) <= now.monotonic;
        let lacking = brings.into_iter().filter(|(found, _)| *found != Brings::All);
        let lacking: Vec<RegionId> = lacking.map(|(_, region)| region).collect();
        if waiting.looks < 2 && !is_over {
            if !lacking.is_empty() {
                waiting.regions = lacking;
            }
            waiting.look_at = now.monotonic.after(LOOK_EVERY);
            self.consumers.wait = Wait(Some(waiting));
            return;
        }
        if lacking.is_empty() {
            tracing::info!("how far groups had read is here as peers have it: they read on");
        } else {
            tracing::warn!(
                ?lacking,
                "groups read on, and again what only these know they had read"
            );
        }
        self.end_wait();
        self.cut_commit();
    }

    /// Groups read on.
    pub(in crate::node) fn end_wait(&mut self) {
        self.consumers.wait = Wait::default();
        self.composer.set(owner("node"), KEY.into(), None);
    }

    /// When [`Self::look_for_offsets`] wants to look again; `None` when nothing is waited for.
    pub(in crate::node) fn offsets_at(&self) -> Option<Monotonic> {
        self.consumers.wait.0.as_ref().map(|waiting| waiting.look_at)
    }

    /// How far a peer is with its `_groups`, and with copies of others' that it hands on or gives
    /// back.
    fn brings_offsets(
        &self,
        peer: &KnownPeer,
        goals: &mut BTreeMap<(LinkId, ChannelId), Offset>,
    ) -> Brings {
        let link_id = self.peerings.get(&peer.identity).and_then(|peering| peering.kept());
        let known = link_id.and_then(|link_id| Some((link_id, self.peer_links.get(&link_id)?)));
        let Some((link_id, known)) = known.filter(|(_, known)| known.is_ready()) else {
            return Brings::Away;
        };
        let topic = groups_topic();
        let taken = known.all_receiving().filter(|of| of.origin_topic == topic).count();
        let mut come = 0;
        for status in known.subscribed(|of| *of == topic) {
            let goal = *goals.entry((link_id, status.channel)).or_insert(status.head);
            come += usize::from(status.passed >= goal);
        }
        // One whose position is not durable yet is not asked for.
        if come < taken { Brings::More } else { Brings::All }
    }

    /// Regions that may know yet how far groups had read; none once groups read on.
    pub(in crate::node) fn groups_wait_for(&self) -> Vec<RegionId> {
        self.consumers.wait.0.as_ref().map_or_else(Vec::new, |waiting| waiting.regions.clone())
    }

    /// Whether how far groups had read is here, as far as it is waited for.
    pub(super) fn is_back(&self) -> Result<(), GroupError> {
        let Wait(Some(waiting)) = &self.consumers.wait else { return Ok(()) };
        let regions: Vec<_> = waiting.regions.iter().map(RegionId::as_str).collect();
        Err(GroupError::NotBack { from: regions.join(", ") })
    }

    /// Takes over what a former life of this hub said of groups, and says it again. What it said of
    /// regions that were left, others say.
    pub(in crate::node) fn say_groups_again(&mut self, of: &Actor, batch: &Batch, now: Now) {
        let mut said = Vec::new();
        for record in batch.records().unwrap_or_default() {
            let value = record.value.unwrap_or_default();
            match serde_json::from_slice::<Kept>(&value) {
                // An earlier version does not say in which life of this hub's log it counts.
                Ok(Kept::Position(at)) if at.offset.is_none() || at.region != of.region => {
                    let held = self.hold_group(&at);
                    said.extend(held.map(|held| (held.key(), Some(json(&held)))));
                    self.look_for_former(&at, now);
                }
                Ok(Kept::End(end)) => {
                    let is_news = self.end_group(&end, now);
                    said.extend(is_news.then(|| (end.group.to_string(), Some(json(&end)))));
                }
                Ok(Kept::Position(_) | Kept::Fence(_)) | Err(_) => {}
            }
        }
        if let Err(error) = self.write_group_logs(said, now) {
            tracing::error!(%error, "committed offsets fit no batch");
        }
    }
}
