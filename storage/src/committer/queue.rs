//! Commits that wait for the disk, and which of them to try next.
//!
//! The order is never changed. A commit was composed knowing all that stands before it: offsets and
//! dots, but also what this crate cannot see, such as the promise that made a record late. So on a
//! full disk alerts do not overtake. Instead everything up to the last alert that waits is written
//! with an alert's rights, from the reserve, and what stands behind it is refused; a node that
//! composes nothing but alerts while the disk is full keeps the reserve for them.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::{Monotonic, limits::GROUP_BYTES_LIMIT};

use super::{NotDurable, NotDurableCause, Report};
use crate::commit::{Appended, Commit, Priority};
use crate::composer::{Composed, Ticket};
use crate::group::byte_count;
use crate::log::AppendError;

/// Time between attempts on a full or failing disk: short beside the seconds in which somebody
/// makes room, long beside a refused attempt.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Attempts on a medium that fails in another way than being full; then the node has to stop.
const MEDIUM_ATTEMPTS: u32 = 5;

/// Bytes of a group, as estimated here; half the limit, because estimates are not exact.
const GROUP_BYTES_TARGET: u64 = GROUP_BYTES_LIMIT.get() / 2;

/// What to try on the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Append the first commits of the queue.
    Append { priority: Priority, count: usize },
    /// Ask whether commits of normal priority are admitted again.
    Readmit,
}

/// What the disk has room for, in the order in which it gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// Everything.
    Free,
    /// Alerts, from the reserve.
    AlertsOnly,
    /// Nothing.
    None,
}

/// Whether more commits come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// None do; what finds no room is given up.
    Closing,
    /// The log failed for good; what comes is only counted.
    Failed,
}

/// Commits that are not durable yet, in order.
#[derive(Debug)]
pub(super) struct CommitQueue {
    /// Of each commit its ticket, and whether it may use what is kept for alerts.
    tickets: VecDeque<(Ticket, Priority)>,
    commits: VecDeque<Commit>,
    /// Length of the shortest prefix that holds every alert of the queue.
    through_alerts: usize,
    room: Room,
    /// The worst that was reported since there was room for everything.
    reported: Room,
    /// Attempts in a row on a medium that failed.
    failures: u32,
    /// Commits in a group, halved when an estimate was wrong.
    count_limit: usize,
    retry_at: Option<Monotonic>,
    phase: Phase,
    lost: Option<NotDurable>,
}

impl CommitQueue {
    pub(super) const fn new() -> Self {
        Self {
            tickets: VecDeque::new(),
            commits: VecDeque::new(),
            through_alerts: 0,
            room: Room::Free,
            reported: Room::Free,
            failures: 0,
            count_limit: usize::MAX,
            retry_at: None,
            phase: Phase::Open,
            lost: None,
        }
    }

    /// Takes a commit in, behind all others.
    pub(super) fn push(&mut self, composed: Composed) {
        let Composed { ticket, commit, priority } = composed;
        if self.phase == Phase::Failed {
            return self.count_lost(ticket, priority);
        }
        debug_assert!(self.tickets.back().is_none_or(|(last, _)| *last < ticket), "tickets rise");
        if priority == Priority::Alerts {
            self.through_alerts = self.commits.len() + 1;
        }
        self.tickets.push_back((ticket, priority));
        self.commits.push_back(commit);
    }

    /// No more commits come: every attempt that is left is made without waiting for room.
    pub(super) fn on_close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.retry_at = None;
        }
    }

    /// The first commits of the queue.
    pub(super) fn first(&mut self, count: usize) -> &[Commit] {
        let commits = &*self.commits.make_contiguous();
        commits.get(..count).unwrap_or(commits)
    }

    /// What to try now, `None` before [`Self::poll_timeout`] or the next commit.
    ///
    /// On a full disk the whole queue is tried in intervals, and in between what alerts need.
    pub(super) fn poll_attempt(&self, now: Monotonic) -> Option<Attempt> {
        let is_due = self.retry_at.is_none_or(|at| at <= now);
        match (self.phase, self.room) {
            (Phase::Failed, _) => None,
            (Phase::Open | Phase::Closing, _) if is_due && !self.commits.is_empty() => {
                Some(self.append(Priority::Normal, self.commits.len()))
            }
            (Phase::Open, Room::AlertsOnly | Room::None) if is_due => Some(Attempt::Readmit),
            (Phase::Open | Phase::Closing, Room::AlertsOnly)
                if self.through_alerts > 0 && self.failures == 0 =>
            {
                Some(self.append(Priority::Alerts, self.through_alerts))
            }
            (Phase::Open | Phase::Closing, _) => None,
        }
    }

    /// When to ask again although no commit came.
    pub(super) const fn poll_timeout(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::Open | Phase::Closing => self.retry_at,
            Phase::Failed => None,
        }
    }

    /// Whether nothing waits that could still become durable.
    pub(super) fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// What was given up, when the queue was closed or the log failed.
    pub(super) const fn not_durable(&self) -> Option<&NotDurable> {
        self.lost.as_ref()
    }

    /// As many of the first `count` commits as make a group.
    fn append(&self, priority: Priority, count: usize) -> Attempt {
        let mut bytes = 0_u64;
        let group = self.commits.iter().take(count.min(self.count_limit)).take_while(|commit| {
            let is_below = bytes < GROUP_BYTES_TARGET;
            bytes = bytes.saturating_add(size(commit));
            is_below
        });
        Attempt::Append { priority, count: group.count() }
    }

    /// A group was appended.
    pub(super) fn on_appended(
        &mut self,
        priority: Priority,
        appended: Appended,
        mut report: impl FnMut(Report),
    ) {
        let count = usize::try_from(appended.last.since(appended.first)).unwrap_or(usize::MAX);
        let count = count.saturating_add(1);
        assert!(count <= self.tickets.len(), "the log numbers what it was given and no more");
        self.commits.drain(..count);
        self.through_alerts = self.through_alerts.saturating_sub(count);
        self.failures = 0;
        self.count_limit = usize::MAX;
        for (index, (ticket, _)) in (0..).zip(self.tickets.drain(..count)) {
            report(Report::Durable { ticket, number: appended.first.after(index) });
        }
        debug_assert!(self.tickets.len() == self.commits.len(), "each commit has its ticket");
        match priority {
            Priority::Normal => self.on_readmitted(report),
            Priority::Alerts => {}
        }
    }

    /// Commits of normal priority are admitted.
    pub(super) fn on_readmitted(&mut self, mut report: impl FnMut(Report)) {
        self.room = Room::Free;
        self.retry_at = None;
        self.failures = 0;
        if std::mem::replace(&mut self.reported, Room::Free) != Room::Free {
            report(Report::Resumed);
        }
    }

    /// An attempt failed: says so, and when to try again, or gives the queue up.
    pub(super) fn on_refused(
        &mut self,
        now: Monotonic,
        attempt: Attempt,
        error: AppendError,
        mut report: impl FnMut(Report),
    ) {
        let cause = match (&error, attempt) {
            // The sizes here are estimates; smaller groups always fit.
            (AppendError::GroupTooLarge { .. }, Attempt::Append { count: count @ 2.., .. }) => {
                self.count_limit = count / 2;
                return;
            }
            (AppendError::Full { needed }, attempt) => {
                self.failures = 0;
                self.room = room_after(attempt);
                NotDurableCause::Full { needed: *needed }
            }
            (
                AppendError::Medium(_)
                | AppendError::Empty
                | AppendError::OffsetGap { .. }
                | AppendError::CommitTooLarge { .. }
                | AppendError::GroupTooLarge { .. },
                _,
            ) => {
                self.failures += 1;
                NotDurableCause::Failed
            }
        };
        let has_hope = self.room == Room::AlertsOnly && self.through_alerts > 0;
        let gives_up = self.phase == Phase::Closing && self.room != Room::Free && !has_hope;
        if !error.is_retryable() || self.failures >= MEDIUM_ATTEMPTS || gives_up {
            self.give_up(cause);
            return report(Report::Failed(error));
        }
        self.retry_at = Some(now.after(RETRY_AFTER));
        if self.failures > 0 || self.room > self.reported {
            self.reported = self.reported.max(self.room);
            report(Report::Stalled(error));
        }
    }

    fn give_up(&mut self, cause: NotDurableCause) {
        self.phase = Phase::Failed;
        self.through_alerts = 0;
        self.commits = VecDeque::new();
        self.lost = Some(NotDurable { first: None, commits: 0, alerts: 0, cause });
        for (ticket, priority) in std::mem::take(&mut self.tickets) {
            self.count_lost(ticket, priority);
        }
    }

    fn count_lost(&mut self, ticket: Ticket, priority: Priority) {
        let Some(lost) = &mut self.lost else { return };
        lost.first = lost.first.or(Some(ticket));
        lost.commits += 1;
        lost.alerts += usize::from(priority == Priority::Alerts);
    }
}

/// What is known of the room after an attempt that found none.
const fn room_after(refused: Attempt) -> Room {
    match refused {
        Attempt::Append { priority: Priority::Alerts, .. } => Room::None,
        Attempt::Append { priority: Priority::Normal, .. } | Attempt::Readmit => Room::AlertsOnly,
    }
}

/// Bytes of a commit in the journal, about.
fn size(commit: &Commit) -> u64 {
    let entries = commit.entries.iter().map(|(_, entry)| entry.batch.as_bytes().len() + 512);
    let state = commit
        .state
        .iter()
        .map(|change| change.key.len() + change.value.as_ref().map_or(0, bytes::Bytes::len) + 32);
    byte_count(entries.chain(state).sum()).get()
}

#[cfg(test)]
mod tests;
