//! What `headland audit` names, read from what it prints.

use std::path::Path;

use anyhow::{Context, Result};
use headland_event::Dot;
use headland_tests::binaries;
use headland_tests::process::Process;

/// What the command printed, and whether it ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) is_well: bool,
    pub(crate) lines: Vec<String>,
}

/// A range that a line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// The whole line.
    pub(crate) line: String,
    /// First sequence, and the one after the last.
    pub(crate) sequences: std::ops::Range<u64>,
}

/// Runs the command as an operator does.
///
/// # Errors
/// When it cannot be run.
pub(crate) async fn audit(socket: &Path) -> Result<Said> {
    let socket = socket.to_str().context("a path that is not UTF-8")?;
    let command = Process::start(&binaries::built()?.hub, &["audit", "--socket", socket])?;
    let ended = command.ended().await?;
    Ok(Said { is_well: ended.status.success(), lines: ended.lines })
}

impl Said {
    /// Lines that name a range.
    pub(crate) fn faults(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).filter(|line| line.contains(" before ")).collect()
    }

    /// The range that holds a record, when a line says `what` of it.
    pub(crate) fn names(&self, what: &str, dot: Dot) -> Option<Range> {
        let Dot { stream, incarnation, sequence } = dot;
        let of = format!(": of {stream}/{incarnation} from ");
        self.lines.iter().find_map(|line| {
            let (_, range) = line.strip_prefix(what)?.split_once(&of)?;
            let (from, to) = range.split_once(" to before ")?;
            let sequences = from.parse().ok()?..to.trim().parse().ok()?;
            let range = Range { line: line.clone(), sequences };
            range.sequences.contains(&sequence.get()).then_some(range)
        })
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Incarnation, PartitionIndex, Sequence, StreamId, TopicName, TopicPartition,
    };
    use headland_replication::audit::{Digest, Fault};

    use super::*;

    #[test]
    fn a_range_is_found_by_what_is_said_of_it_and_what_lies_in_it() {
        let topic = TopicName::new("eu.air").unwrap();
        let fault = Fault {
            partition: TopicPartition::new(topic, PartitionIndex::new(0)),
            stream: StreamId::new([7; 16]),
            incarnation: Incarnation::new(1, 9),
            from: Sequence::new(10),
            to: Sequence::new(20),
            stated: Digest { records: 10, sum: 1 },
            found: Digest { records: 9, sum: 2 },
        };
        let said = Said { is_well: false, lines: vec!["1 streams".to_owned(), fault.to_string()] };
        let dot = |sequence| Dot {
            stream: fault.stream,
            incarnation: fault.incarnation,
            sequence: Sequence::new(sequence),
        };
        let names = |what, at| said.names(what, dot(at)).map(|range| range.sequences);

        assert_eq!(said.faults().len(), 1);
        assert_eq!(names("1 records are missing", 19), Some(10..20));
        assert_eq!(names("1 records are missing", 20), None);
        assert_eq!(names("1 records are there twice", 19), None);
    }
}
