//! Appends composed commits in groups: one barrier serves all that wait.
//!
//! It blocks, so it has a thread of its own. It never gives a commit up while it is open: on a full
//! disk or a failed write it tries the same commits again, unchanged and in order, and says that it
//! stalls. What it tries when is decided by two structs without a clock, and only done here.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};

use headland_event::{ByteCount, CommitNumber, EventTime, Monotonic};

/// Commits that wait for the disk, and which of them to try next.
mod queue;
/// When a log is sealed and its state marked.
mod upkeep;

use queue::{Attempt, CommitQueue};
use upkeep::{Duty, Upkeep};

use crate::cleaning::{CleanError, CleanPolicy, CleanReport, Cleaning};
use crate::composer::{Composed, Ticket};
use crate::log::{AppendError, LogStore};
use crate::refill::Refill;
use crate::state::{StateError, StateMarks};

/// Bytes read and written by a step of cleaning: what a group that arrives meanwhile waits for,
/// some milliseconds.
const CLEAN_BYTES: ByteCount = ByteCount::mebibytes(4);

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
    /// Commits wait and are tried again; said when it begins and when it gets worse.
    ///
    /// When the disk is full ([`AppendError::Full`]), commits with alerts still become durable,
    /// with all that stands before them, as long as the reserve lasts. A node that composes
    /// nothing else until [`Self::Resumed`] keeps the reserve for them.
    Stalled(AppendError),
    /// Everything becomes durable again.
    Resumed,
    /// The log could not be sealed or its state marked, which is tried again. Nothing is lost.
    Neglected(UpkeepError),
    /// A step of cleaning moved starts of partitions, removed files, or is over with entries that
    /// came back in the place of lost ones.
    Cleaned(CleanReport),
    /// Nothing will get durable any more.
    Failed(AppendError),
}

/// What keeps a log from being easy to recover.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpkeepError {
    /// It could not be sealed, so damage to its last group would pass for an unfinished write.
    #[error("the log could not be sealed")]
    Seal(#[source] AppendError),
    /// Its state could not be marked, so a restart replays more.
    #[error("the state mark could not be set")]
    Mark(#[source] StateError),
    /// What no longer counts could not be taken away, so the journal grows.
    #[error("the log could not be cleaned")]
    Clean(#[source] CleanError),
}

/// Commits that were composed and given up; a later start does not find them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{commits} commits, {alerts} of them with alerts, were not made durable: {cause}")]
pub struct NotDurable {
    /// The first of them, `None` when there are none; all later ones are among them.
    pub first: Option<Ticket>,
    /// How many there are.
    pub commits: usize,
    /// How many of them hold alerts.
    pub alerts: usize,
    /// Why.
    pub cause: NotDurableCause,
}

/// Why commits were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDurableCause {
    /// The writer was closed while the disk was full.
    Full {
        /// Bytes for which there was no room.
        needed: ByteCount,
    },
    /// The log failed for good, as [`Report::Failed`] said.
    Failed,
}

impl std::fmt::Display for NotDurableCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { needed } => write!(f, "the disk has no room for {needed}"),
            Self::Failed => f.write_str("the log failed"),
        }
    }
}

/// Hands commits to a thread that makes them durable, seals the log and marks its state.
///
/// The node bounds how many are on their way, so the queue needs no bound of its own.
#[derive(Debug)]
pub struct CommitWriter<S> {
    work: Sender<Order>,
    thread: JoinHandle<(S, Option<NotDurable>)>,
}

impl<S: LogStore + StateMarks + Cleaning + Send + 'static> CommitWriter<S> {
    /// Starts the thread; `report` is called there with what became of each commit, in order.
    ///
    /// `clock` gives the current moment; it times attempts, seals and marks.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        store: S,
        clock: impl Fn() -> Monotonic + Send + 'static,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (work, queue) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || Committer::new(store, report).run(&queue, clock))?;
        Ok(Self { work, thread })
    }

    /// Queues a commit. After a failure that was reported it is only counted.
    pub fn commit(&self, composed: Composed) {
        drop(self.work.send(Order::Commit(composed)));
    }

    /// Asks for what `policy` lets go to be taken away, in steps between groups. `now` is on the
    /// clock of event times.
    ///
    /// Commits go first. The newest request counts; ask again when receivers have acknowledged
    /// more or time has passed, about every ten seconds. Steps that did anything are reported.
    pub fn clean(&self, policy: CleanPolicy, now: EventTime) {
        drop(self.work.send(Order::Clean(policy, now)));
    }

    /// Hands in an entry that came back in the place of a lost one, at the offset that it had; the
    /// next steps of cleaning see to it, and [`Report::Cleaned`] says what became of it.
    pub fn refill(&self, refill: Refill) {
        drop(self.work.send(Order::Refill(refill)));
    }

    /// Waits until what is queued is written, and hands the store back.
    ///
    /// What finds no room is given up rather than waited for, alerts after one attempt with the
    /// reserve; a failing medium is tried for about a second.
    ///
    /// # Errors
    /// [`NotDurable`] when commits were given up; the store is handed back all the same.
    ///
    /// # Panics
    /// With the thread's own panic.
    pub fn close(self) -> (S, Result<(), NotDurable>) {
        drop(self.work);
        let joined = self.thread.join();
        let (store, lost) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (store, lost.map_or(Ok(()), Err))
    }
}

/// What the thread is asked to do.
enum Order {
    Commit(Composed),
    Clean(CleanPolicy, EventTime),
    Refill(Refill),
}

/// The thread's work.
struct Committer<S, R> {
    store: S,
    report: R,
    queue: CommitQueue,
    upkeep: Upkeep,
    /// What to clean by; the newest that was handed in.
    policy: (CleanPolicy, EventTime),
}

impl<S: LogStore + StateMarks + Cleaning, R: FnMut(Report)> Committer<S, R> {
    fn new(store: S, report: R) -> Self {
        let (queue, upkeep) = (CommitQueue::new(), Upkeep::default());
        Self { store, report, queue, upkeep, policy: Default::default() }
    }

    /// Works until the senders are gone and nothing waits any more.
    fn run(
        mut self,
        orders: &Receiver<Order>,
        clock: impl Fn() -> Monotonic,
    ) -> (S, Option<NotDurable>) {
        loop {
            let is_open = self.take_in(orders, &clock);
            if self.work(&clock) {
                continue;
            }
            if !is_open && self.queue.is_empty() {
                break;
            }
            self.wait(orders, &clock, is_open);
        }
        let lost = self.queue.not_durable().filter(|lost| lost.commits > 0).cloned();
        (self.store, lost)
    }

    /// Takes in what has arrived; returns whether more can come.
    fn take_in(&mut self, orders: &Receiver<Order>, clock: impl Fn() -> Monotonic) -> bool {
        loop {
            match orders.try_recv() {
                Ok(order) => self.on_order(order, &clock),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    self.queue.on_close();
                    self.upkeep.on_close();
                    return false;
                }
            }
        }
    }

    fn on_order(&mut self, order: Order, clock: impl Fn() -> Monotonic) {
        match order {
            Order::Commit(composed) => self.queue.push(composed),
            Order::Refill(refill) => self.store.refill(refill),
            Order::Clean(policy, now) => {
                self.policy = (policy, now);
                self.upkeep.on_cleaning_wanted(clock());
            }
        }
    }

    /// Does one thing that is due; returns whether there was any.
    fn work(&mut self, clock: impl Fn() -> Monotonic) -> bool {
        let now = clock();
        if let Some(duty) = self.upkeep.poll_overdue(now) {
            self.keep_up(duty, clock);
        } else if let Some(attempt) = self.queue.poll_attempt(now) {
            self.attempt(attempt, clock);
        } else if let Some(duty) = self.upkeep.poll_duty(now) {
            self.keep_up(duty, clock);
        } else {
            return false;
        }
        true
    }

    fn keep_up(&mut self, duty: Duty, clock: impl Fn() -> Monotonic) {
        let done = match duty {
            Duty::Seal => self.store.seal().map_err(UpkeepError::Seal),
            Duty::Mark => self.store.mark_state().map_err(UpkeepError::Mark),
            Duty::Clean => self.clean(&clock).map_err(UpkeepError::Clean),
        };
        if let Err(error) = done {
            self.upkeep.on_failed(clock(), duty);
            (self.report)(Report::Neglected(error));
        }
    }

    /// Cleans for a step, and says so when that did anything.
    fn clean(&mut self, clock: impl Fn() -> Monotonic) -> Result<(), CleanError> {
        let (policy, now) = &self.policy;
        let report = self.store.clean(policy, *now, CLEAN_BYTES)?;
        if !report.moved.is_empty() {
            self.upkeep.on_appended(clock());
        }
        if !report.is_done {
            self.upkeep.on_cleaned_in_part(clock());
        }
        if !report.moved.is_empty() || report.files_removed > 0 || !report.refilled.is_empty() {
            (self.report)(Report::Cleaned(report));
        }
        Ok(())
    }

    fn attempt(&mut self, attempt: Attempt, clock: impl Fn() -> Monotonic) {
        match attempt {
            Attempt::Append { priority, count } => {
                match self.store.append_as(priority, self.queue.first(count)) {
                    Ok(appended) => {
                        self.upkeep.on_appended(clock());
                        self.queue.on_appended(priority, appended, &mut self.report);
                    }
                    Err(error) => {
                        self.queue.on_refused(clock(), attempt, error, &mut self.report);
                    }
                }
            }
            Attempt::Readmit => match self.store.readmit() {
                Ok(()) => self.queue.on_readmitted(&mut self.report),
                Err(error) => self.queue.on_refused(clock(), attempt, error, &mut self.report),
            },
        }
    }

    /// Waits for the next commit or until something is due.
    fn wait(&mut self, orders: &Receiver<Order>, clock: impl Fn() -> Monotonic, is_open: bool) {
        let due = self.queue.poll_timeout().into_iter().chain(self.upkeep.poll_timeout()).min();
        let left = due.map(|due| due.since(clock()));
        let received = match left {
            Some(left) if is_open => orders.recv_timeout(left),
            None if is_open => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            left => {
                thread::sleep(left.unwrap_or_default());
                return;
            }
        };
        if let Ok(order) = received {
            self.on_order(order, clock);
        }
    }
}

#[cfg(test)]
mod tests;
