//! Which windows hold a time, and the panes that windows are made of.
//!
//! A pane is the longest stretch of time that no window's edge divides; windows are unions of
//! panes. So a row is added once however many windows hold it.

use std::fmt;

use crate::relation::WindowKind;

/// Times beyond this, 73 million years from the epoch, count as it, and no window is longer: so no
/// edge of a window overflows.
const TIME_LIMIT: i64 = i64::MAX / 4;

/// The windows of a fixed length, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pane: i64,
    size: i64,
    /// From one window's end to the next.
    step: i64,
    /// Where panes begin, modulo the pane's length.
    offset: i64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// TUMBLE is a hop by its own length.
    Hop,
    Cumulate,
}

/// How long windows are: fixed, or as their rows make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Fixed(Windows),
    Session { gap: i64 },
}

impl Extent {
    /// The extent of a kind of windows.
    pub(crate) const fn of(kind: WindowKind) -> Self {
        let (pane, size, step, offset, kind) = match kind {
            WindowKind::Tumble { size, offset } => (size, size, size, offset, Kind::Hop),
            WindowKind::Hop { size, slide, offset } => {
                (greatest_common_divisor(size, slide), size, slide, offset, Kind::Hop)
            }
            WindowKind::Cumulate { size, step, offset } => {
                (step, size, step, offset, Kind::Cumulate)
            }
            WindowKind::Session { gap } => return Self::Session { gap },
        };
        debug_assert!(pane > 0 && size >= pane && step >= pane, "lengths are positive");
        debug_assert!(size <= TIME_LIMIT && step <= TIME_LIMIT, "the front end bounds lengths");
        Self::Fixed(Windows { pane, size, step, offset, kind })
    }
}

impl Windows {
    /// The end of the pane that holds `time`; it names the pane.
    pub(crate) fn pane_of(&self, time: i64) -> i64 {
        let time = time.clamp(-TIME_LIMIT, TIME_LIMIT);
        start_of(time, self.offset, self.pane).saturating_add(self.pane)
    }

    /// How long the longest window is.
    pub(crate) const fn size(&self) -> i64 {
        self.size
    }

    /// How many panes make the longest window.
    pub(crate) const fn panes_per_window(&self) -> i64 {
        self.size / self.pane
    }

    /// The first end, `least` or later, of a window that holds the pane.
    pub(crate) fn end_from(&self, pane: i64, least: i64) -> Option<i64> {
        let least = least.max(pane);
        let end = match self.kind {
            // A window ends where another begins, plus its size.
            Kind::Hop => {
                let aligned = self.offset.saturating_add(self.size);
                start_of(least.saturating_sub(1), aligned, self.step).saturating_add(self.step)
            }
            Kind::Cumulate => self.pane_of(least.saturating_sub(1)),
        };
        (end <= self.last_end(pane)).then_some(end)
    }

    /// The end of the last window that holds the pane.
    pub(crate) fn last_end(&self, pane: i64) -> i64 {
        match self.kind {
            Kind::Hop => {
                let begin = pane.saturating_sub(self.pane);
                start_of(begin, self.offset, self.step).saturating_add(self.size)
            }
            Kind::Cumulate => self.start(pane).saturating_add(self.size),
        }
    }

    /// The start of the window that ends at `end`.
    pub(crate) const fn start(&self, end: i64) -> i64 {
        match self.kind {
            Kind::Hop => end.saturating_sub(self.size),
            Kind::Cumulate => start_of(end.saturating_sub(1), self.offset, self.size),
        }
    }

    /// The ends of all windows that hold `time`, ascending.
    pub(crate) fn ends(&self, time: i64) -> impl Iterator<Item = i64> + '_ {
        let pane = self.pane_of(time);
        let mut next = Some(pane);
        std::iter::from_fn(move || {
            let end = self.end_from(pane, next?)?;
            next = end.checked_add(1);
            Some(end)
        })
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pane: _, size, step, offset, kind } = self;
        match kind {
            Kind::Hop if size == step => write!(f, "TUMBLE {size} ms")?,
            Kind::Hop => write!(f, "HOP {step} ms, {size} ms")?,
            Kind::Cumulate => write!(f, "CUMULATE {step} ms, {size} ms")?,
        }
        if *offset == 0 { Ok(()) } else { write!(f, ", offset {offset} ms") }
    }
}

/// The latest time up to `time` that is `offset` modulo `length`.
const fn start_of(time: i64, offset: i64, length: i64) -> i64 {
    // Both remainders first, so that no difference overflows.
    let behind = (time.rem_euclid(length) - offset.rem_euclid(length)).rem_euclid(length);
    time.saturating_sub(behind)
}

const fn greatest_common_divisor(left: i64, right: i64) -> i64 {
    let (mut left, mut right) = (left, right);
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(kind: WindowKind) -> Windows {
        match Extent::of(kind) {
            Extent::Fixed(windows) => windows,
            Extent::Session { .. } => panic!("sessions have no fixed length"),
        }
    }

    #[test]
    fn hop_windows_are_made_of_panes_as_long_as_their_common_divisor() {
        let hop = windows(WindowKind::Hop { size: 300, slide: 60, offset: 0 });

        assert_eq!((hop.pane_of(0), hop.panes_per_window()), (60, 5));
        assert_eq!(hop.ends(59).collect::<Vec<_>>(), [60, 120, 180, 240, 300]);
        assert_eq!(hop.ends(60).collect::<Vec<_>>(), [120, 180, 240, 300, 360]);
    }

    #[test]
    fn a_hop_that_does_not_divide_its_size_leaves_times_in_fewer_windows() {
        let hop = windows(WindowKind::Hop { size: 10, slide: 4, offset: 0 });

        assert_eq!(hop.ends(0).collect::<Vec<_>>(), [2, 6, 10]);
        assert_eq!(hop.ends(3).collect::<Vec<_>>(), [6, 10]);
        assert_eq!(hop.ends(4).collect::<Vec<_>>(), [6, 10, 14]);
    }

    #[test]
    fn a_hop_longer_than_its_size_leaves_gaps() {
        let hop = windows(WindowKind::Hop { size: 2, slide: 5, offset: 0 });

        assert_eq!(hop.ends(1).collect::<Vec<_>>(), [2]);
        assert_eq!(hop.ends(2).count(), 0);
    }

    #[test]
    fn cumulating_windows_grow_by_steps_and_start_over() {
        let cumulate = windows(WindowKind::Cumulate { size: 30, step: 10, offset: 0 });

        assert_eq!(cumulate.ends(12).collect::<Vec<_>>(), [20, 30]);
        assert_eq!(cumulate.ends(30).collect::<Vec<_>>(), [40, 50, 60]);
        assert_eq!([cumulate.start(20), cumulate.start(30), cumulate.start(40)], [0, 0, 30]);
    }

    #[test]
    fn windows_are_aligned_on_both_sides_of_the_epoch() {
        let tumble = windows(WindowKind::Tumble { size: 10, offset: 3 });

        let ends: Vec<i64> = [-8, -7, 2, 3].iter().map(|time| tumble.pane_of(*time)).collect();
        assert_eq!(ends, [-7, 3, 3, 13]);
    }

    proptest! {
        #[test]
        fn the_windows_of_a_time_are_those_that_begin_at_or_before_and_end_behind_it(
            time in -1_000_i64..1_000,
            size in 1_i64..50,
            slide in 1_i64..50,
            offset in -20_i64..20,
        ) {
            let hop = windows(WindowKind::Hop { size, slide, offset });

            let naive: Vec<i64> = (time + 1..=time + size)
                .filter(|end| (end - size - offset).rem_euclid(slide) == 0)
                .collect();
            prop_assert_eq!(hop.ends(time).collect::<Vec<_>>(), naive);
        }

        #[test]
        fn no_time_overflows(
            time in any::<i64>(),
            pane in 1_i64..1 << 50,
            size in 1_i64..500,
            slide in 1_i64..500,
        ) {
            let (size, slide) = (size * pane, slide * pane);
            let hop = windows(WindowKind::Hop { size, slide, offset: 0 });

            let ends: Vec<i64> = hop.ends(time).collect();
            prop_assert!(i64::try_from(ends.len()).unwrap() <= size / slide + 1);
            prop_assert!(ends.iter().all(|end| end.rem_euclid(slide) == size.rem_euclid(slide)));
        }
    }
}
