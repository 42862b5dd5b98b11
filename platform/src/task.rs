//! Named tasks, tied to the process's shutdown.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
pub use tokio_util::sync::CancellationToken as Token;

/// A running task: await it to learn that it ended.
#[derive(Debug)]
#[must_use = "a task without an owner is never awaited"]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

impl<T> Task<T> {
    /// The task's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Waits for the task's result; `None` when it was stopped by its token.
    ///
    /// # Panics
    /// With the task's own panic: a broken invariant is not hidden by the task it broke in.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the task running.
    pub async fn join(self) -> Option<T> {
        match self.handle.await {
            Ok(value) => Some(value),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

/// Starts a task that is dropped, at its next await, once `token` is cancelled.
///
/// A task with work to finish on shutdown watches the token itself and is started with
/// [`spawn_until_done`].
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn spawn<F>(name: &'static str, token: &Token, future: F) -> Task<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let token = token.clone();
    // Boxed, because each layer around a future keeps room for it twice: where it was handed in,
    // and where it runs.
    let future = Box::pin(future);
    let handle = tokio::spawn(async move {
        let result = token.run_until_cancelled_owned(future).await;
        tracing::trace!(task = name, "task ended");
        result
    });
    Task { name, handle }
}

/// Starts a task that decides itself when it is done.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn spawn_until_done<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task { name, handle: tokio::spawn(future) }
}

/// Runs blocking work on a thread of its own.
pub fn spawn_blocking<F, T>(name: &'static str, work: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Task { name, handle: tokio::task::spawn_blocking(work) }
}

/// Ends this process at the first panic, wherever it is: going on without the task it broke in
/// would be worse than starting again from the log.
///
/// Panics that `is_contained` speaks for at that moment are left to whoever catches them.
pub fn end_on_panic(is_contained: fn() -> bool) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !is_contained() {
            std::process::abort();
        }
    }));
}

/// Ends this process with SIGKILL when the thread that started it ends.
///
/// For processes that only live for a driver, such as a test's: its own clean-up does not run when
/// it is killed.
///
/// # Errors
/// When the machine refuses.
pub fn end_with_parent() -> std::io::Result<()> {
    let signal = Some(rustix::process::Signal::KILL);
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

/// Cancels `token` on SIGINT (Ctrl-C) or SIGTERM, and logs which.
///
/// # Errors
/// When the process may not listen to signals.
///
/// # Cancel safety
/// Safe: nothing is taken from the signals before one arrives.
pub async fn cancel_on_signal(token: Token) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = token.cancelled() => return Ok(()),
    };
    tracing::info!("{name}: writing what is queued, then closing links and log");
    token.cancel();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_ends_when_its_token_is_cancelled() {
        let token = Token::new();
        let task = spawn("waits for ever", &token, std::future::pending::<()>());

        token.cancel();

        assert_eq!(task.join().await, Some(None));
    }

    #[tokio::test]
    async fn a_task_that_finishes_gives_its_value() {
        let task = spawn("adds", &Token::new(), async { 1 + 1 });

        assert_eq!(task.name(), "adds");
        assert_eq!(task.join().await, Some(Some(2)));
    }
}
