//! `headland rules` as a process: what it writes where, and how it ends.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

const RULES: &str = "CREATE TABLE air (station STRING, pm25 DOUBLE) WITH ('topic' = 'air');
CREATE TABLE high WITH ('topic' = 'alerts') AS SELECT station FROM air WHERE pm25 > 120;
";

/// Asks the binary about files of a folder.
fn asked(folder: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headland"));
    command.current_dir(folder).arg("rules").args(arguments).output()
}

#[test]
fn files_are_explained_on_standard_output_and_mistakes_end_with_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, sql: &str| std::fs::write(folder.path().join(name), sql).unwrap();
    write("good.sql", RULES);
    write("bad.sql", &RULES.replace("pm25 >", "pm2 >"));

    let explained = asked(folder.path(), &["explain", "good.sql"]).unwrap();
    let mistaken = asked(folder.path(), &["check", "good.sql", "bad.sql"]).unwrap();
    let unread = asked(folder.path(), &["check", "gone.sql"]).unwrap();

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(explained.status.code(), Some(0));
    let told = text(&explained.stdout);
    assert!(
        told.starts_with("good.sql: 1 rule over 1 table\n\ntable air, topic air, json"),
        "{told}"
    );
    assert!(told.contains("\nmonotone\n  yes: each row gives its results for good\n"), "{told}");
    assert_eq!(text(&explained.stderr), "");
    assert_eq!(mistaken.status.code(), Some(1));
    assert_eq!(text(&mistaken.stdout), "good.sql: 1 rule over 1 table\n");
    let first = "bad.sql:2:78: unknown column \"pm2\" in table air, did you mean \"pm25\"?\n  2 | ";
    assert!(text(&mistaken.stderr).starts_with(first), "{}", text(&mistaken.stderr));
    assert_eq!(unread.status.code(), Some(2));
    assert!(text(&unread.stderr).starts_with("gone.sql: cannot be read: "));
}
