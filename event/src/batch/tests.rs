//! What holds for batches in every codec. `tests/kafka.rs` holds them against Kafka's own.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::codec::CodecError;
use crate::limits::{DECOMPRESSED_BYTES_LIMIT, HEADERS_LIMIT, RECORD_BYTES_LIMIT};
use crate::record::Header;

const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;
const ATTRIBUTES_LOW_AT: usize = 22;
const LAST_DELTA_AT: usize = 23;
const MAX_TIME_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const COUNT_AT: usize = 57;

fn codecs() -> Vec<Codec> {
    Codec::ALL.into_iter().filter(|codec| codec.is_built()).collect()
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    // Few distinct bytes, so that compression has something to find.
    let bytes = || vec(0..4_u8, 0..60).prop_map(Bytes::from);
    let header = ("[a-zä-]{0,12}", bytes()).prop_map(|(name, value)| Header { name, value });
    let time = prop_oneof![any::<i64>(), any::<i32>().prop_map(i64::from)];
    let record = (time, option::of(bytes()), option::of(bytes()), vec(header, 0..4)).prop_map(
        |(time, key, value, headers)| Record {
            time: EventTime::from_millis(time),
            key,
            value,
            headers,
        },
    );
    vec(record, 1..30)
}

fn one() -> Vec<Record> {
    vec![Record::new(EventTime::from_millis(1_000), "till-3", "{\"quantity\":6}")]
}

/// `count` records at 1 s, 2 s and so on, that compress well.
fn steps(count: i64) -> Vec<Record> {
    let value = "{\"sku\":\"85123A\",\"quantity\":6}";
    (1..=count)
        .map(|step| Record::new(EventTime::from_millis(step * 1_000), "till-3", value))
        .collect()
}

fn of_length(length: usize) -> Record {
    Record::new(EventTime::default(), "", vec![0_u8; length])
}

/// The batch with other bytes at a place, and a CRC that fits them.
fn patched(batch: &Batch, at: usize, bytes: &[u8]) -> Bytes {
    let mut patched = batch.as_bytes().to_vec();
    patched[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(patched)
}

/// The batch with other records behind the header, and a length and CRC that fit them.
fn with_contents(batch: &Batch, contents: &[u8]) -> Bytes {
    sealed([&batch.as_bytes()[..HEAD_BYTES], contents].concat())
}

fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let length = u32::try_from(bytes.len() - LENGTH_AT - 4).unwrap();
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

/// What reading the records of a batch with these uncompressed contents says.
fn read(contents: &[u8]) -> Result<Vec<Record>, BatchError> {
    Batch::decode(with_contents(&Batch::encode(&one()).unwrap(), contents))?.records()
}

fn kept(batch: &Batch, keep: impl Fn(u32) -> bool) -> Option<Batch> {
    batch.retain(|record| keep(record.delta().get())).unwrap()
}

#[test]
fn the_checksum_is_the_headers_and_does_not_depend_on_the_base() {
    let batch = Batch::encode(&[Record::new(EventTime::from_millis(1), "k", "v")]).unwrap();
    let moved = Batch::decode(batch.rebased(Offset::new(7))).unwrap();

    assert_eq!(batch.checksum(), crc32c::crc32c(&batch.as_bytes()[CHECKED_FROM..]));
    assert_eq!(moved.checksum(), batch.checksum());
}

#[test]
fn a_batch_without_records_is_refused() {
    assert_eq!(Batch::encode(&[]), Err(BatchError::Empty));

    let none = patched(&Batch::encode(&one()).unwrap(), COUNT_AT, &[0; 4]);
    assert_eq!(Batch::decode(none), Err(BatchError::Empty));
}

#[test]
fn a_record_at_its_limit_fits_and_one_byte_more_does_not() {
    let limit = RECORD_BYTES_LIMIT.as_len();
    for codec in codecs() {
        let batch = Batch::encode_with(codec, &[of_length(limit)]).unwrap();

        assert_eq!(batch.records().unwrap(), [of_length(limit)]);
        assert_eq!(
            Batch::encode_with(codec, &[of_length(limit + 1)]),
            Err(BatchError::RecordTooLarge { index: 0, found: limit + 1, limit })
        );
    }
}

#[test]
fn a_record_read_from_elsewhere_keeps_its_limit_with_and_without_headers() {
    let limit = RECORD_BYTES_LIMIT.as_len();
    let body = |value: usize, header: usize| {
        let mut body = Writer::new();
        body.raw(&[0, 0, 0, 1]);
        body.varint(value.try_into().unwrap());
        body.raw(&vec![0; value]);
        body.raw(&[2, 2, b'h']);
        body.varint(header.try_into().unwrap());
        body.raw(&vec![0; header]);
        let mut record = Writer::new();
        record.varint(body.len().try_into().unwrap());
        record.raw(body.as_slice());
        record.finish()
    };
    let too_large = |found| Err(BatchError::RecordTooLarge { index: 0, found, limit });

    assert_eq!(read(&body(limit - 11, 10)).unwrap().len(), 1);
    assert_eq!(read(&body(limit - 10, 10)), too_large(limit + 1));
    assert_eq!(read(&body(limit + 1, 10)), too_large(limit + 1));
}

#[test]
fn ten_thousand_records_fit_and_one_more_does_not() {
    let record = Record::new(EventTime::default(), "", "");
    let too_many = BatchError::TooManyRecords { found: 10_001, limit: 10_000 };
    let full = Batch::encode(&vec![record.clone(); 10_000]).unwrap();

    assert_eq!((full.len(), full.span()), (10_000, 10_000));
    assert_eq!(Batch::encode(&vec![record; 10_001]), Err(too_many.clone()));
    assert_eq!(Batch::decode(patched(&full, COUNT_AT, &10_001_u32.to_be_bytes())), Err(too_many));
}

#[test]
fn offsets_span_ten_thousand_and_not_one_more() {
    let batch = Batch::encode(&one()).unwrap();
    let spanning = |last: u32| Batch::decode(patched(&batch, LAST_DELTA_AT, &last.to_be_bytes()));

    assert_eq!(spanning(9_999).unwrap().span(), 10_000);
    assert_eq!(spanning(10_000), Err(BatchError::TooManyRecords { found: 10_001, limit: 10_000 }));
}

#[test]
fn more_records_than_offsets_are_refused() {
    let bytes = patched(&Batch::encode(&steps(3)).unwrap(), LAST_DELTA_AT, &1_u32.to_be_bytes());

    let expected = "at least the record count less one";
    let field = "last offset delta";
    assert_eq!(Batch::decode(bytes), Err(BatchError::Unsupported { field, found: 1, expected }));
}

#[test]
fn sixty_four_headers_fit_and_one_more_does_not() {
    let with = |headers: usize| {
        let header = Header { name: "h".into(), value: Bytes::new() };
        vec![Record { headers: vec![header; headers], ..Record::default() }]
    };
    let (limit, found) = (HEADERS_LIMIT, HEADERS_LIMIT + 1);
    let too_many = Err(BatchError::TooManyHeaders { index: 0, found, limit });
    let full = Batch::encode(&with(limit)).unwrap();

    assert_eq!(full.records().unwrap(), with(limit));
    assert_eq!(Batch::encode(&with(limit + 1)), too_many.clone().map(|()| full.clone()));
    // The count stands behind length, attributes, two deltas, no key and no value.
    let declared = patched(&full, HEAD_BYTES + 7, &[130, 1]);
    assert_eq!(Batch::decode(declared).unwrap().records(), too_many.map(|()| Vec::new()));
}

#[test]
fn an_encoded_batch_at_its_limit_fits_and_one_byte_more_does_not() {
    let half = 1 << 19;
    let of = |length: usize| vec![of_length(half), of_length(length)];
    let around = Batch::encode(&of(half)).unwrap().as_bytes().len() - 2 * half;
    let limit = (1 << 20) + 2_048;
    let largest = limit - half - around;

    assert_eq!(Batch::encode(&of(largest)).unwrap().as_bytes().len(), limit);
    assert_eq!(
        Batch::encode(&of(largest + 1)),
        Err(BatchError::TooLarge { found: limit + 1, limit })
    );
    assert_eq!(
        Batch::decode(Bytes::from(vec![0; limit + 1])),
        Err(BatchError::TooLarge { found: limit + 1, limit })
    );
}

#[test]
fn records_at_the_decompressed_limit_fit_and_one_byte_more_does_not() {
    let limit = DECOMPRESSED_BYTES_LIMIT.as_len();
    // Seven records of 1 MiB and one that fills up, each with eleven to thirteen bytes around.
    let of = |length: usize| [vec![of_length(1 << 20); 7], vec![of_length(length)]].concat();
    let rest = limit - 7 * ((1 << 20) + 13);
    let codec = Codec::Lz4;
    let smallest = (rest - 14..rest)
        .find(|length| Batch::encode_with(codec, &of(*length + 1)).is_err())
        .unwrap();

    assert_eq!(Batch::encode_with(codec, &of(smallest)).unwrap().records().unwrap().len(), 8);
    assert_eq!(
        Batch::encode_with(codec, &of(smallest + 1)),
        Err(BatchError::ContentsTooLarge { found: limit + 1, limit })
    );
}

#[test]
fn a_decompression_bomb_stops_one_byte_past_the_limit() {
    let limit = DECOMPRESSED_BYTES_LIMIT.as_len();
    let batch = Batch::encode(&one()).unwrap();
    for codec in codecs().into_iter().filter(|codec| *codec != Codec::None) {
        let bomb = |length: usize| {
            let mut bomb = Vec::new();
            compression::compress(codec, &vec![0; length], &mut bomb).unwrap();
            let bytes = with_contents(&batch, &bomb);
            let marked = Batch { bytes, head: batch.head };
            Batch::decode(patched(&marked, ATTRIBUTES_LOW_AT, &[codec.code()])).unwrap().records()
        };

        let too_large = BatchError::ContentsTooLarge { found: limit + 1, limit };
        assert_eq!(bomb(4 * limit), Err(too_large.clone()));
        assert_eq!(bomb(limit + 1), Err(too_large.clone()));
        // As many bytes as are allowed are decompressed, and found not to be the record declared.
        assert!(matches!(bomb(limit), Err(BatchError::Layout(CodecError::Short { .. }))));
    }
}

#[test]
fn a_record_that_fits_no_batch_takes_no_other_with_it() {
    let (small, large) = (of_length(600 << 10), of_length((1 << 20) + 1));

    let all = Batch::encode_all(&[small.clone(), large, small.clone(), small]);

    let lengths: Vec<Option<usize>> =
        all.iter().map(|one| one.as_ref().ok().map(Batch::len)).collect();
    assert_eq!(lengths, [Some(1), None, Some(1), Some(1)]);
    assert_eq!(Batch::encode_all(&[]), Vec::new());
}

#[test]
fn rebasing_changes_the_offset_and_keeps_the_batch_valid() {
    let batch = Batch::encode(&one()).unwrap();

    let rebased = batch.rebased(Offset::new(77));

    assert_eq!(rebased.get(..8), Some(&77_u64.to_be_bytes()[..]));
    assert_eq!(Batch::decode(rebased).unwrap().records().unwrap(), one());
}

#[test]
fn records_that_do_not_get_smaller_stay_uncompressed() {
    for codec in codecs() {
        assert_eq!(Batch::encode_with(codec, &one()).unwrap().codec(), Codec::None);
        assert_eq!(Batch::encode_with(codec, &steps(50)).unwrap().codec(), codec);
    }
}

#[test]
fn a_codec_without_a_number_in_kafka_is_refused() {
    let batch = Batch::encode(&one()).unwrap();
    for code in 5..8 {
        assert_eq!(
            Batch::decode(patched(&batch, ATTRIBUTES_LOW_AT, &[code])),
            Err(BatchError::CodecRefused { name: "unknown", code })
        );
    }
}

#[test]
fn every_attribute_but_the_codec_is_refused_by_name() {
    let batch = Batch::encode(&one()).unwrap();
    let refused = |bit: u32| {
        let bytes = patched(&batch, ATTRIBUTES_LOW_AT - 1, &(1_u16 << bit).to_be_bytes());
        Batch::decode(bytes).unwrap_err()
    };

    use RefusedAttribute::{AppendTime, Control, DeleteHorizon, Reserved, Transactional};
    let named = [AppendTime, Transactional, Control, DeleteHorizon];
    let expected = named.into_iter().chain([Reserved; 9]);
    for (bit, found) in (3..16).zip(expected) {
        assert_eq!(refused(bit), BatchError::Attribute { found });
    }
}

#[test]
fn a_producers_id_epoch_or_sequence_is_refused() {
    let batch = Batch::encode(&one()).unwrap();
    let fields = [("producer id", 0, 8), ("producer epoch", 8, 2), ("base sequence", 10, 4)];
    for (field, at, length) in fields {
        let bytes = patched(&batch, PRODUCER_ID_AT + at, &[0; 8][..length]);

        let expected = "-1";
        assert_eq!(
            Batch::decode(bytes),
            Err(BatchError::Unsupported { field, found: 0, expected })
        );
    }
}

#[test]
fn an_older_format_is_refused() {
    let mut bytes = Batch::encode(&one()).unwrap().as_bytes().to_vec();
    bytes[16] = 1;

    let (field, expected) = ("magic", "2");
    assert_eq!(
        Batch::decode(Bytes::from(bytes)),
        Err(BatchError::Unsupported { field, found: 1, expected })
    );
}

#[test]
fn a_record_later_than_the_batchs_max_time_is_refused() {
    let bytes = patched(&Batch::encode(&steps(2)).unwrap(), MAX_TIME_AT, &1_999_i64.to_be_bytes());

    let expected = "at most the max time";
    let late = CodecError::Value { field: "time", at: 42, found: 2_000, expected };
    assert_eq!(Batch::decode(bytes).unwrap().records(), Err(late.into()));
}

#[test]
fn offset_deltas_that_do_not_rise_or_pass_the_last_are_refused() {
    let batch = Batch::encode(&steps(2)).unwrap();
    // The second record's delta stands behind its length, attributes and two bytes of time.
    let at = HEAD_BYTES + 42 + 4;
    let with_delta = |delta: u8| Batch::decode(patched(&batch, at, &[delta << 1])).unwrap();
    let refused = |found| {
        let expected = "above the record before, at most the last offset delta";
        let field = "offset delta";
        Err(CodecError::Value { field, at: 42, found, expected }.into())
    };

    assert_eq!(with_delta(0).records(), refused(0));
    assert_eq!(with_delta(1).records().unwrap(), steps(2));
    assert_eq!(with_delta(2).records(), refused(2));
}

#[test]
fn bytes_behind_the_last_record_are_refused() {
    let batch = Batch::encode(&one()).unwrap();
    let contents = [&batch.as_bytes()[HEAD_BYTES..], &[0]].concat();

    let left = CodecError::Trailing { at: contents.len() - 1, left: 1 };
    assert_eq!(read(&contents), Err(left.into()));
}

#[test]
fn bytes_behind_an_lz4_frame_are_refused() {
    let batch = Batch::encode_with(Codec::Lz4, &steps(50)).unwrap();
    let contents = [&batch.as_bytes()[HEAD_BYTES..], &[0; 3]].concat();

    let detail = "3 bytes follow the frame".into();
    assert_eq!(
        Batch::decode(with_contents(&batch, &contents)).unwrap().records(),
        Err(BatchError::Compression { codec: Codec::Lz4, detail })
    );
}

#[test]
fn an_error_is_the_last_item() {
    let batch = Batch::encode(&steps(3)).unwrap();
    let cut = &batch.as_bytes()[HEAD_BYTES..batch.as_bytes().len() - 1];
    let batch = Batch::decode(with_contents(&batch, cut)).unwrap();

    let items: Vec<bool> = batch.contents().unwrap().iter().map(|item| item.is_ok()).collect();

    assert_eq!(items, [true, true, false]);
}

#[test]
fn a_count_that_the_bytes_cannot_hold_allocates_nothing() {
    let mut bytes = Batch::encode(&one()).unwrap().as_bytes().to_vec();
    bytes[LAST_DELTA_AT..LAST_DELTA_AT + 4].copy_from_slice(&9_999_u32.to_be_bytes());
    bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&10_000_u32.to_be_bytes());

    let left = bytes.len() - HEAD_BYTES;
    let short = CodecError::Short { field: "records", at: 0, needed: 70_000, left };
    assert_eq!(Batch::decode(sealed(bytes)).unwrap().records(), Err(short.into()));
}

#[test]
fn keys_and_headers_are_read_without_a_record() {
    let records = [one(), vec![one().remove(0).with_header("hl-clock", "7")]].concat();
    let batch = Batch::encode(&records).unwrap();
    let contents = batch.contents().unwrap();

    let keys: Vec<Option<&[u8]>> = contents.iter().map(|record| record.unwrap().key()).collect();
    let last = contents.iter().last().unwrap().unwrap();

    assert_eq!(keys, [Some(&b"till-3"[..]); 2]);
    assert_eq!(last.headers().collect::<Result<Vec<_>, _>>().unwrap(), [("hl-clock", &b"7"[..])]);
}

#[test]
fn retaining_everything_is_the_same_bytes_and_retaining_nothing_is_no_batch() {
    for codec in codecs() {
        let batch = Batch::encode_with(codec, &steps(50)).unwrap();

        assert_eq!(kept(&batch, |_| true), Some(batch.clone()));
        assert_eq!(kept(&batch, |_| false), None);
    }
}

#[test]
fn a_retained_batch_keeps_span_and_codec_and_has_the_times_of_what_is_left() {
    for codec in codecs() {
        let batch = Batch::encode_with(codec, &steps(50)).unwrap();

        let left = kept(&batch, |delta| (10..40).contains(&delta)).unwrap();

        assert_eq!((left.codec(), left.len(), left.span()), (codec, 30, 50));
        assert_eq!(left.base_time(), EventTime::from_millis(11_000));
        assert_eq!(left.max_time(), EventTime::from_millis(40_000));
    }
}

proptest! {
    #[test]
    fn decode_of_encode_is_the_same_records(records in records(), codec in select(codecs())) {
        let batch = Batch::encode_with(codec, &records).unwrap();
        let decoded = Batch::decode(batch.as_bytes().clone()).unwrap();

        prop_assert_eq!(&decoded, &batch);
        prop_assert_eq!(decoded.records().unwrap(), records);
    }

    #[test]
    fn decode_of_retain_is_the_records_retained_with_their_deltas(
        records in records(), codec in select(codecs()), keep in vec(any::<bool>(), 30),
    ) {
        let batch = Batch::encode_with(codec, &records).unwrap();
        let retained = batch.retain(|record| keep[record.delta().get() as usize]).unwrap();

        let expected: Vec<(OffsetDelta, Record)> = (0_u32..).map(OffsetDelta::new)
            .zip(records).filter(|(delta, _)| keep[delta.get() as usize]).collect();
        prop_assert_eq!(retained.is_none(), expected.is_empty());
        if let Some(retained) = retained {
            let found = retained.numbered_records().unwrap();
            let times = || expected.iter().map(|(_, record)| record.time);
            prop_assert_eq!(retained.span(), batch.span());
            prop_assert_eq!(Some(retained.base_time()), times().next());
            prop_assert_eq!(Some(retained.max_time()), times().max());
            prop_assert_eq!(Batch::decode(retained.as_bytes().clone()), Ok(retained));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_flipped_bit_behind_the_checksum_is_found(
        records in records(), codec in select(codecs()), at in any::<Index>(), bit in 0..8_u32,
    ) {
        let batch = Batch::encode_with(codec, &records).unwrap();
        let mut bytes = batch.as_bytes().to_vec();
        let at = CRC_AT + at.index(bytes.len() - CRC_AT);
        bytes[at] ^= 1 << bit;

        let is_found = matches!(Batch::decode(Bytes::from(bytes)), Err(BatchError::Corrupt { .. }));
        prop_assert!(is_found);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Batch::decode(Bytes::from(bytes)).is_err());
    }

    #[test]
    fn arbitrary_contents_behind_a_valid_checksum_never_panic(
        records in records(), codec in select(codecs()), at in any::<Index>(), byte in any::<u8>(),
        length in any::<Index>(),
    ) {
        let batch = Batch::encode_with(codec, &records).unwrap();
        let mut contents = batch.as_bytes()[HEAD_BYTES..].to_vec();
        let at = at.index(contents.len());
        contents[at] = byte;
        contents.truncate(1 + length.index(contents.len()));

        let decoded = Batch::decode(with_contents(&batch, &contents)).unwrap();
        if let Ok(read) = decoded.records() {
            prop_assert_eq!(read.len(), records.len());
            prop_assert!(decoded.retain(|_| true).is_ok());
        }
    }
}

#[test]
fn every_flipped_bit_of_one_batch_is_found() {
    for codec in codecs() {
        let batch = Batch::encode_with(codec, &steps(5)).unwrap();
        let bytes = batch.as_bytes();

        let found = (CRC_AT * 8..bytes.len() * 8).filter(|bit| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            matches!(Batch::decode(Bytes::from(flipped)), Err(BatchError::Corrupt { .. }))
        });

        assert_eq!(found.count(), (bytes.len() - CRC_AT) * 8);
    }
}
