//! Where and why SQL was refused.

use std::fmt;
use std::sync::Arc;

use sqlparser::tokenizer::Location;

use crate::sql::spelling::nearest;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u64,
    /// The character within the line, from 1.
    pub column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line.max(1), column: location.column.max(1) }
    }
}

/// SQL that could not be compiled: shown as `file:line:column: what was found and what would fit`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}:{}: {reason}", position.line, position.column)]
pub struct SqlError {
    file: Arc<str>,
    position: Position,
    reason: Box<SqlErrorReason>,
}

impl SqlError {
    /// The file as it was named to the compiler.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the mistake begins.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// What the mistake is.
    #[must_use]
    pub const fn reason(&self) -> &SqlErrorReason {
        &self.reason
    }
}

/// What is wrong with a piece of SQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlErrorReason {
    /// The text does not follow the grammar.
    #[error("{message}")]
    Syntax {
        /// What was expected and what was found.
        message: String,
    },
    /// A table that no statement creates.
    #[error("unknown table {name:?}{hint}")]
    UnknownTable {
        /// The name as written.
        name: String,
        /// What would fit.
        hint: Hint,
    },
    /// A column that its table does not have.
    #[error("unknown column {name:?} in table {table}{hint}")]
    UnknownColumn {
        /// The name as written.
        name: String,
        /// The table that was searched.
        table: String,
        /// What would fit.
        hint: Hint,
    },
    /// A window that WINDOW does not declare.
    #[error("unknown window {name:?}{hint}")]
    UnknownWindow {
        /// The name as written.
        name: String,
        /// What would fit.
        hint: Hint,
    },
    /// A variable that PATTERN does not name.
    #[error("unknown variable {name:?} of PATTERN{hint}")]
    UnknownVariable {
        /// The name as written.
        name: String,
        /// What would fit.
        hint: Hint,
    },
    /// A key in WITH that means nothing.
    #[error("unknown option {name:?} of table {table}{hint}")]
    UnknownOption {
        /// The key as written.
        name: String,
        /// The table it was written for.
        table: String,
        /// What would fit.
        hint: Hint,
    },
    /// A key of METADATA that nothing is known for.
    #[error("unknown metadata {name:?}{hint}")]
    UnknownMetadata {
        /// The key as written.
        name: String,
        /// What would fit.
        hint: Hint,
    },
    /// A function that does not exist here.
    #[error("unknown function {name:?}{hint}")]
    UnknownFunction {
        /// The name as written.
        name: String,
        /// What would fit.
        hint: Hint,
    },
    /// A type, a literal or the value of an option that does not fit its place.
    #[error("{subject} is {found}, expected {expected}")]
    Mismatch {
        /// What is looked at, for example `the argument of AVG`.
        subject: String,
        /// What was found there.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// Something that must be there is not.
    #[error("{subject} lacks {missing}")]
    Missing {
        /// What is looked at.
        subject: String,
        /// What it needs, with an example.
        missing: String,
    },
    /// A name that was given twice.
    #[error("{what} {name:?} appears twice; it was first named on line {first_line}")]
    Duplicate {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
        /// The line of its first use, from 1.
        first_line: u64,
    },
    /// A table on the topic of another whose records are not its own.
    #[error(
        "topic {topic:?} is that of table {other} on line {other_line} already, and {difference}; \
         give table {table} a topic of its own"
    )]
    SharedTopic {
        /// The topic.
        topic: String,
        /// The table that was declared later.
        table: String,
        /// The table that was declared first.
        other: String,
        /// The line of its declaration, from 1.
        other_line: u64,
        /// Why the records of one are not records of the other.
        difference: &'static str,
    },
    /// A table on a topic that a rule writes.
    #[error("rule {rule} writes to topic {topic:?}; give table {table} a topic of its own")]
    WrittenTopic {
        /// The topic.
        topic: String,
        /// The table.
        table: String,
        /// The rule.
        rule: String,
    },
    /// A column that several tables have.
    #[error("column {name:?} is in each of {tables}; put the name of one and a dot before it")]
    Ambiguous {
        /// The name as written.
        name: String,
        /// The tables.
        tables: String,
    },
    /// A column outside an aggregate that groups do not share.
    #[error("column {name:?} is neither in GROUP BY nor inside an aggregate")]
    NotGrouped {
        /// The column.
        name: String,
    },
    /// An aggregate where there is no group.
    #[error("aggregate {name} can stand only in SELECT or HAVING")]
    MisplacedAggregate {
        /// The aggregate.
        name: String,
    },
    /// A function whose value is not in the rows.
    #[error("{name} would give other results when the log is read again; {instead}")]
    Unrepeatable {
        /// The function.
        name: String,
        /// What to write in its place.
        instead: &'static str,
    },
    /// Flink SQL that Headland does not run.
    #[error("{what} is not supported yet; supported: {supported}")]
    Unsupported {
        /// The construct.
        what: String,
        /// What is supported in its place.
        supported: &'static str,
    },
    /// A bound that keeps hostile text from exhausting memory or stack.
    #[error("{what} is longer than its limit of {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
}

impl SqlErrorReason {
    pub(crate) fn unsupported(what: impl fmt::Display, supported: &'static str) -> Self {
        Self::Unsupported { what: what.to_string(), supported }
    }

    pub(crate) fn mismatch(
        subject: impl fmt::Display,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self::Mismatch {
            subject: subject.to_string(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}

/// What would fit where an unknown name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The known name that was probably meant.
    pub nearest: Option<String>,
    /// Every known name.
    pub known: Vec<String>,
}

impl Hint {
    pub(crate) fn new<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.map(str::to_owned).collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Self { nearest, known }
    }
}

/// Most known names that an error lists.
const SHOWN_LIMIT: usize = 40;

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, ", did you mean {nearest:?}?"),
            None if self.known.is_empty() => f.write_str(", none is known"),
            None if self.known.len() > SHOWN_LIMIT => Ok(()),
            None => write!(f, ", known are {}", self.known.join(", ")),
        }
    }
}

/// A mistake whose file is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    position: Position,
    reason: Box<SqlErrorReason>,
}

impl Fault {
    pub(crate) fn new(at: impl Into<Position>, reason: SqlErrorReason) -> Self {
        Self { position: at.into(), reason: Box::new(reason) }
    }

    /// Whether an aggregate stands where there is no group.
    pub(crate) fn is_misplaced_aggregate(&self) -> bool {
        matches!(*self.reason, SqlErrorReason::MisplacedAggregate { .. })
    }

    pub(crate) fn within(self, file: &str) -> SqlError {
        SqlError { file: Arc::from(file), position: self.position, reason: self.reason }
    }
}
