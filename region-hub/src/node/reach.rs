//! Whether a configured hub is reached, what is known of it while it is not, and when to say so.

use std::time::Duration;

use headland_event::Monotonic;

/// How long a hub may be away before that is said: a restart or a change of path takes less.
const SAID_AFTER: Duration = Duration::from_secs(10);

/// How often it is said again while nothing changes.
const REPEATED_AFTER: Duration = Duration::from_secs(600);

/// What an operator should hear about a hub, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// It has been away for so long, the last attempt failed so.
    Away { since: Duration, why: String },
    /// It is reached after it was said to be away.
    Back { after: Duration },
}

/// What is known of one configured hub.
#[derive(Debug)]
pub(super) struct Reach {
    /// When the link went down; `None` while it is up.
    down_at: Option<Monotonic>,
    /// Why the last attempt failed.
    why: String,
    /// When and with which reason it was last said that the hub is away.
    said: Option<(Monotonic, String)>,
    /// When this hub last held all that the peer was known to have.
    complete_at: Monotonic,
    /// Whether the link was up in this run.
    history: History,
}

/// Whether a link was up in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    NeverUp,
    WasUp,
}

impl Reach {
    /// A hub that was never reached in this run; `why` until an attempt says more.
    pub(super) fn new(now: Monotonic, why: &str) -> Self {
        Self {
            down_at: Some(now),
            why: why.to_owned(),
            said: None,
            complete_at: now,
            history: History::NeverUp,
        }
    }

    /// An attempt failed, or a connection ended so; while another one is up, nobody asks.
    pub(super) fn on_failed(&mut self, why: &str) {
        if self.down_at.is_some() {
            why.clone_into(&mut self.why);
        }
    }

    /// The link is up.
    pub(super) fn on_up(&mut self, now: Monotonic) -> Option<Notice> {
        self.history = History::WasUp;
        let down_at = self.down_at.take()?;
        let said = self.said.take();
        said.map(|_| Notice::Back { after: now.since(down_at) })
    }

    /// For how long the link has been down; `None` while it is up.
    pub(super) fn down_for(&self, now: Monotonic) -> Option<Duration> {
        self.down_at.map(|down_at| now.since(down_at))
    }

    /// The link went down while so many records of the peer were missing here.
    pub(super) fn on_down(&mut self, now: Monotonic, behind_records: u64) {
        debug_assert!(self.down_at.is_none(), "a link goes down once");
        self.on_behind(now, behind_records);
        self.down_at = Some(now);
        "the connection was lost".clone_into(&mut self.why);
    }

    /// While the link is up: so many records of the peer are missing here.
    pub(super) const fn on_behind(&mut self, now: Monotonic, behind_records: u64) {
        if behind_records == 0 {
            self.complete_at = now;
        }
    }

    /// What to say at `now`, if anything.
    pub(super) fn on_timeout(&mut self, now: Monotonic) -> Option<Notice> {
        if self.poll_timeout()? > now {
            return None;
        }
        let since = now.since(self.down_at?);
        self.said = Some((now, self.why.clone()));
        Some(Notice::Away { since, why: self.why.clone() })
    }

    /// When there is something to say.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let first = self.down_at?.after(SAID_AFTER);
        Some(match &self.said {
            None => first,
            Some((at, why)) if *why == self.why => at.after(REPEATED_AFTER),
            // A reason that goes back and forth is not worth a line for each attempt.
            Some((at, _)) => at.after(SAID_AFTER),
        })
    }

    /// Whether the link was up in this run.
    pub(super) fn was_up(&self) -> bool {
        self.history == History::WasUp
    }

    /// For how long this hub has not held all that the peer was known to have.
    pub(super) const fn incomplete_for(&self, now: Monotonic) -> Duration {
        now.since(self.complete_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_millis(1_000 * seconds)
    }

    fn away(seconds: u64, why: &str) -> Option<Notice> {
        Some(Notice::Away { since: Duration::from_secs(seconds), why: why.to_owned() })
    }

    #[test]
    fn a_hub_that_never_answers_is_said_after_ten_seconds_and_every_ten_minutes() {
        let mut reach = Reach::new(at(0), "no answer yet");
        reach.on_failed("timed out");

        let said: Vec<_> = [9, 10, 11, 609, 610].map(|second| reach.on_timeout(at(second))).into();

        assert_eq!(said, [None, away(10, "timed out"), None, None, away(610, "timed out")]);
    }

    #[test]
    fn another_reason_is_said_ten_seconds_after_the_last_word() {
        let mut reach = Reach::new(at(0), "no answer yet");
        assert_eq!(reach.on_timeout(at(10)), away(10, "no answer yet"));

        reach.on_failed("refused");

        assert_eq!(reach.on_timeout(at(19)), None);
        assert_eq!(reach.on_timeout(at(20)), away(20, "refused"));
    }

    #[test]
    fn a_hub_that_comes_back_is_said_once_and_only_if_it_was_said_to_be_away() {
        let mut short = Reach::new(at(0), "no answer yet");
        let mut long = Reach::new(at(0), "no answer yet");
        assert_eq!(long.on_timeout(at(10)), away(10, "no answer yet"));

        assert_eq!(short.on_up(at(9)), None);
        assert_eq!(long.on_up(at(12)), Some(Notice::Back { after: Duration::from_secs(12) }));
        assert_eq!(long.on_up(at(13)), None);
        assert_eq!(long.poll_timeout(), None);
    }

    #[test]
    fn what_is_missing_ages_from_when_nothing_was() {
        let mut reach = Reach::new(at(0), "no answer yet");
        assert_eq!(reach.on_up(at(1)), None);
        reach.on_behind(at(5), 0);
        reach.on_behind(at(7), 3);

        reach.on_down(at(8), 3);

        assert_eq!(reach.incomplete_for(at(20)), Duration::from_secs(15));
    }
}
