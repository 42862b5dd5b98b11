//! Which closed files to look at, to copy, or to remove next.
//!
//! What is known without reading a file is which of its entries are live. What of its changes of
//! state is live is found out by a *survey*, and only for files that would be worth cleaning if
//! none were: in a log most changes are positions, which the next commit supersedes. A survey gives
//! an upper bound, because what is dead stays dead. Where state turns out to be most of what is
//! live, a survey is repeated only once the journal has grown by half: all surveys together read
//! at most two bytes for each byte appended.

use std::ops::RangeInclusive;

use headland_event::CommitNumber;

/// Files this much smaller than a full one are merged with their neighbours.
const SMALL_RATIO: u64 = 8;
/// So many small files that follow each other are merged: few enough that their number stays
/// bounded by that of large ones, enough that a byte is rarely merged twice.
const MERGED_MIN: usize = 8;

/// A closed file, as far as it may be cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What it is called in the index.
    pub(super) base: CommitNumber,
    /// Bytes of frames in it.
    pub(super) size: u64,
    /// Bytes of entries that are live.
    pub(super) entries: u64,
    pub(super) state: LiveState,
}

/// What is known of the changes of state in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LiveState {
    /// Nothing yet.
    Unknown,
    /// At most so many bytes are live.
    AtMost(u64),
    /// At most so many bytes; by now it may be much less.
    Outdated(u64),
    /// The file is damaged: nothing in it is touched.
    Damaged,
}

/// What decides between copying a file and leaving it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    /// Live share in percent below which a file is copied.
    pub(super) live_percent: u64,
    /// Bytes of a full file.
    pub(super) file_bytes: u64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Find out what of a file's state is live.
    Survey(CommitNumber),
    /// Remove files that follow each other, in which nothing is live.
    Remove(RangeInclusive<CommitNumber>),
    /// Copy what is live of files that follow each other to one file.
    Copy(RangeInclusive<CommitNumber>),
}

impl Candidate {
    /// Bytes that are live, as far as a survey says so.
    const fn live(&self) -> Option<u64> {
        match self.state {
            LiveState::AtMost(state) | LiveState::Outdated(state) => Some(self.entries + state),
            LiveState::Unknown | LiveState::Damaged => None,
        }
    }

    /// Bytes that are live at most.
    pub(super) fn live_max(&self) -> u64 {
        self.live().unwrap_or(self.size)
    }

    fn is_below(&self, live: u64, thresholds: Thresholds) -> bool {
        live.saturating_mul(100) < self.size.saturating_mul(thresholds.live_percent)
    }

    fn is_worth_a_survey(&self, thresholds: Thresholds) -> bool {
        match self.state {
            LiveState::Unknown => self.is_below(self.entries, thresholds),
            LiveState::Outdated(state) => {
                self.is_below(self.entries, thresholds)
                    && !self.is_below(self.entries + state, thresholds)
            }
            LiveState::AtMost(_) | LiveState::Damaged => false,
        }
    }

    fn is_dead(&self) -> bool {
        self.live() == Some(0)
    }

    fn is_worth_a_copy(&self, thresholds: Thresholds) -> bool {
        self.live().is_some_and(|live| self.is_below(live, thresholds))
    }

    fn is_small(&self, thresholds: Thresholds) -> bool {
        self.state != LiveState::Damaged && self.size * SMALL_RATIO <= thresholds.file_bytes
    }
}

/// Decides what to do next with files in the order of their commits; `None` when nothing is due.
///
/// Dead files go first: that frees room without needing any.
pub(super) fn next(files: &[Candidate], thresholds: Thresholds) -> Option<Work> {
    if let Some(file) = files.iter().find(|file| file.is_worth_a_survey(thresholds)) {
        return Some(Work::Survey(file.base));
    }
    let dead = run(files, |file| file.is_dead(), u64::MAX);
    if let Some(files) = dead {
        return Some(Work::Remove(keys(files)?));
    }
    if let Some(files) = run(files, |f| f.is_worth_a_copy(thresholds), thresholds.file_bytes) {
        return Some(Work::Copy(keys(files)?));
    }
    let mut left = files;
    while let Some(small) = run(left, |file| file.is_small(thresholds), thresholds.file_bytes) {
        if small.len() >= MERGED_MIN {
            return Some(Work::Copy(keys(small)?));
        }
        let last = small.last()?.base;
        left = left.get(left.partition_point(|file| file.base <= last)..)?;
    }
    None
}

/// The first files that follow each other and are `wanted`, with up to `limit` live bytes together.
fn run(
    files: &[Candidate],
    wanted: impl Fn(&Candidate) -> bool,
    limit: u64,
) -> Option<&[Candidate]> {
    let first = files.iter().position(&wanted)?;
    let from = files.get(first..)?;
    let mut live: u64 = 0;
    let fits = |file: &&Candidate| -> bool {
        live = live.saturating_add(file.live_max());
        wanted(file) && live <= limit
    };
    // One at least: what is left of a file is no larger than the file.
    let count = from.iter().take_while(fits).count().max(1);
    from.get(..count)
}

fn keys(files: &[Candidate]) -> Option<RangeInclusive<CommitNumber>> {
    Some(files.first()?.base..=files.last()?.base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { live_percent: 50, file_bytes: 1_000 };

    fn file(base: u64, size: u64, entries: u64, state: LiveState) -> Candidate {
        Candidate { base: CommitNumber::new(base), size, entries, state }
    }

    fn surveyed(base: u64, live: u64) -> Candidate {
        file(base, 1_000, live, LiveState::AtMost(0))
    }

    fn keys(first: u64, last: u64) -> RangeInclusive<CommitNumber> {
        CommitNumber::new(first)..=CommitNumber::new(last)
    }

    fn next(files: &[Candidate]) -> Option<Work> {
        super::next(files, THRESHOLDS)
    }

    #[test]
    fn a_file_is_surveyed_only_when_its_entries_alone_are_below_the_threshold() {
        let survey = Some(Work::Survey(CommitNumber::new(1)));

        assert_eq!(next(&[file(1, 1_000, 500, LiveState::Unknown)]), None);
        assert_eq!(next(&[file(1, 1_000, 499, LiveState::Unknown)]), survey);
        assert_eq!(next(&[file(1, 1_000, 0, LiveState::AtMost(500))]), None);
        assert_eq!(next(&[file(1, 1_000, 0, LiveState::Outdated(500))]), survey);
        assert_eq!(next(&[file(1, 1_000, 500, LiveState::Outdated(500))]), None);
        assert_eq!(next(&[file(1, 1_000, 0, LiveState::Damaged)]), None);
    }

    #[test]
    fn dead_files_that_follow_each_other_go_before_anything_is_copied() {
        let files = [surveyed(1, 100), surveyed(2, 0), surveyed(3, 0), surveyed(4, 900)];

        assert_eq!(next(&files), Some(Work::Remove(keys(2, 3))));
    }

    #[test]
    fn files_below_the_threshold_are_copied_together_up_to_the_size_of_a_file() {
        let files = [surveyed(1, 500), surveyed(2, 499), surveyed(3, 400), surveyed(4, 102)];

        assert_eq!(next(&files), Some(Work::Copy(keys(2, 3))));
        assert_eq!(next(&files[..1]), None);
    }

    #[test]
    fn eight_small_files_in_a_row_are_merged_and_seven_are_not() {
        let small = |base| file(base, 125, 125, LiveState::Unknown);
        let mut files: Vec<_> = (1..8).map(small).collect();

        assert_eq!(next(&files), None);
        files.push(surveyed(8, 900));
        files.extend((9..17).map(small));
        assert_eq!(next(&files), Some(Work::Copy(keys(9, 16))));
        files.remove(12);
        assert_eq!(next(&files), None);
    }
}
