//! Rule files as their authors check them: what is wrong and where, or what each rule will do.
//!
//! The binaries open the files and write the texts; what is read of them and what is said is
//! decided here, so that agent and hub say the same.

use std::fmt::Write;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use headland_event::ByteCount;

use crate::explain::{Explanation, TableExplanation};
use crate::file_rows::{FileMistakes, FileRows};
use crate::program::Program;
use crate::sql::error::SqlError;
use crate::table::{Table, TableId};

/// Most bytes that are read of a file: more than a rule file may have, so that a longer one is
/// refused as what it is, and a path to a device or to data fills no memory.
const READ_BYTES_LIMIT: u64 = 2 << 20;

/// Most bytes of all files of a program together: a node keeps their rows in memory, and an agent
/// up to four contents of each in its journal. One more than fits is refused.
const FILES_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(16);

/// How often a file is read that somebody writes to meanwhile.
const READS_MAX: usize = 3;

/// What is asked about rule files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether they compile.
    Check,
    /// What their tables are and what their rules will do.
    Explain,
}

/// What became of rule files, the worst of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// All compile.
    Sound,
    /// One has a mistake.
    Mistaken,
    /// One could not be read.
    Unread,
}

impl Judgement {
    /// The exit code of a process that was asked: 0, 1 for a mistake, 2 for a file that could not
    /// be read.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Mistaken => 1,
            Self::Unread => 2,
        }
    }
}

/// What there is to say about rule files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The answers, for standard output; lines end with a line break.
    pub told: String,
    /// Mistakes and files that could not be read, for standard error; as `told`.
    pub refused: String,
    /// The worst of it.
    pub judgement: Judgement,
}

/// Why the file of a table gives no rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Lines do not fit.
    #[error(transparent)]
    Mistakes(#[from] FileMistakes),
    /// It is more than all files of a program may hold.
    #[error(
        "{}: the files of all tables are {found} with this one, expected at most {limit}",
        path.display()
    )]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// Bytes of this file and those of the tables before it.
        found: ByteCount,
        /// Most that there may be.
        limit: ByteCount,
    },
}

/// The file of a table, as it was found.
#[derive(Debug)]
pub struct TableFile<'a> {
    /// The table.
    pub id: TableId,
    /// What is declared of it.
    pub table: &'a Table,
    /// Where the file is.
    pub path: PathBuf,
    /// Its rows, and its bytes.
    pub found: Result<(FileRows, Vec<u8>), FileError>,
}

/// Reads the files of a program's tables in the order of their declaration, beside the rule file at
/// `rules`; `open` opens them. What does not fit, or is too much with those before, counts nothing.
///
/// A file whose end says [`io::ErrorKind::ResourceBusy`] is read again, three times at most. Little
/// more is read than a table lets in.
pub fn read_files<'a, R: Read>(
    program: &'a Program,
    rules: &Path,
    mut open: impl FnMut(&Path) -> io::Result<R>,
) -> Vec<TableFile<'a>> {
    let mut before = ByteCount::default();
    let files = program.file_tables().map(|(id, table, place)| {
        let path = place.beside(rules);
        let found = read_file(table, &path, &mut open).and_then(|(rows, bytes)| {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let (sum, limit) = (before.get().saturating_add(length), FILES_BYTES_LIMIT);
            let found = ByteCount::new(sum);
            if found > limit {
                return Err(FileError::TooMuch { path: path.clone(), found, limit });
            }
            before = found;
            Ok((rows, bytes))
        });
        TableFile { id, table, path, found }
    });
    files.collect()
}

fn read_file<R: Read>(
    table: &Table,
    path: &Path,
    open: &mut impl FnMut(&Path) -> io::Result<R>,
) -> Result<(FileRows, Vec<u8>), FileError> {
    let limit = table.file().map_or(0, |file| file.bytes_limit.get());
    let mut once = || {
        let mut bytes = Vec::new();
        open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::ResourceBusy;
    let mut read = once();
    for _ in 1..READS_MAX {
        if !read.as_ref().is_err_and(is_busy) {
            break;
        }
        read = once();
    }
    let bytes = read.map_err(|source| FileError::Unread { path: path.to_owned(), source })?;
    Ok((FileRows::read(table, &path.display().to_string(), &bytes)?, bytes))
}

/// Answers a question about each file that `open` opens; a file with mistakes is told by them.
///
/// The files of tables that rules look in are read too, from the folder of the rule file. Every
/// statement is looked at, so that several mistakes are told at once, each with file, line,
/// column, what was found and what would fit, and the line it is in. Of a file 2 MiB are read at
/// most, which is more than one may have. Cost: compiles each file.
pub fn judge<'a, R: Read>(
    question: Question,
    files: impl IntoIterator<Item = &'a Path>,
    mut open: impl FnMut(&Path) -> io::Result<R>,
) -> Report {
    let mut report =
        Report { told: String::new(), refused: String::new(), judgement: Judgement::Sound };
    for path in files {
        let name = path.display().to_string();
        let judgement = match open(path).and_then(read).map(String::from_utf8) {
            Ok(Ok(sql)) => report.file(question, (path, &name, &sql), &mut open),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to() + 1;
                report.refuse(&format!("{name}: byte {at} is no UTF-8, expected SQL as text"));
                Judgement::Mistaken
            }
            Err(error) => {
                report.refuse(&format!("{name}: cannot be read: {error}"));
                Judgement::Unread
            }
        };
        report.judgement = report.judgement.max(judgement);
    }
    report
}

fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(READ_BYTES_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Report {
    fn file<R: Read>(
        &mut self,
        question: Question,
        (path, name, sql): (&Path, &str, &str),
        open: &mut impl FnMut(&Path) -> io::Result<R>,
    ) -> Judgement {
        let compiled = Program::compile_all(name, sql);
        let compiled = compiled.and_then(|program| match program.check_stores() {
            Ok(()) => Ok(program),
            Err(mistake) => Err(vec![mistake]),
        });
        let program = match compiled {
            Ok(program) => program,
            Err(mistakes) => {
                debug_assert!(!mistakes.is_empty(), "what does not compile has a mistake");
                mistakes.iter().for_each(|mistake| self.refuse(&shown(mistake, sql)));
                return Judgement::Mistaken;
            }
        };
        let (rules, tables) = (program.rules().len(), program.tables().len());
        let head = format!("{name}: {} over {}", counted(rules, "rule"), counted(tables, "table"));
        self.tell(&head);
        if question == Question::Explain {
            self.tell("");
            for table in program.tables() {
                self.told.push_str(&TableExplanation(table).to_string());
            }
            for rule in program.rules().iter().chain(program.explained()) {
                self.tell("");
                self.told.push_str(&Explanation { program: &program, rule }.to_string());
            }
        }
        let files = read_files(&program, path, open);
        let judgements = files.into_iter().map(|file| self.table(file));
        judgements.max().unwrap_or(Judgement::Sound)
    }

    /// Tells of the file of a table, read as an agent or a hub would.
    fn table(&mut self, TableFile { id: _, table, path, found }: TableFile<'_>) -> Judgement {
        match found {
            Ok((rows, _)) => {
                let (name, count) = (table.name(), counted(rows.rows().len(), "row"));
                self.tell(&format!("{}: {count} of table {name}", path.display()));
                Judgement::Sound
            }
            Err(error @ (FileError::Mistakes(_) | FileError::TooMuch { .. })) => {
                self.refuse(&error.to_string());
                Judgement::Mistaken
            }
            Err(error @ FileError::Unread { .. }) => {
                self.refuse(&error.to_string());
                Judgement::Unread
            }
        }
    }

    fn tell(&mut self, line: &str) {
        self.told.push_str(line);
        self.told.push('\n');
    }

    fn refuse(&mut self, text: &str) {
        self.refused.push_str(text);
        self.refused.push('\n');
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Most characters of a line that are shown on each side of a mistake.
const CONTEXT_CHARS: usize = 60;

/// A mistake, and below it the line that it is in with its first word marked.
fn shown(mistake: &SqlError, sql: &str) -> String {
    let mut text = mistake.to_string();
    let at = mistake.position();
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(line) = sql.lines().nth(index(at.line)) else { return text };
    // A tab or a control character is one column wide, as the column of the mistake counts it.
    let letters: Vec<char> =
        line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let column = index(at.column).min(letters.len());
    let start = column.saturating_sub(CONTEXT_CHARS);
    let end = column.saturating_add(CONTEXT_CHARS).min(letters.len());
    let part: String = letters.get(start..end).unwrap_or_default().iter().collect();
    let is_word = |letter: &&char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
    let word = letters.get(column..end).unwrap_or_default();
    let marks = "^".repeat(word.iter().take_while(is_word).count().max(1));
    let (number, cut) = (at.line.to_string(), if start > 0 { "…" } else { "" });
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(column - start + cut.chars().count());
    // Writing to a text cannot fail.
    let _written = write!(text, "\n  {number} | {cut}{part}\n  {gutter} | {indent}{marks}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE,\n  \
                          WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH ('topic' = 'air', \
                          'key' = 'station');\n\
                          CREATE TABLE high (station STRING) WITH ('topic' = 'alerts');\n\
                          CREATE TABLE low (station STRING) WITH ('topic' = 'alerts');\n";

    fn asked(question: Question, sql: &str) -> Report {
        judge(question, [Path::new("rules.sql")], |_| Ok(sql.as_bytes()))
    }

    #[test]
    fn a_sound_file_is_told_by_its_rules_and_tables() {
        let sql = format!("{TABLES}INSERT INTO high SELECT station FROM air WHERE pm25 > 120;");

        let report = asked(Question::Check, &sql);

        assert_eq!(report.told, "rules.sql: 1 rule over 2 tables\n");
        assert_eq!((&*report.refused, report.judgement.exit_code()), ("", 0));
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_a_mark() {
        let sql = format!(
            "{TABLES}INSERT INTO high SELECT statoin FROM air;\n\
             INSERT INTO low\n\tSELECT station FROM aire;\n"
        );

        let report = asked(Question::Check, &sql);

        let expected = "\
rules.sql:5:25: unknown column \"statoin\" in table air, did you mean \"station\"?
  5 | INSERT INTO high SELECT statoin FROM air;
    |                         ^^^^^^^
rules.sql:7:22: unknown table \"aire\", did you mean \"air\"?
  7 |  SELECT station FROM aire;
    |                      ^^^^
";
        assert_eq!(report.refused, expected);
        assert_eq!((&*report.told, report.judgement.exit_code()), ("", 1));
    }

    #[test]
    fn a_mistake_in_a_long_line_is_shown_with_what_stands_around_it() {
        let many = "so ".repeat(200);
        let sql = format!("{TABLES}INSERT INTO high SELECT /* {many}*/ statoin FROM air");

        let report = asked(Question::Check, &sql);

        let lines: Vec<&str> = report.refused.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("so */ statoin FROM air"), "{}", lines[1]);
        assert!(lines[2].trim_end().ends_with("^^^^^^^"), "{}", lines[2]);
        assert!(lines.iter().skip(1).all(|line| line.chars().count() < 140));
    }

    #[test]
    fn what_is_missing_at_the_end_is_marked_behind_the_last_line() {
        let report = asked(Question::Check, "CREATE TABLE t (a BIGINT)");

        let expected = "\
rules.sql:1:26: expected WITH ('topic' = '…') after the columns, found the end of the file
  1 | CREATE TABLE t (a BIGINT)
    |                          ^
";
        assert_eq!(report.refused, expected);
    }

    #[test]
    fn explaining_tells_tables_first_and_then_each_rule() {
        let sql = format!(
            "{TABLES}INSERT INTO high SELECT station FROM air WHERE pm25 > 120;\n\
             INSERT INTO low SELECT station FROM air WHERE pm25 < 5;"
        );

        let report = asked(Question::Explain, &sql);

        let heads: Vec<&str> =
            report.told.lines().filter(|line| !line.starts_with(' ')).take(4).collect();
        assert_eq!(
            heads,
            [
                "rules.sql: 2 rules over 1 table",
                "",
                "table air, topic air, json, key station, event time ts, watermark 1min behind",
                ""
            ]
        );
        assert!(report.told.contains("\nrule high to topic alerts, severity warning\nplan\n"));
        assert!(report.told.contains("\n\nrule low to topic alerts, severity warning\nplan\n"));
    }

    #[test]
    fn a_rule_behind_explain_is_told_and_does_not_run() {
        let sql = format!(
            "{TABLES}EXPLAIN PLAN FOR INSERT INTO high SELECT station FROM air WHERE pm25 > 120;\n\
             INSERT INTO low SELECT station FROM air;"
        );

        let report = asked(Question::Explain, &sql);
        let program = Program::compile("rules.sql", &sql).unwrap();
        let wrong = asked(
            Question::Check,
            &sql.replace("SELECT station FROM air W", "SELECT x FROM air W"),
        );

        assert!(report.told.starts_with("rules.sql: 1 rule over 1 table\n"), "{}", report.told);
        assert!(report.told.contains("\nrule high to topic alerts, severity warning\n"));
        let names: Vec<_> = program.rules().iter().map(|rule| rule.name().to_string()).collect();
        assert_eq!(names, ["low"]);
        assert_eq!(wrong.judgement, Judgement::Mistaken);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_as_that_and_not_read_to_its_end() {
        let report = judge(Question::Check, [Path::new("zero")], |_| Ok(io::repeat(b' ')));

        let limit = "zero:1:1: the file is longer than its limit of 1048576";
        assert_eq!(report.refused.lines().next(), Some(limit));
        assert_eq!(report.judgement.exit_code(), 1);
    }

    #[test]
    fn files_of_tables_are_read_beside_the_rules_and_their_mistakes_told() {
        let sql = "CREATE TABLE d (id STRING, floor INT) WITH ('connector' = 'filesystem',\n\
                   'path' = 'data/d.csv', 'format' = 'csv');";
        let judged = |csv: Option<&'static str>| {
            judge(Question::Check, [Path::new("etc/rules.sql")], |path| match path.to_str() {
                Some("etc/rules.sql") => Ok(sql.as_bytes()),
                Some("etc/data/d.csv") => {
                    csv.map(str::as_bytes).ok_or_else(|| io::Error::other("gone"))
                }
                other => panic!("{other:?}"),
            })
        };

        let sound = judged(Some("a,1\nb,2\n"));
        let mistaken = judged(Some("a,1\nb,x\n"));
        let unread = judged(None);

        assert_eq!(
            sound.told,
            "etc/rules.sql: 0 rules over 1 table\netc/data/d.csv: 2 rows of table d\n"
        );
        assert_eq!(
            mistaken.refused,
            "etc/data/d.csv:2:3: column \"floor\", byte 3: found \"x\", expected INT\n"
        );
        assert_eq!(unread.refused, "etc/data/d.csv: cannot be read: gone\n");
        let codes = [sound, mistaken, unread].map(|report| report.judgement.exit_code());
        assert_eq!(codes, [0, 1, 2]);
    }

    #[test]
    fn a_file_that_cannot_be_read_outweighs_a_mistake_and_stops_no_other() {
        let files = ["gone.sql", "bad.sql", "bytes.sql", "good.sql"].map(Path::new);

        let report = judge(Question::Check, files, |path| match path.to_str() {
            Some("gone.sql") => Err(io::Error::other("no such file")),
            Some("bad.sql") => Ok(b"DROP".as_slice()),
            Some("bytes.sql") => Ok(&[b'a', 0xFF]),
            _ => Ok(&[]),
        });

        assert_eq!(report.told, "good.sql: 0 rules over 0 tables\n");
        let lines: Vec<&str> = report.refused.lines().collect();
        assert_eq!(lines.first(), Some(&"gone.sql: cannot be read: no such file"));
        assert_eq!(lines.last(), Some(&"bytes.sql: byte 2 is no UTF-8, expected SQL as text"));
        assert_eq!(report.judgement.exit_code(), 2);
    }

    const SITES: &str = "CREATE TABLE a (id STRING, site STRING) \
                         WITH ('connector' = 'filesystem', 'path' = 'a.csv', 'format' = 'csv', \
                         'file.bytes' = '4MiB');";

    #[test]
    fn a_file_that_is_written_meanwhile_is_read_again_and_then_told() {
        let program = Program::compile("rules.sql", SITES).unwrap();
        let busy = || io::Error::from(io::ErrorKind::ResourceBusy);
        let read = |writes: usize| {
            let mut opened = 0;
            let files = read_files(&program, Path::new("rules.sql"), |_| {
                opened += 1;
                if opened > writes { Ok(&b"s,north\n"[..]) } else { Err(busy()) }
            });
            let [TableFile { found, .. }] = <[_; 1]>::try_from(files).unwrap();
            (found.map(|(rows, _)| rows.rows().len()).map_err(|error| error.to_string()), opened)
        };

        assert_eq!(read(0), (Ok(1), 1));
        assert_eq!(read(2), (Ok(1), 3));
        let (refused, opened) = read(3);
        assert!(refused.unwrap_err().starts_with("a.csv: cannot be read: "));
        assert_eq!(opened, 3);
    }

    #[test]
    fn files_are_refused_from_the_one_on_that_is_too_much_with_those_before() {
        let tables: String = ["a", "b", "c", "d", "e", "f"]
            .map(|name| SITES.replace("TABLE a", &format!("TABLE {name}")))
            .concat();
        let line = format!("s,{}\n", "n".repeat((4 << 20) - 3));
        let program = Program::compile("rules.sql", &tables).unwrap();
        let mut opened = 0;

        let files = read_files(&program, Path::new("rules.sql"), |_| {
            opened += 1;
            // The fourth leaves room for the last one.
            Ok(if matches!(opened, 4 | 6) { &b"s,north\n"[..] } else { line.as_bytes() })
        });

        let found: Vec<_> = files.iter().map(|file| file.found.is_ok()).collect();
        assert_eq!(found, [true, true, true, true, false, true]);
        let refused = files[4].found.as_ref().unwrap_err().to_string();
        assert_eq!(
            refused,
            "a.csv: the files of all tables are 16777224B with this one, expected at most 16MiB"
        );
    }
}
