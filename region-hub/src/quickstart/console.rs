//! What a run says while it runs: progress bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use headland_platform::clock::Clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line tells how far the play is, in parts of the whole.
const PLAIN_STEPS: usize = 10;

/// Writes to standard output.
#[derive(Debug)]
pub(super) struct Console {
    clock: Clock,
    bars: bool,
}

impl Console {
    /// A console with bars when standard output is a terminal and `CI` is not set.
    pub(super) fn new(clock: Clock) -> Self {
        let bars = std::io::stdout().is_terminal() && std::env::var_os("CI").is_none();
        Self { clock, bars }
    }

    /// Says a line, behind the seconds since the start.
    pub(super) fn say(&self, text: &str) {
        let since = self.clock.monotonic().since(headland_event::Monotonic::default());
        self.print(&format!("{:6.1} s  {text}", since.as_secs_f64()));
    }

    /// Prints lines as they are. That nobody reads them any more is no reason to stop the run.
    pub(super) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        drop(written);
    }

    /// Shows how far something with `length` steps is.
    pub(super) fn progress(&self, what: &'static str, length: usize) -> Progress<'_> {
        let bar = self.bars.then(|| {
            let target = ProgressDrawTarget::stdout();
            let bar = ProgressBar::with_draw_target(Some(length as u64), target);
            // A literal template; if it did not parse, the default style would do.
            let style = ProgressStyle::with_template("          {msg} {wide_bar} {pos}/{len}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        Progress { console: self, what, length, said: std::cell::Cell::new(0), bar }
    }
}

/// How far something is.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    console: &'a Console,
    what: &'static str,
    length: usize,
    said: std::cell::Cell<usize>,
    bar: Option<ProgressBar>,
}

impl Progress<'_> {
    /// Moves to `done` steps.
    pub(super) fn set(&self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        } else if let Some(step) = new_step(done, self.length, self.said.get()) {
            self.said.set(step);
            self.console.say(&format!("{} {done} of {}", self.what, self.length));
        }
    }

    /// Says a line above the bar.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.say(text)),
            None => self.console.say(text),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The step of [`PLAIN_STEPS`] that `done` of `length` has reached, when it is a new one.
fn new_step(done: usize, length: usize, said: usize) -> Option<usize> {
    debug_assert!(done <= length, "no more is done than there is");
    let step = done * PLAIN_STEPS / length.max(1);
    (step > said).then_some(step)
}

/// A duration in milliseconds, or a dash for none.
pub(super) fn millis(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "–".to_owned(), |duration| format!("{} ms", duration.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_said_once() {
        assert_eq!(new_step(9, 100, 0), None);
        assert_eq!(new_step(10, 100, 0), Some(1));
        assert_eq!(new_step(19, 100, 1), None);
        assert_eq!(new_step(0, 0, 0), None);
    }
}
