//! `headland rules`: what is wrong with rule files, or what their rules will do.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use headland_detection::rule_files::{Question, Report, judge};

/// Most bytes that are read of a file: more than a rule file may have, so that a longer one is
/// refused as what it is, and a path to a device or to data fills no memory.
const READ_BYTES_LIMIT: u64 = 2 << 20;

/// What to do with rule files.
#[derive(Debug, Clone, Subcommand)]
pub enum RulesCommand {
    /// Say what is wrong with rule files, each mistake with its line and what would fit. Ends with
    /// 0 when all compile, 1 when one has a mistake, 2 when one cannot be read.
    Check {
        /// The files, each with the tables and rules of one agent.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Say what the rules of files will do: plan, whether results can be taken back, what is kept
    /// per key and for how long, settings in force. Ends as `check` does.
    Explain {
        /// The files, each with the tables and rules of one agent.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Reads the files and answers.
#[must_use]
pub fn run(command: &RulesCommand) -> Report {
    let (question, files) = match command {
        RulesCommand::Check { files } => (Question::Check, files),
        RulesCommand::Explain { files } => (Question::Explain, files),
    };
    judge(question, files.iter().map(PathBuf::as_path), read)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_BYTES_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused_and_one_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let [long, gone] = ["long.sql", "gone.sql"].map(|name| folder.path().join(name));
        std::fs::write(&long, vec![b' '; 10 << 20]).unwrap();

        let report = run(&RulesCommand::Check { files: vec![long.clone(), gone.clone()] });

        let told: Vec<&str> = report.refused.lines().collect();
        let limit = format!("{}:1:1: the file is longer than its limit of 1048576", long.display());
        assert_eq!(told.first(), Some(&&*limit));
        let missing = format!("{}: cannot be read: No such file", gone.display());
        assert!(told.last().is_some_and(|last| last.starts_with(&missing)), "{told:?}");
        assert_eq!(report.judgement.exit_code(), 2);
    }
}
