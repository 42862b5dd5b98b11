//! Appends composed commits in groups: one barrier serves all that wait.
//!
//! It blocks, so it has a thread of its own. It never gives a commit up: on a full disk or a
//! failed write it tries the same commits again, unchanged and in order, and says that it stalls.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use headland_event::{CommitNumber, limits::GROUP_BYTES_LIMIT};

use crate::commit::{Commit, Priority};
use crate::composer::{Composed, Ticket};
use crate::log::{AppendError, LogStore};

/// Idleness after which the log is sealed: short enough that a power cut rarely finds it unsealed.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// Time between attempts on a full or failing disk.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Attempts on a medium that fails in another way than being full; then the node has to stop.
const MEDIUM_ATTEMPTS: u32 = 5;

/// What became of commits.
#[derive(Debug)]
pub enum Report {
    /// A commit is durable.
    Durable {
        /// The commit.
        ticket: Ticket,
        /// The number it has in the log.
        number: CommitNumber,
    },
    /// Nothing gets durable for now; the same commits are tried again.
    Stalled(AppendError),
    /// Nothing will get durable any more.
    Failed(AppendError),
}

/// Hands commits to a thread that makes them durable.
///
/// The node bounds how many are on their way, so the queue needs no bound of its own.
#[derive(Debug)]
pub struct CommitWriter<S> {
    commits: Sender<Composed>,
    thread: JoinHandle<S>,
}

impl<S: LogStore + Send + 'static> CommitWriter<S> {
    /// Starts the thread; `report` is called there with what became of each commit, in order.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        store: S,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (commits, queue) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || commit_all(store, &queue, report))?;
        Ok(Self { commits, thread })
    }

    /// Queues a commit. After a failure that was reported it goes nowhere.
    pub fn commit(&self, composed: Composed) {
        drop(self.commits.send(composed));
    }

    /// Waits until what is queued is written, and hands the store back.
    ///
    /// # Panics
    /// With the thread's own panic.
    #[must_use]
    pub fn close(self) -> S {
        drop(self.commits);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Appends what arrives until the sender is gone or the log fails for good; then closes nothing:
/// the store is handed back.
///
/// Alerts' commits come in order with all others; a group that holds alerts may use the reserve.
fn commit_all<S: LogStore>(
    mut store: S,
    commits: &Receiver<Composed>,
    mut report: impl FnMut(Report),
) -> S {
    loop {
        match commits.recv_timeout(SEAL_AFTER) {
            Ok(first) => {
                let group = group(first, commits);
                if append(&mut store, group, &mut report).is_err() {
                    return store;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = store.seal() {
                    report(Report::Stalled(error));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return store,
        }
    }
}

/// Takes what waits behind the first commit, up to the limit of a group.
fn group(first: Composed, commits: &Receiver<Composed>) -> Vec<Composed> {
    let limit = GROUP_BYTES_LIMIT.as_len() / 2;
    let mut bytes = size(&first.commit);
    let mut group = vec![first];
    while bytes < limit
        && let Ok(next) = commits.try_recv()
    {
        bytes += size(&next.commit);
        group.push(next);
    }
    group
}

/// Bytes of a commit in the journal, about.
fn size(commit: &Commit) -> usize {
    let entries: usize =
        commit.entries.iter().map(|(_, entry)| entry.batch.as_bytes().len() + 512).sum();
    let state: usize = commit
        .state
        .iter()
        .map(|change| change.key.len() + change.value.as_ref().map_or(0, bytes::Bytes::len) + 32)
        .sum();
    entries + state
}

struct GivenUp;

fn append<S: LogStore>(
    store: &mut S,
    group: Vec<Composed>,
    report: &mut impl FnMut(Report),
) -> Result<(), GivenUp> {
    let (tickets, commits): (Vec<Ticket>, Vec<Commit>) =
        group.into_iter().map(|Composed { ticket, commit }| (ticket, commit)).unzip();
    let mut chunk = commits.len();
    let mut from = 0;
    let mut failures = 0;
    while let Some(rest) = commits.get(from..).filter(|rest| !rest.is_empty()) {
        let now = rest.get(..chunk.min(rest.len())).unwrap_or(rest);
        match store.append_as(priority(now), now) {
            Ok(appended) => {
                let numbers = (0..).map(|index| appended.first.after(index));
                let done = tickets.iter().skip(from).take(now.len());
                for (ticket, number) in done.zip(numbers) {
                    report(Report::Durable { ticket: *ticket, number });
                }
                from += now.len();
                failures = 0;
            }
            // The sizes here are estimates; smaller groups always fit.
            Err(AppendError::GroupTooLarge { .. }) if now.len() > 1 => chunk = now.len() / 2,
            Err(error) => {
                failures += u32::from(!matches!(error, AppendError::Full { .. }));
                if !error.is_retryable() || failures >= MEDIUM_ATTEMPTS {
                    report(Report::Failed(error));
                    return Err(GivenUp);
                }
                report(Report::Stalled(error));
                thread::sleep(RETRY_AFTER);
            }
        }
    }
    Ok(())
}

fn priority(commits: &[Commit]) -> Priority {
    let holds_alerts = commits
        .iter()
        .flat_map(|commit| &commit.entries)
        .any(|(partition, _)| partition.topic.as_str() == "alerts");
    if holds_alerts { Priority::Alerts } else { Priority::Normal }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use headland_event::{Batch, EventTime, PartitionIndex, Record, SeededRandom, TopicName};
    use headland_event::{Incarnation, TopicPartition};

    use super::*;
    use crate::composer::Composer;
    use crate::log::LogReader;
    use crate::memory::{MemoryDisk, MemoryStore};
    use crate::state::MemoryState;
    use crate::store::OpenOptions;

    #[test]
    fn every_commit_is_reported_once_in_order_and_is_in_the_log() {
        let store = MemoryStore::open(&MemoryDisk::new(1), OpenOptions::new(1)).unwrap();
        let reader = store.reader();
        let mut composer =
            Composer::new(Incarnation::new(1, 1), &reader, &MemoryState::default()).unwrap();
        let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0));
        let (sender, commits) = mpsc::channel();
        let mut tickets = Vec::new();
        for _ in 0..5 {
            let batch = Batch::encode(&[Record::new(EventTime::default(), "k", "v")]).unwrap();
            composer.born(&partition, None, batch, &mut SeededRandom::new(1));
            let composed = composer.take().unwrap();
            tickets.push(composed.ticket);
            sender.send(composed).unwrap();
        }
        drop(sender);

        let mut durable = Vec::new();
        drop(commit_all(store, &commits, |report| match report {
            Report::Durable { ticket, number } => durable.push((ticket, number.get())),
            Report::Stalled(error) | Report::Failed(error) => panic!("{error}"),
        }));

        let expected: Vec<_> = tickets.into_iter().zip(1..).collect();
        assert_eq!(durable, expected);
        assert_eq!(reader.end(&partition).get(), 5);
    }
}
