//! When a log is sealed and its state marked: what is done when there is nothing else to do.

use std::time::Duration;

use headland_event::Monotonic;

/// Idleness after which the log is sealed: short enough that a power cut rarely finds it unsealed.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// Time between state marks while anything is written: what a restart has to replay at most.
const MARK_AFTER: Duration = Duration::from_secs(30);

/// Pause between two steps of cleaning: with its budget it keeps cleaning to 40 MiB/s at most, so
/// that it never takes the disk from those who append.
const CLEAN_EVERY: Duration = Duration::from_millis(100);

/// Time after which a step of cleaning no longer waits until no commit does. With its budget it
/// then takes 4 MiB/s of the disk, which is less than a disk that is this busy is given to write.
const CLEAN_LATE: Duration = Duration::from_secs(1);

/// Time after which cleaning that failed is tried again.
const CLEAN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Record that everything acknowledged is durable.
    Seal,
    /// Make the state durable as of the last commit.
    Mark,
    /// Take away what no longer counts, for a step.
    Clean,
}

/// The due times; an idle log has none left, so that it writes nothing.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    seal_at: Option<Monotonic>,
    mark_at: Option<Monotonic>,
    clean_at: Option<Monotonic>,
}

impl Upkeep {
    /// Something was appended.
    pub(super) fn on_appended(&mut self, now: Monotonic) {
        self.seal_at = Some(now.after(SEAL_AFTER));
        if self.mark_at.is_none() {
            self.mark_at = Some(now.after(MARK_AFTER));
        }
    }

    /// Cleaning was asked for.
    pub(super) fn on_cleaning_wanted(&mut self, now: Monotonic) {
        if self.clean_at.is_none() {
            self.clean_at = Some(now);
        }
    }

    /// A step of cleaning left more to do.
    pub(super) fn on_cleaned_in_part(&mut self, now: Monotonic) {
        self.clean_at = Some(now.after(CLEAN_EVERY));
    }

    /// Nothing more will be asked for: what is not clean stays so until the next start.
    pub(super) fn on_close(&mut self) {
        self.clean_at = None;
    }

    /// A duty could not be done; it is due again after its own time.
    pub(super) fn on_failed(&mut self, now: Monotonic, duty: Duty) {
        match duty {
            Duty::Seal => self.seal_at = Some(now.after(SEAL_AFTER)),
            Duty::Mark => self.mark_at = Some(now.after(MARK_AFTER)),
            Duty::Clean => self.clean_at = Some(now.after(CLEAN_AGAIN_AFTER)),
        }
    }

    /// Takes a step of cleaning that has been due for so long that it goes before commits: the
    /// disk would fill up under a load that never ends.
    pub(super) fn poll_overdue(&mut self, now: Monotonic) -> Option<Duty> {
        self.clean_at.take_if(|at| at.after(CLEAN_LATE) <= now).map(|_| Duty::Clean)
    }

    /// Takes the duty that is due; it counts as done unless [`Self::on_failed`] says otherwise.
    pub(super) fn poll_duty(&mut self, now: Monotonic) -> Option<Duty> {
        if self.seal_at.take_if(|at| *at <= now).is_some() {
            Some(Duty::Seal)
        } else if self.mark_at.take_if(|at| *at <= now).is_some() {
            Some(Duty::Mark)
        } else {
            self.clean_at.take_if(|at| *at <= now).map(|_| Duty::Clean)
        }
    }

    /// When the next duty is due, `None` when there is none.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        self.seal_at.into_iter().chain(self.mark_at).chain(self.clean_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_millis(seconds * 1_000)
    }

    #[test]
    fn cleaning_goes_before_commits_once_it_has_waited_for_a_second() {
        let mut upkeep = Upkeep::default();
        upkeep.on_cleaning_wanted(at(10));

        assert_eq!(upkeep.poll_overdue(Monotonic::from_nanos(at(11).nanos() - 1)), None);
        assert_eq!(upkeep.poll_overdue(at(11)), Some(Duty::Clean));
        assert_eq!(upkeep.poll_overdue(at(20)), None);
    }

    #[test]
    fn an_idle_log_is_sealed_and_marked_once_and_then_left_alone() {
        let mut upkeep = Upkeep::default();
        upkeep.on_appended(at(10));

        let mut done = Vec::new();
        while let Some(due) = upkeep.poll_timeout() {
            assert_eq!(upkeep.poll_duty(Monotonic::from_nanos(due.nanos() - 1)), None);
            done.push((due, upkeep.poll_duty(due).unwrap()));
        }

        assert_eq!(done, [(at(11), Duty::Seal), (at(40), Duty::Mark)]);
    }

    #[test]
    fn a_busy_log_is_marked_every_30_seconds_and_not_sealed() {
        let mut upkeep = Upkeep::default();

        let mut done = Vec::new();
        for now in (0..190).map(|half| Monotonic::from_millis(half * 500)) {
            done.extend(upkeep.poll_duty(now).map(|duty| (now, duty)));
            upkeep.on_appended(now);
        }

        assert_eq!(done, [(at(30), Duty::Mark), (at(60), Duty::Mark), (at(90), Duty::Mark)]);
    }

    #[test]
    fn cleaning_goes_on_at_its_pace_until_nothing_is_left() {
        let mut upkeep = Upkeep::default();
        upkeep.on_cleaning_wanted(at(5));
        upkeep.on_cleaning_wanted(at(6));

        let first = upkeep.poll_duty(at(6));
        upkeep.on_cleaned_in_part(at(6));
        let second = upkeep.poll_timeout();
        let done = upkeep.poll_duty(Monotonic::from_millis(6_100));

        assert_eq!((first, done), (Some(Duty::Clean), Some(Duty::Clean)));
        assert_eq!(second, Some(Monotonic::from_millis(6_100)));
        assert_eq!(upkeep.poll_timeout(), None);
    }

    #[test]
    fn a_duty_that_failed_is_due_again_after_its_own_time() {
        let mut upkeep = Upkeep::default();

        upkeep.on_failed(at(5), Duty::Mark);
        let mark = upkeep.poll_timeout();
        upkeep.on_failed(at(5), Duty::Seal);

        assert_eq!((mark, upkeep.poll_timeout()), (Some(at(35)), Some(at(6))));
    }
}
