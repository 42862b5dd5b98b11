use std::ops::Range;

use headland_event::codec::Writer;
use headland_event::{
    Actor, Batch, CommitNumber, Dot, Entry, EventTime, Extent, Gaps, Hlc, Incarnation, Offset,
    PartitionIndex, Random, Record, RegionId, SeededRandom, Sequence, Stamp, StreamId, TopicName,
    TopicPartition, VectorClock,
};
use proptest::prelude::*;

use super::*;
use crate::commit::{Commit, StateChange, StateOwner};
use crate::frame::FIRST_FRAME_AT;
use crate::group::{Group, Place};
use crate::medium::Medium;
use crate::memory::{MemoryDisk, MemoryFile};

const NONCE: u64 = 77;

fn entry(base: u64, value: &[u8]) -> (TopicPartition, Entry) {
    let record = Record::new(EventTime::from_millis(1), "k", value.to_vec());
    let (incarnation, sequence) = (Incarnation::new(1, 2), Sequence::new(base + 1));
    let entry = Entry {
        base: Offset::new(base),
        dot: Dot { stream: StreamId::new([8; 16]), incarnation, sequence },
        stamp: None,
        batch: Batch::encode(&[record]).unwrap(),
    };
    let topic = TopicName::new("air").unwrap();
    (TopicPartition::new(topic, PartitionIndex::new(u32::try_from(base % 3).unwrap())), entry)
}

fn change(value: &[u8]) -> StateChange {
    let (owner, key) = (StateOwner::new("positions").unwrap(), Bytes::from_static(b"x"));
    StateChange { owner, key, value: Some(Bytes::copy_from_slice(value)) }
}

/// The bytes of a file whose frames begin where a file header ends.
fn file_of(commits: &[Commit]) -> Vec<u8> {
    let first = CommitNumber::new(1);
    let mut group = Group::default();
    group.encode(commits).unwrap();
    group.place(Place { nonce: NONCE, position: FIRST_FRAME_AT, durable: 0, first });
    [&[0; 76], group.bytes()].concat()
}

fn open(content: &[u8]) -> MemoryFile {
    let disk = MemoryDisk::new(1);
    disk.set_content("a", content);
    disk.attach().open("a").unwrap()
}

fn salvage(content: &[u8]) -> Salvage<MemoryFile> {
    Salvage::new(open(content), NONCE, FIRST_FRAME_AT, byte_count(content.len()).get())
}

fn walk(content: &[u8]) -> Vec<Piece> {
    let mut walk = salvage(content);
    std::iter::from_fn(|| walk.step().unwrap()).collect()
}

fn parts(pieces: &[Piece]) -> Vec<FoundPart> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Part(found) => Some(found.clone()),
            Piece::Frame(_) | Piece::Lost(_) => None,
        })
        .collect()
}

fn gaps(pieces: &[Piece]) -> Vec<Range<u64>> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Lost(gap) => Some(gap.from..gap.until),
            Piece::Frame(_) | Piece::Part(_) => None,
        })
        .collect()
}

fn span(found: &FoundPart) -> Range<u64> {
    found.position..found.position + byte_count(found.length).get()
}

/// Two commits: entries 0, 1 and a change; entry 2 and a change.
fn two_commits() -> Vec<Commit> {
    vec![
        Commit { entries: vec![entry(0, b"0"), entry(1, b"1")], state: vec![change(b"a")] },
        Commit { entries: vec![entry(2, b"2")], state: vec![change(b"b")] },
    ]
}

#[test]
fn a_healthy_file_is_walked_without_a_gap() {
    let commits = two_commits();

    let pieces = walk(&file_of(&commits));

    let kinds: String = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Frame(_) => 'f',
            Piece::Part(FoundPart { part: Part::Entry(..), .. }) => 'e',
            Piece::Part(FoundPart { part: Part::Change(_), .. }) => 'c',
            Piece::Lost(_) => 'x',
        })
        .collect();
    assert_eq!(kinds, "feecfec");
    let last = parts(&pieces).pop().unwrap();
    assert_eq!(last.part, Part::Change(change(b"b")));
}

#[test]
fn a_flipped_bit_costs_the_part_it_is_in_and_no_other() {
    let content = file_of(&two_commits());
    let whole = parts(&walk(&content));

    for bit in FIRST_FRAME_AT * 8..byte_count(content.len()).get() * 8 {
        let mut flipped = content.clone();
        let at = usize::try_from(bit / 8).unwrap();
        flipped[at] ^= 1 << (bit % 8);
        let pieces = walk(&flipped);

        let mut expected = whole.clone();
        expected.retain(|found| !span(found).contains(&(bit / 8)));
        assert_eq!(parts(&pieces), expected, "bit {bit}");
        assert_eq!(gaps(&pieces).len(), 1, "bit {bit}");
    }
}

#[test]
fn an_entry_whose_stamp_names_gaps_is_found_behind_damage_like_any_other() {
    let actor = Actor {
        region: RegionId::new("eu").unwrap(),
        incarnation: Incarnation::new(1, 2),
        partition: PartitionIndex::new(0),
    };
    let (mut ends, mut gaps) = (VectorClock::new(), Gaps::new());
    ends.advance(&actor, Offset::new(9));
    let gap = headland_event::Gap { from: Offset::new(3), until: Offset::new(5) };
    assert_eq!(gaps.note(&actor, gap), None);
    let hlc = Hlc::new(EventTime::from_millis(5), 6);
    let (offset, context, verdicts) = (Offset::new(9), Extent::new(ends, gaps), Vec::new());
    let stamp = Stamp { actor, offset, hlc, context, verdicts };
    let stamped = |base| {
        let (partition, entry) = entry(base, b"v");
        (partition, Entry { stamp: Some(stamp.clone()), ..entry })
    };
    let entries = vec![stamped(0), stamped(1)];
    let mut content = file_of(&[Commit { entries: entries.clone(), state: Vec::new() }]);
    let first = parts(&walk(&content)).first().map(span).unwrap();
    content[usize::try_from(first.end).unwrap() - 1] ^= 1;

    let found: Vec<Part> = parts(&walk(&content)).into_iter().map(|found| found.part).collect();

    let (partition, entry) = entries[1].clone();
    assert_eq!(found, [Part::Entry(partition, entry)]);
}

#[test]
fn a_part_inside_a_records_value_is_not_taken_when_the_records_own_part_is_damaged() {
    let inner = file_of(&[Commit { entries: vec![entry(9, b"ghost")], state: Vec::new() }]);
    let outer = Commit { entries: vec![entry(0, &inner), entry(1, b"1")], state: Vec::new() };
    let mut content = file_of(&[outer]);
    let damaged = parts(&walk(&content)).remove(0);
    content[usize::try_from(damaged.position).unwrap() + 10] ^= 1;

    let pieces = walk(&content);

    assert_eq!(gaps(&pieces), [span(&damaged)]);
    assert_eq!(parts(&pieces).len(), 1);
}

#[test]
fn a_part_larger_than_a_chunk_is_found_behind_damage_larger_than_a_chunk() {
    let large = vec![b'x'; 200_000];
    let entries = vec![entry(0, &large), entry(1, &large), entry(2, b"2")];
    let mut content = file_of(&[Commit { entries, state: Vec::new() }]);
    let whole = parts(&walk(&content));
    // The header of the frame and most of the first part.
    content[76..150_000].fill(0xee);

    let pieces = walk(&content);

    assert_eq!(parts(&pieces), whole[1..]);
    let lost = Gap { from: 76, until: whole[1].position };
    assert_eq!(pieces[0], Piece::Lost(lost));
}

#[test]
fn sixteen_mebibytes_of_noise_cost_few_checksums() {
    const NOISE: usize = 16 << 20;
    let mut random = SeededRandom::new(1);
    let mut content = vec![0; 76];
    while content.len() < NOISE {
        content.extend_from_slice(&random.next_u64().to_be_bytes());
    }

    let mut walk = salvage(&content);

    let lost = Gap { from: 76, until: byte_count(content.len()).get() };
    assert_eq!(walk.step().unwrap(), Some(Piece::Lost(lost)));
    assert_eq!(walk.step().unwrap(), None);
    assert!(walk.wasted < 1 << 20, "{}", walk.wasted);
}

#[test]
fn crafted_candidates_cost_a_bounded_number_of_checksums() {
    const LENGTH: usize = 4 << 20;
    let mut content = vec![0; 76];
    while content.len() < LENGTH {
        // An entry without stamp that reaches to the end of the file, where its batch ends too.
        let left = LENGTH + 100 - content.len();
        let mut writer = Writer::new();
        writer.u32(0);
        writer.length(left - 8);
        writer.name("a");
        writer.raw(&[0; 48]);
        writer.u8(0);
        writer.length(left - 8 - 2 - 48 - 5);
        content.extend_from_slice(writer.as_slice());
    }
    content.resize(LENGTH + 100, 0);

    let mut walk = salvage(&content);
    while walk.step().unwrap().is_some() {}

    let size = byte_count(content.len()).get();
    assert!(walk.wasted > WASTE_BYTES, "the bound is reached: {}", walk.wasted);
    assert!(walk.wasted <= WASTE_BYTES + (WASTE_RATIO + 1) * size, "{}", walk.wasted);
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Zero(usize, usize),
    Noise(usize, usize, u64),
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<usize>(), 1_usize..400).prop_map(|(at, length)| Damage::Zero(at, length)),
        (any::<usize>(), 1_usize..400, any::<u64>())
            .prop_map(|(at, length, seed)| Damage::Noise(at, length, seed)),
    ]
}

fn apply(content: &mut [u8], damage: &Damage) {
    let frames = &mut content[76..];
    let size = frames.len();
    let range = |at: usize, length: usize| at % size..(at % size + length).min(size);
    match *damage {
        Damage::Flip(at, bit) => frames[at % size] ^= 1 << bit,
        Damage::Zero(at, length) => frames[range(at, length)].fill(0),
        Damage::Noise(at, length, seed) => {
            let mut random = SeededRandom::new(seed);
            for byte in &mut frames[range(at, length)] {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn every_undamaged_part_is_found_where_it_was_and_none_is_invented(
        sizes in prop::collection::vec(prop::collection::vec(0_usize..300, 0..5), 1..6),
        states in prop::collection::vec(0_usize..100, 0..4),
        damages in prop::collection::vec(damages(), 0..5),
    ) {
        let mut bases = 0..;
        let commits: Vec<Commit> = sizes
            .iter()
            .map(|sizes| Commit {
                entries: sizes
                    .iter()
                    .zip(&mut bases)
                    .map(|(size, base)| entry(base, &vec![b'v'; *size]))
                    .collect(),
                state: states.iter().map(|size| change(&vec![b's'; *size])).collect(),
            })
            .collect();
        let whole = file_of(&commits);
        let mut content = whole.clone();
        damages.iter().for_each(|damage| apply(&mut content, damage));
        let is_whole = |found: &FoundPart| {
            let span = span(found);
            let span = usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap();
            whole[span.clone()] == content[span]
        };
        let mut expected = parts(&walk(&whole));
        expected.retain(is_whole);

        let pieces = walk(&content);

        prop_assert_eq!(parts(&pieces), expected.clone());
        for gap in gaps(&pieces) {
            let is_outside = |part: Range<u64>| part.end <= gap.start || gap.end <= part.start;
            prop_assert!(expected.iter().map(span).all(is_outside), "a gap holds no part");
        }
    }

    #[test]
    fn any_bytes_are_walked_to_the_end_without_a_panic(bytes: Vec<u8>) {
        let content = [vec![0; 76], bytes].concat();

        let pieces = walk(&content);

        prop_assert!(parts(&pieces).is_empty());
    }
}

#[test]
fn a_search_that_stops_often_finds_what_one_search_does() {
    let commit = |base: u64, length: usize| Commit {
        entries: vec![entry(base, &vec![7; length]), entry(base + 3, b"small")],
        state: vec![change(b"value")],
    };
    let whole = file_of(&[commit(0, 200_000), commit(6, 300), commit(12, 150_000), commit(18, 9)]);
    for (from, until) in
        [(80, 90), (76, 250_000), (150, 200_500), (201_000, 330_000), (90, 1 << 19)]
    {
        let mut content = whole.clone();
        let until = until.min(content.len());
        content.get_mut(from..until).unwrap().fill(0);
        let (mut pieces, mut pauses) = (Vec::new(), 0);
        let mut stopping = salvage(&content);
        loop {
            match stopping.walk(1).unwrap() {
                Walked::Piece(piece) => pieces.push(piece),
                Walked::On(_) => pauses += 1,
                Walked::End => break,
            }
        }

        assert_eq!(pieces, walk(&content), "{from}..{until}");
        assert!(pauses > 0, "{from}..{until}");
    }
}
