//! Batches written by Kafka's own code, and ours that Kafka's code read: see
//! `fixtures/kafka/README.md` for where they come from.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use headland_event::batch::RefusedAttribute;
use headland_event::{Batch, BatchError, Codec, EventTime, Record};

const NONE: &[u8] = include_bytes!("fixtures/kafka/none.batch");
const LZ4: &[u8] = include_bytes!("fixtures/kafka/lz4.batch");
const ZSTD: &[u8] = include_bytes!("fixtures/kafka/zstd.batch");
const GZIP: &[u8] = include_bytes!("fixtures/kafka/gzip.batch");
const SNAPPY: &[u8] = include_bytes!("fixtures/kafka/snappy.batch");
const HORIZON: &[u8] = include_bytes!("fixtures/kafka/horizon.batch");
const NONE_CLEANED: &[u8] = include_bytes!("fixtures/kafka/none-cleaned.batch");
const LZ4_CLEANED: &[u8] = include_bytes!("fixtures/kafka/lz4-cleaned.batch");
const ZSTD_CLEANED: &[u8] = include_bytes!("fixtures/kafka/zstd-cleaned.batch");
const OURS_LZ4: &[u8] = include_bytes!("fixtures/kafka/ours-lz4.batch");
const OURS_LZ4_CLEANED: &[u8] = include_bytes!("fixtures/kafka/ours-lz4-cleaned.batch");
const OURS_ZSTD: &[u8] = include_bytes!("fixtures/kafka/ours-zstd.batch");
const OURS_ZSTD_CLEANED: &[u8] = include_bytes!("fixtures/kafka/ours-zstd-cleaned.batch");

/// The same records as `record` in `KafkaBatch.java`.
fn records() -> Vec<Record> {
    (0..64).map(record).collect()
}

fn record(index: i64) -> Record {
    let time = 1_291_190_760_000 + (index * 37 % 64) * 250;
    let value = format!("{{\"sku\":\"85123A\",\"quantity\":{index}}}");
    let mut record =
        Record::new(EventTime::from_millis(time), format!("till-{}", index % 5), value);
    if index % 7 == 6 {
        record.key = None;
    }
    if index % 11 == 10 {
        record.value = None;
    }
    if index % 10 == 9 {
        record = record.with_header("hl-clock", time.to_string()).with_header("empty", "");
    }
    record
}

fn decode(bytes: &'static [u8]) -> Batch {
    Batch::decode(Bytes::from_static(bytes)).unwrap()
}

/// What `clean` in `KafkaBatch.java` keeps.
fn is_kept(delta: u32, value: Option<&[u8]>) -> bool {
    delta % 3 == 1 && value.is_some()
}

fn cleaned(batch: &Batch) -> Batch {
    batch.retain(|record| is_kept(record.delta().get(), record.value())).unwrap().unwrap()
}

fn deltas(batch: &Batch) -> Vec<u32> {
    batch.contents().unwrap().iter().map(|record| record.unwrap().delta().get()).collect()
}

#[test]
fn an_uncompressed_batch_is_the_same_bytes_as_kafkas() {
    let batch = Batch::encode(&records()).unwrap();

    assert_eq!(batch.as_bytes(), NONE);
}

#[test]
fn a_batch_written_by_kafka_is_read_in_every_codec_of_the_build() {
    let written = [(Codec::None, NONE), (Codec::Lz4, LZ4), (Codec::Zstd, ZSTD)];

    for (codec, bytes) in written.into_iter().filter(|(codec, _)| codec.is_built()) {
        let batch = decode(bytes);

        assert_eq!(batch.codec(), codec);
        assert_eq!(batch.records().unwrap(), records());
    }
}

#[test]
fn gzip_and_snappy_are_refused_by_name() {
    let read = |bytes| Batch::decode(Bytes::from_static(bytes)).unwrap_err();

    assert_eq!(read(GZIP), BatchError::CodecRefused { name: "gzip", code: 1 });
    assert_eq!(read(SNAPPY), BatchError::CodecRefused { name: "snappy", code: 2 });
}

#[test]
fn a_batch_in_which_kafka_noted_a_delete_horizon_is_refused() {
    let found = RefusedAttribute::DeleteHorizon;

    let read = Batch::decode(Bytes::from_static(HORIZON));
    assert_eq!(read, Err(BatchError::Attribute { found }));
}

#[test]
fn dropping_records_gives_the_same_bytes_as_kafkas_log_cleaner() {
    assert_eq!(cleaned(&decode(NONE)).as_bytes(), NONE_CLEANED);
}

#[test]
fn a_batch_that_kafka_cleaned_is_read_with_its_holes() {
    let written =
        [(Codec::None, NONE_CLEANED), (Codec::Lz4, LZ4_CLEANED), (Codec::Zstd, ZSTD_CLEANED)];
    let records = records();
    let (kept, left): (Vec<u32>, Vec<Record>) = (0..)
        .zip(records)
        .filter(|(delta, record)| is_kept(*delta, record.value.as_deref()))
        .unzip();

    for (_, bytes) in written.into_iter().filter(|(codec, _)| codec.is_built()) {
        let batch = decode(bytes);

        assert_eq!((batch.len(), batch.span(), batch.last_delta().get()), (19, 64, 63));
        assert_eq!(deltas(&batch), kept);
        assert_eq!(batch.base_time(), record(1).time);
        assert_eq!(batch.records().unwrap(), left);
    }
}

/// Kafka's code read these files; the compressing libraries may write others one day, so the
/// bytes of today are not repeated here.
#[test]
fn our_compressed_batches_that_kafka_read_are_still_read() {
    let files = [(OURS_LZ4, OURS_LZ4_CLEANED), (OURS_ZSTD, OURS_ZSTD_CLEANED)];

    for (full, kept) in files {
        let (full, kept) = (decode(full), decode(kept));
        if full.codec().is_built() {
            assert_eq!(full.records().unwrap(), records());
            assert_eq!(kept.records().unwrap(), cleaned(&full).records().unwrap());
        }
    }
}
