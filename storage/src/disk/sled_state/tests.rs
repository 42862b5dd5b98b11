use rustix::io::Errno;

use super::super::contained::contain;
use super::*;

const LIFE: Incarnation = Incarnation::new(1, 2);
const COMMIT: CommitNumber = CommitNumber::new(1);

/// A cache with a row and a mark.
fn marked(data: &Path) -> (SledState, StateOwner) {
    let owner = StateOwner::new("positions").unwrap();
    let mut state = SledState::open(data, LIFE, ByteCount::mebibytes(1)).unwrap();
    let value = Some(Bytes::from("1"));
    let change = StateChange { owner: owner.clone(), key: Bytes::from("a"), value };
    state.apply(COMMIT, &[change]).unwrap();
    state.set_mark(COMMIT).unwrap();
    (state, owner)
}

/// What a read makes of an error that sled reports.
fn read(state: &SledState, error: sled::Error) -> StateError {
    let refused = contain(|| Err::<(), _>(error));
    state.watched(refused.map_err(StateError::from)).unwrap_err()
}

#[test]
fn a_read_that_lacks_file_descriptors_leaves_a_sound_cache_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let (state, owner) = marked(directory.path());

    let refused = read(&state, sled::Error::Io(Errno::MFILE.into()));

    assert!(refused.is_retryable() && !refused.is_damage(), "{refused}");
    assert!(!state.is_damaged());
    assert_eq!(marker::read(directory.path(), LIFE), Some(COMMIT));
    assert_eq!(state.get(&owner, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn bytes_that_are_damaged_or_not_there_leave_nothing_to_vouch_for_the_cache() {
    let missing = || sled::Error::Io(io::ErrorKind::UnexpectedEof.into());
    for error in [missing(), sled::Error::Corruption { at: None, bt: () }] {
        let directory = tempfile::tempdir().unwrap();
        let (state, _) = marked(directory.path());

        let refused = read(&state, error);

        assert!(refused.is_damage(), "{refused}");
        assert!(state.is_damaged());
        assert_eq!(marker::read(directory.path(), LIFE), None);
    }
}
