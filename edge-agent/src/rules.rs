//! `headland-agent rules`: what is wrong with rule files, or what their rules will do.

use std::path::PathBuf;

use clap::Subcommand;
use headland_detection::rule_files::{Question, Report, judge};
use headland_platform::files;

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
    let (question, chosen) = match command {
        RulesCommand::Check { files } => (Question::Check, files),
        RulesCommand::Explain { files } => (Question::Explain, files),
    };
    // Rules may come out of a pipe; what a table's file is, whoever asks has not chosen.
    judge(question, chosen.iter().map(PathBuf::as_path), |path| files::open_chosen(chosen, path))
}
