//! What every process of ours does around its own work: logs, signals, the last word.

use std::fmt::Write;
use std::future::Future;
use std::io;

use crate::task::{self, Token};
use crate::telemetry::{LogsError, log_to_stderr};

/// Whether a process outlives the one that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It ends by itself or by a signal.
    Own,
    /// It ends with its parent; for drivers, whose clean-up does not run when they are killed.
    OfParent,
}

/// A process that could not begin its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Logging could not be set up.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The machine does not tie the process to its parent.
    #[error("cannot end with the parent process")]
    Lifetime(#[source] io::Error),
}

/// Sets up logs that pass `filter`, on standard error, and how the process ends.
///
/// # Errors
/// [`BeginError`].
pub fn begin(filter: &str, lifetime: Lifetime) -> Result<(), BeginError> {
    log_to_stderr(filter)?;
    match lifetime {
        Lifetime::Own => Ok(()),
        Lifetime::OfParent => task::end_with_parent().map_err(BeginError::Lifetime),
    }
}

/// Why work that runs until a signal ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError<E: std::error::Error + 'static> {
    /// The work failed.
    #[error(transparent)]
    Work(E),
    /// The process may not listen to signals; the work was stopped in good order.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
}

/// Runs `work` until it ends; Ctrl-C or SIGTERM cancels the token it is given, and the work then
/// ends in good order.
///
/// # Errors
/// [`StopError`]: the work's own error comes first.
///
/// # Cancel safety
/// The work is dropped where it waits.
pub async fn run_until_signal<F, E>(work: impl FnOnce(Token) -> F) -> Result<(), StopError<E>>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let token = Token::new();
    let (listener, on_failure) = (token.clone(), token.clone());
    let signals = task::spawn_until_done("signals", async move {
        // Without signals nothing could stop the work, so it is stopped now.
        task::cancel_on_signal(listener).await.inspect_err(|_| on_failure.cancel())
    });
    let worked = work(token.clone()).await;
    token.cancel();
    worked.map_err(StopError::Work)?;
    signals.join().await.transpose().map_err(StopError::Signals)?;
    Ok(())
}

/// A program's last word: the error and its causes, a line each.
#[must_use]
pub fn last_word(program: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{program}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        #[expect(clippy::expect_used, reason = "writing to a text cannot fail")]
        write!(text, "\n  caused by: {cause}").expect("a text takes all that is written");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error("no disk")]
    struct NoDisk(#[source] Cause);

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error("it was pulled out")]
    struct Cause;

    #[tokio::test]
    async fn work_that_ends_by_itself_ends_the_process() {
        let ended = run_until_signal(|_| async { Ok::<(), NoDisk>(()) }).await;

        assert!(ended.is_ok(), "{ended:?}");
    }

    #[tokio::test]
    async fn an_error_of_the_work_is_the_last_word() {
        let ended = run_until_signal(|_| async { Err(NoDisk(Cause)) }).await;

        let error = ended.unwrap_err();
        assert_eq!(
            last_word("headland", &error),
            "headland: no disk\n  caused by: it was pulled out"
        );
    }

    #[tokio::test]
    async fn a_signal_cancels_the_token_of_the_work() {
        // Held here as well, so that a signal never reaches the default action.
        let guard = signal(SignalKind::terminate()).unwrap();
        let work = |token: Token| async move {
            while !token.is_cancelled() {
                kill_process(getpid(), Signal::TERM).unwrap();
                tokio::task::yield_now().await;
            }
            Ok::<(), NoDisk>(())
        };

        let ended = run_until_signal(work).await;

        assert!(ended.is_ok(), "{ended:?}");
        drop(guard);
    }
}
