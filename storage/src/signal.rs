//! Wakes threads that wait for commits.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the writer and those who wait for it share. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Held between looking and waiting, so that no change gets lost in between.
    looking: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    /// Says that what is waited for may have come; call it after the change, under no lock.
    ///
    /// Cost: with nobody waiting, one lock that is free.
    pub(crate) fn notify(&self) {
        drop(self.0.looking.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }

    /// Returns as soon as `is_there` says so, or after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration, is_there: impl Fn() -> bool) {
        if is_there() {
            return;
        }
        let looking = self.0.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(looking, timeout, |()| !is_there());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn every_change_is_seen_by_one_who_waits_for_the_next() {
        const CHANGES: u64 = 2_000;
        let (signal, count) = (Signal::default(), AtomicU64::new(0));
        let (answered, other) = (AtomicU64::new(0), Signal::default());

        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=CHANGES {
                    signal.wait(Duration::MAX, || count.load(Ordering::SeqCst) >= n);
                    answered.store(n, Ordering::SeqCst);
                    other.notify();
                }
            });
            for n in 1..=CHANGES {
                count.store(n, Ordering::SeqCst);
                signal.notify();
                other.wait(Duration::MAX, || answered.load(Ordering::SeqCst) >= n);
            }
        });

        assert_eq!(answered.load(Ordering::SeqCst), CHANGES);
    }

    #[test]
    fn one_who_waits_in_vain_is_let_go() {
        Signal::default().wait(Duration::ZERO, || false);
    }
}
