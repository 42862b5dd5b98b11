//! Logs of agents that end before where this hub has them to.
//!
//! An agent writes each number of a life once. When the log that it offers is shorter than what is
//! here of the same life, then its data directory was copied and both go on, or it was taken back
//! (a snapshot of a whole machine, a disk that lost what it had reported to be written). What it
//! wrote since has numbers that were given before, and is passed over: the hub takes it for what it
//! has. Nobody else sees that before it is too late, so it is said at the first contact.

use std::collections::BTreeSet;

use bytes::Bytes;
use headland_event::{Alert, Now, Offset};

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
