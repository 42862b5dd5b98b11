//! Logs that end before where others have them to: of agents, and this hub's own.
//!
//! An agent writes each number of a life once. When the log that it offers is shorter than what is
//! here of the same life, then its data directory was copied and both go on, or it was taken back
//! (a snapshot of a whole machine, a disk that lost what it had reported to be written). What it
//! wrote since has numbers that were given before, and is passed over: the hub takes it for what it
//! has. Nobody else sees that before it is too late, so it is said at the first contact.
//!
//! The same may happen to this hub. A copy of its data directory is seen when the store opens it,
//! and goes on in a new life as what was restored from a backup does: nothing forks. What is taken
//! back with its place (a snapshot of a volume) is seen when a peer stands beyond the end of a log
//! of this life. Whatever the hub writes from then on lies under offsets that others have: it
//! writes and says nothing more, the directory's life is over, and the next start begins another.
//!
//! A peer's word is all there is. So a life that began that way does not end so again: whoever
//! makes hubs end by lying does it once, and is named by the alert after that.

use std::collections::BTreeSet;

use bytes::Bytes;
use headland_event::{AgentName, Alert, ChannelId, NodeRule, Now, Offset, TopicPartition};
use headland_replication::{Refusal, RefusalCode};
use headland_storage::{OpenReport, Standing};

use super::Node;
use crate::peer_link::{LinkId, Peer, Receiving};

/// Most logs of which it is remembered that it was said; beyond, each is said once more. As many
/// as there may be agents that are a copy, far more than anybody copies in error.
const SAID_LIMIT: usize = 4_096;

/// That the log of this hub was taken back: a peer has more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data directory was taken back: {peer} has {log} up to {held_to}, and this hub, which \
     wrote it in this life, up to {ends_at}. It has stopped taking and writing; start it again, \
     and it goes on in a new life"
)]
pub struct TakenBack {
    /// The peer.
    pub peer: String,
    /// The log.
    pub log: TopicPartition,
    /// Where it ends here.
    pub ends_at: Offset,
    /// Up to where the peer has it.
    pub held_to: Offset,
}

/// Which logs went back in this run.
#[derive(Debug, Default)]
pub(super) struct GoneBack {
    /// Of which it was said: an agent tries again and again.
    said: BTreeSet<Bytes>,
    /// Whether this life began because the one before was over.
    is_renewed: bool,
    /// Why this life is over.
    taken_back: Option<TakenBack>,
}

impl GoneBack {
    /// Whether it is to be said of a log.
    fn is_new(&mut self, log: &Bytes) -> bool {
        if self.said.len() >= SAID_LIMIT && !self.said.contains(log) {
            self.said.clear();
        }
        self.said.insert(log.clone())
    }
}

impl Node {
    /// Raises an alert when an agent offers a log that ends before `next`, up to where it is here.
    pub(super) fn look_back(
        &mut self,
        now: Now,
        link_id: LinkId,
        receiving: &Receiving,
        (head, next): (Offset, Offset),
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let Peer::Agent(grant) = &known.peer else { return };
        if head >= next || !self.gone_back.is_new(&receiving.position_key) {
            return;
        }
        let (agent, log) = (grant.agent().clone(), &receiving.source);
        tracing::error!(%agent, %log, %head, here = %next, "an agent's log goes back");
        let why = format!(
            "{log} of agent {agent} ends at {head}, and {next} of it are here: its data directory \
             was copied or taken back. What it writes before {next} is lost."
        );
        self.say_copied(now, (&agent, receiving), (why, next), Some(head));
    }

    /// An agent ends a channel since no entry of its log begins where the log is had to here: then
    /// that is not the one that was sent before.
    pub(super) fn look_astray(
        &mut self,
        now: Now,
        link_id: LinkId,
        channel: ChannelId,
        refusal: &Refusal,
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let Peer::Agent(grant) = &known.peer else { return };
        let Some(receiving) = known.receiving(channel).cloned() else { return };
        let is_astray = refusal.code() == RefusalCode::PositionUnavailable;
        if !is_astray || !self.gone_back.is_new(&receiving.position_key) {
            return;
        }
        let (agent, log) = (grant.agent().clone(), &receiving.source);
        let next = self.positions.get(&receiving.position_key).copied().unwrap_or_default();
        tracing::error!(%agent, %log, here = %next, %refusal, "an agent's log is another one");
        let why = format!(
            "{log} of agent {agent} is not the log of which {next} are here ({}): its data \
             directory was copied or taken back. It sends no more of that log, and keeps it as \
             long as its limits let it.",
            refusal.text()
        );
        self.say_copied(now, (&agent, &receiving), (why, next), None);
    }

    /// Raises an alert about an agent of which there are two, or that was taken back.
    fn say_copied(
        &mut self,
        now: Now,
        (agent, receiving): (&AgentName, &Receiving),
        (why, next): (String, Offset),
        ends_at: Option<Offset>,
    ) {
        let text = format!(
            "{why} Stop it, and start it from a backup of that directory (headland store backup, \
             restore), as another life; let no two run from one directory"
        );
        // The key of the position names the agent, its life and its log.
        let key = String::from_utf8_lossy(&receiving.position_key).into_owned();
        let facts = [
            ("fault", text),
            ("agent", agent.to_string()),
            ("partition", receiving.source.to_string()),
            ("held_to", next.to_string()),
        ];
        let mut alert =
            Alert::of_node(NodeRule::LogWentBack, (key, next.to_string()), now.wall, facts);
        alert.values.extend(ends_at.map(|at| ("ends_at".to_owned(), at.to_string())));
        self.raise(&alert, now);
    }

    /// The log was opened and replayed: a directory that turned out to be a copy is said.
    pub fn on_opened(&mut self, now: Now, report: &OpenReport) {
        self.gone_back.is_renewed = report.standing == Standing::Renewed;
        if report.is_cut {
            self.ask_agents_for_all_later(now);
        }
        let (what, then) = match (report.copied, report.renewed) {
            (true, _) => (
                "is a copy that was made without headland store backup",
                "Let no other hub run from the original",
            ),
            (false, true) => (
                "was taken back, and a peer has more of its log",
                "What it wrote since it was taken back may be in its own log only",
            ),
            (false, false) => return,
        };
        let (node, life) = (self.identity.to_string(), self.incarnation.to_string());
        let text = format!(
            "the data directory of {node} {what}: it goes on in a new life, {life}. What the \
             former one wrote that is not here comes back from peers that have it, where there is \
             [membership]; else of inventory and other topics what agents keep. {then}"
        );
        let facts = [("fault", text), ("node", node.clone()), ("life", life.clone())];
        self.raise(&Alert::of_node(NodeRule::LogWentBack, (node, life), now.wall, facts), now);
    }

    /// Why this life is over, when it is: nothing comes out of the node any more.
    ///
    /// The caller ends the life of the store ([`headland_storage::Store::end_life`]) and stops.
    #[must_use]
    pub const fn taken_back(&self) -> Option<&TakenBack> {
        self.gone_back.taken_back.as_ref()
    }

    /// A peer asked for what a channel of this hub has not: when that is beyond the end of a log
    /// that was born here, it was sent that in this very life, which does not know it.
    pub(super) fn look_beyond(
        &mut self,
        now: Now,
        link_id: LinkId,
        (channel, asked): (ChannelId, Option<Offset>),
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let Some((log, held_to)) = known.sending(channel).zip(asked) else { return };
        let is_own = self.topics.get(&log.topic).is_some_and(|topic| topic.is_local());
        let ends_at = self.durable.get(log).copied().unwrap_or_default();
        if !is_own || held_to <= ends_at {
            return;
        }
        let (peer, log) = (known.identity.to_string(), log.clone());
        let taken_back = TakenBack { peer, log, ends_at, held_to };
        if self.gone_back.is_renewed {
            return self.doubt(now, &taken_back);
        }
        tracing::error!(%taken_back, "this hub's log goes back");
        self.gone_back.taken_back.get_or_insert(taken_back);
    }

    /// Raises an alert: a life that began because the one before was over seems to be over too.
    fn doubt(&mut self, now: Now, taken_back: &TakenBack) {
        let TakenBack { peer, log, ends_at, held_to } = taken_back;
        let key = format!("{peer}|{}|{log}", self.incarnation);
        if !self.gone_back.is_new(&Bytes::from(key.clone())) {
            return;
        }
        tracing::error!(peer, %log, %ends_at, %held_to, "this hub's log seems to go back again");
        let text = format!(
            "{peer} says that it has {log} up to {held_to}, and this hub, which wrote it in this \
             life, up to {ends_at}. Its life before ended that way too, so it goes on: where its \
             data directory was taken back once more, stop this hub, and start it from a backup \
             of that directory (headland store backup, restore); else look at what {peer} runs"
        );
        let facts = [
            ("fault", text),
            ("peer", peer.clone()),
            ("partition", log.to_string()),
            ("ends_at", ends_at.to_string()),
            ("held_to", held_to.to_string()),
        ];
        let alert =
            Alert::of_node(NodeRule::LogWentBack, (key, held_to.to_string()), now.wall, facts);
        self.raise(&alert, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_log_it_is_said_once_and_again_beyond_the_limit() {
        let mut said = GoneBack::default();
        let log = |number: usize| Bytes::from(format!("eu/eu-{number}/1-1/air/0"));

        let first = [1, 1, 2].map(|number| said.is_new(&log(number)));
        (3..=SAID_LIMIT).for_each(|number| assert!(said.is_new(&log(number))));
        let full = [1, SAID_LIMIT + 1, 1].map(|number| said.is_new(&log(number)));

        assert_eq!(first, [true, false, true]);
        assert_eq!(full, [false, true, true]);
    }
}
