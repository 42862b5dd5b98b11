//! When a log is sealed and its state marked: what is done when there is nothing else to do.

use std::time::Duration;

use headland_event::Monotonic;

/// Idleness after which the log is sealed: short enough that a power cut rarely finds it unsealed.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// Time between state marks while anything is written: what a restart has to replay at most.
const MARK_AFTER: Duration = Duration::from_secs(30);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Record that everything acknowledged is durable.
    Seal,
    /// Make the state durable as of the last commit.
    Mark,
}

/// The due times; an idle log has none left, so that it writes nothing.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    seal_at: Option<Monotonic>,
    mark_at: Option<Monotonic>,
}

impl Upkeep {
    /// Something was appended.
    pub(super) fn on_appended(&mut self, now: Monotonic) {
        self.seal_at = Some(now.after(SEAL_AFTER));
        if self.mark_at.is_none() {
            self.mark_at = Some(now.after(MARK_AFTER));
        }
    }

    /// A duty could not be done; it is due again after its own time.
    pub(super) fn on_failed(&mut self, now: Monotonic, duty: Duty) {
        match duty {
            Duty::Seal => self.seal_at = Some(now.after(SEAL_AFTER)),
            Duty::Mark => self.mark_at = Some(now.after(MARK_AFTER)),
        }
    }

    /// Takes the duty that is due; it counts as done unless [`Self::on_failed`] says otherwise.
    pub(super) fn poll_duty(&mut self, now: Monotonic) -> Option<Duty> {
        if self.seal_at.take_if(|at| *at <= now).is_some() {
            Some(Duty::Seal)
        } else {
            self.mark_at.take_if(|at| *at <= now).map(|_| Duty::Mark)
        }
    }

    /// When the next duty is due, `None` when there is none.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        self.seal_at.into_iter().chain(self.mark_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_millis(seconds * 1_000)
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
    fn a_duty_that_failed_is_due_again_after_its_own_time() {
        let mut upkeep = Upkeep::default();

        upkeep.on_failed(at(5), Duty::Mark);
        let mark = upkeep.poll_timeout();
        upkeep.on_failed(at(5), Duty::Seal);

        assert_eq!((mark, upkeep.poll_timeout()), (Some(at(35)), Some(at(6))));
    }
}
