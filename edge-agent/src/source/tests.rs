//! Files on this machine.

use std::io::Write;

use super::*;

async fn texts(follower: &mut Follower) -> (Vec<String>, FilePosition) {
    let Chunk { lines, cut, position } = follower.next(&Clock::start()).await.unwrap();
    assert_eq!(cut, None);
    let text = |line: &Line| String::from_utf8_lossy(&line.bytes).into_owned();
    (lines.iter().map(text).collect(), position)
}

#[tokio::test]
async fn a_file_is_read_as_it_grows_and_where_reading_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    let mut follower = Follower::new(&path, FilePosition::default());
    let mut file = File::create(&path).unwrap();

    file.write_all(b"one\r\ntw").unwrap();
    let (first, position) = texts(&mut follower).await;
    file.write_all(b"o\nthree\n").unwrap();
    let (rest, _) = texts(&mut follower).await;
    let (again, _) = texts(&mut Follower::new(&path, position)).await;

    assert_eq!(first, ["one"]);
    assert_eq!(rest, ["two", "three"]);
    assert_eq!(again, ["two", "three"]);
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let mut follower = Follower::new(&path, FilePosition::default());
    let (first, _) = texts(&mut follower).await;

    // The same file, emptied and filled beyond what was read of it.
    std::fs::write(&path, "three\nfour\n").unwrap();
    let (second, _) = texts(&mut follower).await;

    assert_eq!(first, ["one", "two"]);
    assert_eq!(second, ["three", "four"]);
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, "one\n").unwrap();
    let (_, position) = texts(&mut Follower::new(&path, FilePosition::default())).await;

    let mut old = File::options().append(true).open(&path).unwrap();
    std::fs::rename(&path, folder.path().join("in.jsonl.1")).unwrap();
    old.write_all(b"two\n").unwrap();
    std::fs::write(&path, "three and more\n").unwrap();
    let mut follower = Follower::new(&path, position);
    let (second, _) = texts(&mut follower).await;
    let (third, _) = texts(&mut follower).await;

    assert_eq!(second, ["two"]);
    assert_eq!(third, ["three and more"]);
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();

    // A folder opens, and cannot be read.
    let error = Follower::new(folder.path(), FilePosition::default()).next(&Clock::start()).await;

    let error = error.unwrap_err();
    assert_eq!(error.path, folder.path());
    assert_eq!(error.source.kind(), ErrorKind::IsADirectory);
}

#[test]
fn the_first_line_of_a_file_is_given_once_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.csv");
    let absent = first_line(&path).unwrap();

    std::fs::write(&path, "station,ti").unwrap();
    let begun = first_line(&path).unwrap();
    std::fs::write(&path, "station,time\r\nDongsi,").unwrap();
    let whole = first_line(&path).unwrap();

    assert_eq!((absent, begun), (None, None));
    assert_eq!(whole.map(|line| line.bytes), Some(Bytes::from_static(b"station,time")));
}
