//! Named holes: what stands in a partition in the place of records that were shed.
//!
//! A hole is an ordinary batch with one record, which has neither key nor value, over as many
//! offsets as are gone. So offsets and sequences stay dense, and whatever moves, stores or mirrors
//! batches keeps the hole and its name without knowing of it.
//!
//! ```text
//! header "hl-dropped":  policy 1*alpha │ " " │ count 1*digit       for example "bytes 1500"
//! ```
//! The dot of the entry is that of the first record that is gone; sequence 0 stands for records of
//! an earlier life, whose dots the writer does not know any more.

use crate::batch::{Batch, BatchError};
use crate::limits::BATCH_RECORDS_LIMIT;
use crate::record::Record;
use crate::time::EventTime;

/// Header of a hole's record.
const DROPPED_HEADER: &str = "hl-dropped";

/// Why records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropPolicy {
    /// They were older than is kept.
    Time,
    /// There were more bytes than are kept.
    Bytes,
    /// A receiver had them, and lost them since.
    Acknowledged,
    /// They are of an earlier life, which did not hand down why.
    EarlierLife,
    /// A later record of the same key took their place, in a topic that is compacted by key.
    Compacted,
    /// The sender's disk damaged them.
    Damaged,
    /// Another hub has them: the writer went from that one to this one.
    Elsewhere,
}

impl DropPolicy {
    /// Whether nobody misses the records: a later one took their place, or they are in another log.
    #[must_use]
    pub const fn is_harmless(self) -> bool {
        match self {
            Self::Compacted | Self::Elsewhere => true,
            Self::Time | Self::Bytes | Self::Acknowledged | Self::EarlierLife | Self::Damaged => {
                false
            }
        }
    }

    const ALL: [Self; 7] = [
        Self::Time,
        Self::Bytes,
        Self::Acknowledged,
        Self::EarlierLife,
        Self::Compacted,
        Self::Damaged,
        Self::Elsewhere,
    ];

    /// The policy's name on the wire and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Bytes => "bytes",
            Self::Acknowledged => "acknowledged",
            Self::EarlierLife => "earlier-life",
            Self::Compacted => "compacted",
            Self::Damaged => "damaged",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl std::fmt::Display for DropPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named hole: offsets whose records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Records that are gone; at most as many as the batch takes offsets.
    pub count: u64,
    /// Why.
    pub policy: DropPolicy,
}

impl Hole {
    /// Most offsets that one hole takes; a longer one is several.
    pub const SPAN_MAX: u64 = BATCH_RECORDS_LIMIT as u64;

    /// The batch that stands for `span` offsets, 1 to [`Self::SPAN_MAX`]; `time` is the event time
    /// of its record, best that of what follows.
    ///
    /// # Errors
    /// [`BatchError`] when the span does not fit.
    pub fn to_batch(self, span: u64, time: EventTime) -> Result<Batch, BatchError> {
        let Self { count, policy } = self;
        debug_assert!(count <= span, "a hole takes an offset for each record that is gone");
        let record = Record { time, ..Record::default() }
            .with_header(DROPPED_HEADER, format!("{policy} {count}"));
        Batch::spanning(&record, span)
    }

    /// The hole that a batch is; `None` for every other batch. Cost: one comparison for a batch of
    /// more than one record.
    #[must_use]
    pub fn of(batch: &Batch) -> Option<Self> {
        if batch.len() > 1 {
            return None;
        }
        let contents = batch.contents().ok()?;
        let record = contents.iter().next()?.ok()?;
        if record.key().is_some() || record.value().is_some() {
            return None;
        }
        let mut headers = record.headers().filter_map(Result::ok);
        let (_, text) = headers.find(|(name, _)| *name == DROPPED_HEADER)?;
        let (policy, count) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        let policy = DropPolicy::ALL.into_iter().find(|known| known.as_str() == policy)?;
        let count = count.parse().ok().filter(|count| *count <= batch.span())?;
        // What only begins as a hole would be refused by whoever decodes all of it.
        batch.numbered_records().ok()?;
        Some(Self { count, policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: EventTime = EventTime::from_millis(7);

    #[test]
    fn a_hole_spans_its_offsets_and_reads_back_with_its_name() {
        for (span, policy) in (1..).step_by(1_499).zip(DropPolicy::ALL) {
            let hole = Hole { count: span, policy };

            let batch = hole.to_batch(span, TIME).unwrap();
            let decoded = Batch::decode(batch.as_bytes().clone()).unwrap();

            assert_eq!((decoded.len(), decoded.span(), decoded.max_time()), (1, span, TIME));
            assert_eq!(Hole::of(&decoded), Some(hole));
        }
    }

    #[test]
    fn a_batch_that_breaks_behind_the_name_of_a_hole_is_none() {
        let record = Record::default().with_header(DROPPED_HEADER, "bytes 1");
        let record = record.with_header("zz", "behind");
        let mut bytes = Batch::encode(&[record]).unwrap().as_bytes().to_vec();
        let name = bytes.windows(2).position(|window| window == b"zz").unwrap();
        bytes[name..name + 2].copy_from_slice(b"\xff\xff");
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());

        let batch = Batch::decode(bytes.into()).unwrap();

        assert!(batch.numbered_records().is_err());
        assert_eq!(Hole::of(&batch), None);
    }

    #[test]
    fn a_hole_of_no_offset_or_beyond_the_limit_is_refused() {
        let hole = Hole { count: 0, policy: DropPolicy::Bytes };

        let [none, most, beyond] =
            [0, Hole::SPAN_MAX, Hole::SPAN_MAX + 1].map(|span| hole.to_batch(span, TIME));

        assert_eq!(none, Err(BatchError::Empty));
        assert_eq!(most.unwrap().span(), 10_000);
        let limit = BATCH_RECORDS_LIMIT;
        assert_eq!(beyond, Err(BatchError::TooManyRecords { found: 10_001, limit }));
    }

    #[test]
    fn a_batch_of_records_is_no_hole_whatever_its_header_says() {
        let named = |text: &str| {
            Record { time: TIME, ..Record::default() }.with_header(DROPPED_HEADER, text.to_owned())
        };
        let keyed = Record::new(TIME, "k", "v").with_header(DROPPED_HEADER, "bytes 1");
        let unfit = [
            vec![Record::new(TIME, "k", "v")],
            vec![keyed],
            vec![named("bytes 1"), named("bytes 1")],
            vec![named("bytes 2")],
            vec![named("moths 1")],
            vec![named("bytes")],
        ];

        for records in unfit {
            assert_eq!(Hole::of(&Batch::encode(&records).unwrap()), None, "{records:?}");
        }
    }
}
