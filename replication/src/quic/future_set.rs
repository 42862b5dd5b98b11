//! A handful of futures that run side by side in one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Futures of one kind; each is polled whenever the task wakes, so it is for a few of them.
pub(super) struct FutureSet<'a, T> {
    running: Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
}

impl<'a, T> FutureSet<'a, T> {
    pub(super) const fn new() -> Self {
        Self { running: Vec::new() }
    }

    pub(super) fn push(&mut self, future: impl Future<Output = T> + Send + 'a) {
        self.running.push(Box::pin(future));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops the one with this index among those that run, in the order in which they were added.
    pub(super) fn drop_at(&mut self, index: usize) {
        if index < self.running.len() {
            drop(self.running.remove(index));
        }
    }

    /// The outcome of the next that ends; waits for ever when there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> T {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<T> {
        for index in 0..self.running.len() {
            let Some(future) = self.running.get_mut(index) else { break };
            if let Poll::Ready(outcome) = future.as_mut().poll(context) {
                drop(self.running.remove(index));
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_end_is_next_and_the_others_go_on() {
        let mut set = FutureSet::new();
        let (tx, rx) = tokio::sync::oneshot::channel::<u8>();
        set.push(async { rx.await.unwrap_or(0) });
        set.push(async { 2 });

        assert_eq!(set.next().await, 2);
        tx.send(1).unwrap();

        assert_eq!(set.next().await, 1);
        assert!(set.is_empty());
    }
}
