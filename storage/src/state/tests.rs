use proptest::prelude::*;

use super::*;

fn owner() -> StateOwner {
    StateOwner::new("positions").unwrap()
}

fn change(key: &[u8], value: Option<&[u8]>) -> StateChange {
    let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
    StateChange { owner: owner(), key, value }
}

/// What changes leave that were committed one by one, from commit 1 on.
fn applied(changes: &[StateChange]) -> MemoryState {
    let mut state = MemoryState::default();
    for (commit, change) in (1..).map(CommitNumber::new).zip(changes) {
        state.apply(commit, std::slice::from_ref(change)).unwrap();
    }
    state
}

#[test]
fn the_newest_change_of_a_key_is_known_until_its_deletion_is_forgotten() {
    let mut state =
        applied(&[change(b"a", Some(b"1")), change(b"b", Some(b"2")), change(b"a", None)]);
    let newest = |state: &MemoryState, key| state.newest(&owner(), key).unwrap();

    let before = [&b"a"[..], b"b", b"c"].map(|key| newest(&state, key).map(CommitNumber::get));
    state.forget(&owner(), b"a", CommitNumber::new(2)).unwrap();
    let too_early = newest(&state, b"a");
    state.forget(&owner(), b"a", CommitNumber::new(3)).unwrap();
    state.forget(&owner(), b"b", CommitNumber::new(9)).unwrap();

    assert_eq!(before, [Some(3), Some(2), None]);
    assert_eq!(too_early, Some(CommitNumber::new(3)));
    assert_eq!(newest(&state, b"a"), None);
    assert_eq!(state.get(&owner(), b"b").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_page_ends_at_its_limit_and_the_next_one_goes_on_behind_its_last_key() {
    let state = applied(&[
        change(b"a", Some(b"12")),
        change(b"b", None),
        change(b"c", Some(b"34")),
        change(b"d", Some(b"56")),
    ]);
    let page = |from: &[u8], bytes| {
        let found = state.scan_from(&owner(), from, ByteCount::new(bytes)).unwrap();
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };

    assert_eq!(page(b"", 0), ["a"]);
    assert_eq!(page(b"", 6), ["a", "c"]);
    assert_eq!(page(b"a\0", 100), ["c", "d"]);
    assert_eq!(page(b"d\0", 100), [""; 0]);
}

/// A state store whose pages hold one key each.
struct Narrow(MemoryState);

impl StateStore for Narrow {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.0.get(owner, key)
    }

    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        _: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        self.0.scan_from(owner, from, ByteCount::new(0))
    }
}

proptest! {
    #[test]
    fn a_scan_over_pages_finds_what_a_filter_finds(
        keys in prop::collection::btree_set(prop::collection::vec(0_u8..3, 0..5), 0..30),
        prefix in prop::collection::vec(0_u8..3, 0..3),
    ) {
        let changes: Vec<StateChange> = keys.iter().map(|key| change(key, Some(key))).collect();
        let mut state = MemoryState::default();
        state.apply(CommitNumber::new(1), &changes).unwrap();

        let found = Narrow(state).scan(&owner(), &prefix).unwrap();

        let expected: Vec<&Vec<u8>> = keys.iter().filter(|key| key.starts_with(&prefix)).collect();
        let found: Vec<Vec<u8>> = found.into_iter().map(|(key, _)| key.to_vec()).collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }
}
