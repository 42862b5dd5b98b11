//! Damage to the log: what is missing is named to operators and the hub, and all else is served.

use bytes::Bytes;
use headland_event::{Alert, ByteCount, ChannelId, Now, Record};
use headland_storage::{Missing, MissingCommits, MissingOffsets};

use super::{Node, Output};
use crate::detect::alerts_topic;

/// Bytes read at once behind damage; as the link's own reads it is small beside a lane's window.
const READ_BYTES: ByteCount = ByteCount::new(256 << 10);

impl Node {
    /// The log was replayed, and `missing` is what it lacks by damage: that is said and alerted.
    /// Rules go on without the records that are gone.
    ///
    /// Without a snapshot they also lack what the hub had acknowledged and was let go since. That
    /// is how new rules begin on any device, so it is said and no reason to stop: a device that
    /// does not start detects nothing at all.
    pub fn on_replay_ended(&mut self, now: Now, missing: Missing) {
        for (partition, first) in missing.beginnings() {
            if self.sources.iter().any(|source| *source.decoder.topic() == partition.topic) {
                tracing::error!(
                    %partition, %first, why = self.no_snapshot,
                    "rules begin anew with what the journal still holds: windows that were open \
                     may lack rows"
                );
            }
        }
        for MissingCommits { file, from, until, lost } in missing.commits() {
            tracing::error!(file, %from, %until, ?lost, "commits are damaged; the rest is served");
        }
        missing.offsets().for_each(say);
        for alert in missing.alerts(&self.identity.to_string(), now.wall) {
            self.raise(&alert, now);
        }
        self.missing = missing;
    }

    /// The log met damage where [`Output::Read`] was to go on: what lies there is given up, the
    /// read goes on behind it, and the hub is told what is missing.
    pub fn on_damaged(&mut self, now: Now, channel: ChannelId, lost: MissingOffsets) {
        self.note_damage(now, &lost);
        let Some(uplink) = &mut self.uplink else { return };
        uplink.on_damaged(channel);
        let MissingOffsets { partition, from: _, until } = lost;
        let (from, limit) = (until, READ_BYTES);
        self.outputs.push_back(Output::Read { channel, partition, from, limit });
    }

    /// Offsets of the log are damaged: that is said and alerted, once in a run.
    pub(super) fn note_damage(&mut self, now: Now, lost: &MissingOffsets) {
        if self.missing.add(lost.clone()) {
            say(lost);
            let alert = lost.alert(&self.identity.to_string(), now.wall);
            self.raise(&alert, now);
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

    /// Commits an alert of the agent about itself.
    fn raise(&mut self, alert: &Alert, now: Now) {
        let value = serde_json::to_vec(alert).unwrap_or_default();
        let record = Record::new(now.wall, Bytes::from(alert.key.clone()), Bytes::from(value));
        self.outbox.push(&alerts_topic(), record);
        if let Some(commit) = self.commit_waiting() {
            self.outputs.push_back(commit);
        }
    }
}

fn say(lost: &MissingOffsets) {
    let MissingOffsets { partition, from, until } = lost;
    let records = until.since(*from);
    tracing::error!(%partition, %from, %until, records, "records are damaged; the rest is served");
}
