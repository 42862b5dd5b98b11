use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{Random, SeededRandom};
use proptest::prelude::*;

use super::*;
use crate::disk::block::stored_key;

const CACHE: ByteCount = ByteCount::mebibytes(1);
const COMMIT: CommitNumber = CommitNumber::new(7);

fn key(owner: &str, key: &[u8]) -> Vec<u8> {
    stored_key(&StateOwner::new(owner).unwrap(), key)
}

fn row(commit: u64, value: &[u8]) -> Row {
    Row { commit: CommitNumber::new(commit), value: Some(Bytes::copy_from_slice(value)) }
}

type Rows = BTreeMap<Vec<u8>, Row>;

fn set(table: &mut Table, rows: &Rows) {
    table.edit(COMMIT, rows.iter().map(|(key, row)| (key.as_slice(), Some(row)))).unwrap();
}

/// Every row of an owner.
fn all(table: &Table, owner: &str) -> Rows {
    table.walk(&key(owner, b"")).collect::<Result<_, _>>().unwrap()
}

/// Rows of one owner with keys of four bytes.
fn numbered(owner: &str, numbers: impl Iterator<Item = u32>) -> Rows {
    numbers.map(|number| (key(owner, &number.to_be_bytes()), row(1, &[7; 400]))).collect()
}

fn reopened(path: &Path, table: Table) -> Table {
    drop(table);
    Table::open(path, CACHE).unwrap().unwrap()
}

#[test]
fn rows_of_owners_do_not_mix_and_are_there_after_an_opening() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::create(directory.path(), CACHE).unwrap();
    let rows = ["log", "open", "opens"].map(|owner| numbered(owner, 0..600));

    rows.iter().for_each(|rows| set(&mut table, rows));
    table.flush(COMMIT).unwrap();
    let table = reopened(directory.path(), table);

    assert_eq!(["log", "open", "opens"].map(|owner| all(&table, owner)), rows);
    assert_eq!(table.row(&key("open", &599_u32.to_be_bytes())).unwrap(), Some(row(1, &[7; 400])));
    assert_eq!(table.row(&key("open", b"")).unwrap(), None);
    assert_eq!(table.row(&key("none", b"a")).unwrap(), None);
    assert_eq!(table.reached(), COMMIT);
}

#[test]
fn a_walk_begins_at_a_key_or_behind_where_it_would_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::create(directory.path(), CACHE).unwrap();
    set(&mut table, &numbered("open", (0..2_000).map(|number| number * 2)));

    let first = |from: u32| {
        let from = key("open", &from.to_be_bytes());
        table.walk(&from).next().map(|found| found.unwrap().0)
    };

    assert_eq!(first(1_001), Some(key("open", &1_002_u32.to_be_bytes())));
    assert_eq!(first(1_002), Some(key("open", &1_002_u32.to_be_bytes())));
    assert_eq!(first(3_999), None);
}

#[test]
fn an_owner_whose_rows_are_gone_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::create(directory.path(), CACHE).unwrap();
    let rows = numbered("open", 0..1_000);
    set(&mut table, &rows);

    table.edit(COMMIT, rows.keys().map(|key| (key.as_slice(), None))).unwrap();

    assert_eq!(table.ranges.iter().count(), 0);
    assert_eq!(table.database.run(|sled| Ok(sled.len())).unwrap(), 1, "the totals");
}

/// The four bytes that give what ends with them a CRC-32C.
fn ending_with_crc(wanted: u32, before: &[u8]) -> [u8; 4] {
    // The register is run back over 32 zero bits, by the polynomial in reversed order.
    let back = |register: u32| match register >> 31 {
        0 => register << 1,
        _ => ((register ^ 0x82f6_3b78) << 1) | 1,
    };
    let register = (0..32).fold(!wanted, |register, _| back(register));
    (register ^ !crc32c::crc32c(before)).to_le_bytes()
}

#[test]
fn the_only_block_of_an_owner_stays_though_its_crc_is_that_of_one_without_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::create(directory.path(), CACHE).unwrap();
    let first = key("open", b"");
    let [stored] =
        &Block { rows: [(Bytes::new(), row(1, &[0; 4]))].into() }.into_stored(&first)[..]
    else {
        panic!("it is small")
    };
    let before = [&first, &stored.bytes[4..stored.bytes.len() - 4]].concat();
    let value = ending_with_crc(crc32c::crc32c(&first), &before);
    let rows = Rows::from([(first.clone(), row(1, &value))]);

    set(&mut table, &rows);

    let stored = table.database.run(|sled| sled.get(&first)).unwrap().unwrap();
    assert_eq!(stored[..4], crc32c::crc32c(&first).to_be_bytes());
    assert_eq!(all(&table, "open"), rows);
}

/// Takes something out of sled behind the table's back.
fn remove(table: &Table, is_wanted: impl Fn(&[u8]) -> bool) {
    let removed = table.database.run(|sled| {
        let mut keys = sled.iter().keys().filter_map(Result::ok);
        let key = keys.find(|key| is_wanted(key)).unwrap();
        sled.remove(key).map(drop)
    });
    removed.unwrap();
}

#[test]
fn a_lost_block_of_a_small_owner_or_a_lost_range_is_found_when_the_table_opens() {
    for of_what in [&b"\x04open"[..], &[0, 4]] {
        let directory = tempfile::tempdir().unwrap();
        let mut table = Table::create(directory.path(), CACHE).unwrap();
        set(&mut table, &numbered("open", 0..1_000));
        remove(&table, |key| key.len() > 6 && key.starts_with(of_what));
        table.flush(COMMIT).unwrap();
        drop(table);

        let opened = Table::open(directory.path(), CACHE);

        assert!(!matches!(opened, Ok(Some(_))), "{of_what:?}");
    }
}

/// More blocks than opening reads, and one of a small owner.
fn large(path: &Path) -> Table {
    let mut table = Table::create(path, CACHE).unwrap();
    for from in (0..5_000).step_by(500) {
        set(&mut table, &numbered("large", from..from + 500));
    }
    set(&mut table, &numbered("small", 0..1));
    table
}

#[test]
fn a_large_owner_is_compared_range_by_range_when_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let table = large(directory.path());
    let third = key("large", &2_500_u32.to_be_bytes());
    remove(&table, |key| *key == third);
    let table = reopened(directory.path(), table);

    let at = |number: u32| table.row(&key("large", &number.to_be_bytes()));
    let listed =
        |table: &Table| table.ranges.iter().filter(|(_, range)| range.listed().is_some()).count();

    assert_eq!(listed(&table), 1, "of the small owner");
    assert_eq!(at(10).unwrap(), Some(row(1, &[7; 400])));
    assert_eq!(listed(&table), 2);
    assert_eq!(
        at(2_500).unwrap_err().to_string(),
        "a value of large in the state cache is damaged"
    );
    assert_eq!(all(&table, "small").len(), 1);
    let walked = table.walk(&key("large", b"")).collect::<Result<Vec<_>, _>>();
    assert!(matches!(walked, Err(StateError::Corrupt { .. })));
}

#[test]
fn an_edit_inside_a_damaged_range_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let table = large(directory.path());
    let third = key("large", &2_500_u32.to_be_bytes());
    remove(&table, |key| *key == third);
    let mut table = reopened(directory.path(), table);

    let near = key("large", &2_501_u32.to_be_bytes());
    let refused = table.edit(COMMIT, std::iter::once((near.as_slice(), Some(&row(2, b"new")))));

    assert!(matches!(refused, Err(StateError::Corrupt { .. })));
}

#[test]
fn a_block_that_is_an_older_one_is_found_whenever_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::create(directory.path(), CACHE).unwrap();
    let first = key("open", b"");
    set(&mut table, &Rows::from([(first.clone(), row(1, b"old"))]));
    let older = table.database.run(|sled| sled.get(&first)).unwrap().unwrap();
    set(&mut table, &Rows::from([(first.clone(), row(2, b"new"))]));

    table.database.run(|sled| sled.insert(&first, older)).unwrap();

    assert!(matches!(table.row(&first), Err(StateError::Corrupt { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_table_holds_what_a_map_would_over_edits_and_openings(seed in any::<u64>()) {
        let mut random = SeededRandom::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut table = Table::create(directory.path(), CACHE).unwrap();
        let mut model = Rows::new();
        for step in 0..12_u64 {
            let mut edits: BTreeMap<Vec<u8>, Option<Row>> = BTreeMap::new();
            for _ in 0..random.below(400) {
                let owner = ["log", "open"][usize::try_from(random.below(2)).unwrap()];
                let number = u32::try_from(random.below(3_000)).unwrap();
                let length = usize::try_from(random.below(4) * random.below(200)).unwrap();
                let edit = (random.below(3) > 0).then(|| row(step, &vec![7; length]));
                edits.insert(key(owner, &number.to_be_bytes()), edit);
            }
            let all_edits = edits.iter().map(|(key, row)| (key.as_slice(), row.as_ref()));
            table.edit(COMMIT, all_edits).unwrap();
            for (key, edit) in edits {
                match edit {
                    Some(row) => drop(model.insert(key, row)),
                    None => drop(model.remove(&key)),
                }
            }
            if random.below(4) == 0 {
                table.flush(COMMIT).unwrap();
                table = reopened(directory.path(), table);
            }
            let mut found = all(&table, "log");
            found.extend(all(&table, "open"));
            prop_assert_eq!(&found, &model);
            for (key, row) in model.iter().step_by(17) {
                let found = table.row(key).unwrap();
                prop_assert_eq!(found.as_ref(), Some(row));
            }
        }
    }
}
