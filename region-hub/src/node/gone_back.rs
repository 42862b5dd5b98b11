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
//! of this life; the store cannot change its life while it runs, so that is said, and what to do.

use std::collections::BTreeSet;

use bytes::Bytes;
use headland_event::{Alert, ChannelId, Now, Offset};
use headland_replication::{Refusal, RefusalCode};
use headland_storage::OpenReport;

use super::Node;
use crate::peer_link::{LinkId, Peer, Receiving};

/// The rule of alerts about it.
const RULE: &str = "log_went_back";

/// Most logs of which it is remembered that it was said; beyond, each is said once more. As many
/// as there may be agents that are a copy, far more than anybody copies in error.
const SAID_LIMIT: usize = 4_096;

/// Of which logs it was said in this run: an agent tries again and again.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeSet<Bytes>);

impl Said {
    /// Whether it is to be said of a log.
    fn is_new(&mut self, log: &Bytes) -> bool {
        if self.0.len() >= SAID_LIMIT && !self.0.contains(log) {
            self.0.clear();
        }
        self.0.insert(log.clone())
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
        let text = format!(
            "{log} of agent {agent} ends at {head}, and {next} of it are here: its data directory \
             was copied or taken back. What it writes before {next} is lost. Stop it, and start it \
             from a backup of that directory (headland store backup, restore), as another life; \
             let no two run from one directory"
        );
        // The key of the position names the agent, its life and its log.
        let key = String::from_utf8_lossy(&receiving.position_key).into_owned();
        let facts = [
            ("fault", text),
            ("agent", agent.to_string()),
            ("partition", log.to_string()),
            ("ends_at", head.to_string()),
            ("held_to", next.to_string()),
        ];
        let alert = Alert::of_node(RULE, (key, next.to_string()), now.wall, facts);
        self.raise(&alert, now);
    }

    /// The log was opened and replayed: a directory that turned out to be a copy is said.
    pub fn on_opened(&mut self, now: Now, report: &OpenReport) {
        if !report.copied {
            return;
        }
        let (node, life) = (self.identity.to_string(), self.incarnation.to_string());
        let text = format!(
            "the data directory of {node} is a copy that was made without headland store backup: \
             it goes on in a new life, {life}. What the former one wrote after the copy was made \
             comes back of inventory, rights, groups, members and promises, where there is \
             [membership]; of other topics what agents keep, and peers hold the rest. Let no \
             other hub run from the original"
        );
        let facts = [("fault", text), ("node", node.clone()), ("life", life.clone())];
        self.raise(&Alert::of_node(RULE, (node, life), now.wall, facts), now);
    }

    /// A channel of this hub will not flow: raises an alert when the peer stands beyond the end of
    /// a log that was born here. It was sent that in this very life, which does not know it.
    pub(super) fn look_beyond(
        &mut self,
        now: Now,
        link_id: LinkId,
        (channel, refusal): (ChannelId, &Refusal),
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let is_beyond =
            refusal.code() == RefusalCode::PositionUnavailable && !known.was_read(channel);
        let Some(log) = known.sending(channel).filter(|_| is_beyond).cloned() else { return };
        let is_own = self.topics.get(&log.topic).is_some_and(|topic| topic.is_local());
        let (peer, life) = (known.identity.to_string(), self.incarnation.to_string());
        let key = format!("{peer}|{life}|{log}");
        if !is_own || !self.gone_back.is_new(&Bytes::from(key.clone())) {
            return;
        }
        tracing::error!(peer, %log, %refusal, "this hub's log goes back");
        let text = format!(
            "{peer} has more of {log} than this hub, which wrote it in this life ({refusal}): the \
             data directory was taken back. Stop this hub, and start it from a backup of that \
             directory (headland store backup, restore), as another life; until then regions may \
             not hold the same"
        );
        let facts = [("fault", text), ("peer", peer), ("partition", log.to_string())];
        let alert = Alert::of_node(RULE, (key, refusal.to_string()), now.wall, facts);
        self.raise(&alert, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_log_it_is_said_once_and_again_beyond_the_limit() {
        let mut said = Said::default();
        let log = |number: usize| Bytes::from(format!("eu/eu-{number}/1-1/air/0"));

        let first = [1, 1, 2].map(|number| said.is_new(&log(number)));
        (3..=SAID_LIMIT).for_each(|number| assert!(said.is_new(&log(number))));
        let full = [1, SAID_LIMIT + 1, 1].map(|number| said.is_new(&log(number)));

        assert_eq!(first, [true, false, true]);
        assert_eq!(full, [false, true, true]);
    }
}
