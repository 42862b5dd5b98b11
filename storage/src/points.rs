//! Points: where a partition's entries, and the commits, are in one file.
//!
//! A file is thought of in blocks of 64 KiB. There is one point per block and partition with an
//! entry whose part starts there, and one per block in which a commit starts. A reader finds its
//! block by bisection and goes on from the point, so an entry of a few hundred bytes costs no
//! memory of its own.

use headland_event::{CommitNumber, EventTime, Offset};

/// Bytes of a block.
const BLOCK_LEN: u64 = 64 << 10;

/// The block that holds a position.
const fn block_of(position: u64) -> u64 {
    position / BLOCK_LEN
}

/// Where an entry is in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPlace {
    /// Position of the header of its frame.
    pub(crate) frame: u64,
    /// Position of its part, of which the first field is the CRC.
    pub(crate) part: u64,
    /// Bytes of the part.
    pub(crate) length: u32,
    /// Index of the entry in its frame, from 0.
    pub(crate) index: u32,
}

/// The first entry of a partition in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPoint {
    /// Its base offset.
    pub(crate) base: Offset,
    /// Largest event time in the partition from the start of the file to the end of this block.
    pub(crate) time: EventTime,
    pub(crate) place: EntryPlace,
}

impl EntryPoint {
    /// Position at which the block ends: entries from there on have a later point.
    pub(crate) const fn until(&self) -> u64 {
        (block_of(self.place.part) + 1) * BLOCK_LEN
    }
}

/// The first commit that starts in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitPoint {
    pub(crate) commit: CommitNumber,
    /// Position of its frame.
    pub(crate) frame: u64,
}

/// Where points stand in a file's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paged {
    pub(crate) position: u64,
    /// Bytes of them all.
    pub(crate) length: usize,
    /// CRC of them all.
    pub(crate) crc: u32,
}

/// The points of one partition, or of the commits, in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Points<P> {
    /// In memory, because the file has no directory yet.
    Held(Vec<P>),
    /// In the file's directory.
    Paged(Paged),
}

/// What a reader looks for in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek {
    /// The entry that holds an offset, or else the first one after it.
    Offset(Offset),
    /// The first entry with a record of this event time or a later one.
    Time(EventTime),
}

/// Notes an entry that stands behind all others of its partition in the file.
pub(crate) fn add_entry(
    points: &mut Vec<EntryPoint>,
    base: Offset,
    time: EventTime,
    at: EntryPlace,
) {
    if let Some(last) = points.last_mut() {
        debug_assert!(last.base < base && last.place.part < at.part, "entries are added in order");
        if block_of(last.place.part) == block_of(at.part) {
            last.time = last.time.max(time);
            return;
        }
    }
    let before = points.last().map_or(time, |last| last.time);
    points.push(EntryPoint { base, time: before.max(time), place: at });
}

/// Notes a commit that stands behind all others in the file.
pub(crate) fn add_commit(points: &mut Vec<CommitPoint>, commit: CommitNumber, frame: u64) {
    let is_noted = points.last().is_some_and(|last| block_of(last.frame) == block_of(frame));
    if !is_noted {
        points.push(CommitPoint { commit, frame });
    }
}

/// The points from the one where reading has to start; none when what is sought is not there.
pub(crate) fn entries_from(points: &[EntryPoint], seek: Seek) -> &[EntryPoint] {
    let first = match seek {
        Seek::Offset(from) => points.partition_point(|point| point.base <= from).saturating_sub(1),
        Seek::Time(time) => points.partition_point(|point| point.time < time),
    };
    points.get(first..).unwrap_or_default()
}

/// The last point at or before a commit, else the first one.
pub(crate) fn commit_from(points: &[CommitPoint], commit: CommitNumber) -> Option<CommitPoint> {
    let after = points.partition_point(|point| point.commit <= commit);
    points.get(after.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    /// Entries of ten records every 30,000 bytes: two or three start in each block.
    fn points(times: &[i64]) -> Vec<EntryPoint> {
        let mut points = Vec::new();
        for (n, millis) in (0..).zip(times) {
            let part = 132 + n * 30_000;
            let place = EntryPlace { frame: part - 56, part, length: 30_000, index: 0 };
            add_entry(&mut points, Offset::new(n * 10), time(*millis), place);
        }
        points
    }

    fn bases(points: &[EntryPoint], seek: Seek) -> Vec<u64> {
        entries_from(points, seek).iter().map(|point| point.base.get()).collect()
    }

    #[test]
    fn a_block_is_found_by_any_offset_in_it() {
        let points = points(&[0; 7]);

        assert_eq!(bases(&points, Seek::Offset(Offset::new(0))), [0, 30, 50]);
        assert_eq!(bases(&points, Seek::Offset(Offset::new(29))), [0, 30, 50]);
        assert_eq!(bases(&points, Seek::Offset(Offset::new(30))), [30, 50]);
        assert_eq!(bases(&points, Seek::Offset(Offset::new(69))), [50]);
    }

    #[test]
    fn a_time_is_found_in_the_first_block_that_reaches_it() {
        let points = points(&[5, 9, 3, 4, 20, 6, 21]);

        assert_eq!(bases(&points, Seek::Time(time(9))), [0, 30, 50]);
        assert_eq!(bases(&points, Seek::Time(time(10))), [30, 50]);
        assert_eq!(bases(&points, Seek::Time(time(21))), [50]);
        assert_eq!(bases(&points, Seek::Time(time(22))), [0_u64; 0]);
    }

    #[test]
    fn a_block_ends_where_the_next_one_starts() {
        let points = points(&[0; 4]);

        assert_eq!(points.iter().map(EntryPoint::until).collect::<Vec<_>>(), [65_536, 131_072]);
    }

    #[test]
    fn a_commit_is_found_from_the_last_point_before_it() {
        let mut points = Vec::new();
        for n in 0..7 {
            add_commit(&mut points, CommitNumber::new(n + 1), 76 + n * 30_000);
        }
        let found =
            |commit| commit_from(&points, CommitNumber::new(commit)).map(|p| p.commit.get());

        assert_eq!([found(1), found(3), found(4), found(7)], [Some(1), Some(1), Some(4), Some(6)]);
        assert_eq!(commit_from(&[], CommitNumber::new(1)), None);
    }
}
