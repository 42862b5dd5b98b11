//! The versions of one topic's schema, each fit to follow those before it.

use std::fmt;
use std::num::NonZeroU32;

use apache_avro::Schema;
use apache_avro::error::CompatibilityError;
use apache_avro::schema_compatibility::{Compatibility as Resolved, SchemaCompatibility};
use serde::{Deserialize, Serialize};

use super::{SchemaDefinition, SchemaId};

/// What a new version must be able to do, by the names that Confluent's registry gives.
///
/// # Source
/// Confluent, "Schema Evolution and Compatibility for Schema Registry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Nothing.
    None,
    /// It reads what the version before it wrote: consumers are updated first.
    #[default]
    Backward,
    /// It reads what any version before it wrote.
    BackwardTransitive,
    /// The version before it reads what it writes: producers are updated first.
    Forward,
    /// Every version before it reads what it writes.
    ForwardTransitive,
    /// Both, with the version before it.
    Full,
    /// Both, with every version before it.
    FullTransitive,
}

impl Compatibility {
    const fn reads_older(self) -> bool {
        match self {
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive => true,
            Self::None | Self::Forward | Self::ForwardTransitive => false,
        }
    }

    const fn is_read_by_older(self) -> bool {
        match self {
            Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive => true,
            Self::None | Self::Backward | Self::BackwardTransitive => false,
        }
    }

    const fn is_transitive(self) -> bool {
        match self {
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive => true,
            Self::None | Self::Backward | Self::Forward | Self::Full => false,
        }
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        })
    }
}

/// The number of a version, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion(NonZeroU32);

impl SchemaVersion {
    /// Wraps a number.
    #[must_use]
    pub const fn new(number: NonZeroU32) -> Self {
        Self(number)
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Why a version cannot follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaSetError {
    /// Versions come in their order.
    #[error("version {found} cannot follow {last}")]
    Order {
        /// The version.
        found: SchemaVersion,
        /// The one before it.
        last: SchemaVersion,
    },
    /// It is an earlier version again.
    #[error("version {found} says the same as {known}: both are schema {id}")]
    Repeated {
        /// The version.
        found: SchemaVersion,
        /// The earlier one.
        known: SchemaVersion,
        /// What both are.
        id: SchemaId,
    },
    /// One of the two cannot read what the other writes.
    #[error(
        "not {compatibility}: {reader} cannot read what {writer} writes: {}{detail}",
        field.as_ref().map_or_else(String::new, |field| format!("field {field}: "))
    )]
    Incompatible {
        /// What is asked of new versions.
        compatibility: Compatibility,
        /// The version that reads.
        reader: SchemaVersion,
        /// The version that writes.
        writer: SchemaVersion,
        /// The field that does not fit, as `Record.field`, where one can be named.
        field: Option<String>,
        /// What does not fit.
        detail: String,
    },
}

/// The schema of one topic in all its versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaSet {
    compatibility: Compatibility,
    versions: Vec<(SchemaVersion, SchemaDefinition)>,
}

impl SchemaSet {
    /// No version yet.
    #[must_use]
    pub const fn new(compatibility: Compatibility) -> Self {
        Self { compatibility, versions: Vec::new() }
    }

    /// Adds a version behind those there are. O(versions × types).
    ///
    /// # Errors
    /// [`SchemaSetError`] when it may not follow them; nothing changes.
    pub fn add(
        &mut self,
        version: SchemaVersion,
        definition: SchemaDefinition,
    ) -> Result<(), SchemaSetError> {
        if let Some((last, _)) = self.versions.last().filter(|(last, _)| *last >= version) {
            return Err(SchemaSetError::Order { found: version, last: *last });
        }
        let id = definition.id();
        if let Some((known, _)) = self.versions.iter().find(|(_, known)| known.id() == id) {
            return Err(SchemaSetError::Repeated { found: version, known: *known, id });
        }
        let compared = if self.compatibility.is_transitive() { self.versions.len() } else { 1 };
        for (older, known) in self.versions.iter().rev().take(compared) {
            if self.compatibility.reads_older() {
                let read = known.is_read_by(&definition);
                read.map_err(|mismatch| self.incompatible(version, *older, mismatch))?;
            }
            if self.compatibility.is_read_by_older() {
                let read = definition.is_read_by(known);
                read.map_err(|mismatch| self.incompatible(*older, version, mismatch))?;
            }
        }
        self.versions.push((version, definition));
        Ok(())
    }

    fn incompatible(
        &self,
        reader: SchemaVersion,
        writer: SchemaVersion,
        Mismatch { field, detail }: Mismatch,
    ) -> SchemaSetError {
        let compatibility = self.compatibility;
        SchemaSetError::Incompatible { compatibility, reader, writer, field, detail }
    }

    /// Versions with their schemas, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (SchemaVersion, &SchemaDefinition)> {
        self.versions.iter().map(|(version, definition)| (*version, definition))
    }

    /// The newest schema; `None` when there is none.
    #[must_use]
    pub fn newest(&self) -> Option<&SchemaDefinition> {
        self.versions.last().map(|(_, definition)| definition)
    }
}

/// What keeps a schema from reading another's data.
#[derive(Debug)]
pub(super) struct Mismatch {
    field: Option<String>,
    detail: String,
}

/// Whether all that `writer` writes can be read by `reader`. What Avro calls partial, that some of
/// it can, is not enough: a topic's data is not chosen by what its readers like.
pub(super) fn can_read(writer: &Schema, reader: &Schema) -> Result<(), Mismatch> {
    let error = match SchemaCompatibility::can_read(writer, reader) {
        Ok(Resolved::Full) => return Ok(()),
        Ok(Resolved::Partial) => None,
        Err(error) => Some(error),
    };
    let field = error.as_ref().and_then(field_of);
    if field.is_none()
        && let (Schema::Union(writers), Schema::Union(readers)) = (writer, reader)
    {
        // Of a union it is only known that a branch does not fit: ask the branches of one name.
        for branch in writers.variants() {
            let named = readers.variants().iter().find(|of| of.name() == branch.name());
            let name = branch.name().map(ToString::to_string).unwrap_or_default();
            match named {
                Some(same) => can_read(branch, same).map_err(|mismatch| Mismatch {
                    field: mismatch.field.map(|field| format!("{name}.{field}")),
                    detail: mismatch.detail,
                })?,
                None => {
                    let detail = format!("it has no branch {name}");
                    return Err(Mismatch { field: None, detail });
                }
            }
        }
    }
    let some_only = || "only some of it, by an enum or a union that lacks branches".to_owned();
    Err(Mismatch { field, detail: error.map_or_else(some_only, |error| error.to_string()) })
}

/// The field that an error is about, with the fields it is in.
fn field_of(error: &CompatibilityError) -> Option<String> {
    match error {
        CompatibilityError::FieldTypeMismatch(field, inner) => {
            Some(field_of(inner).map_or_else(|| field.clone(), |inner| format!("{field}.{inner}")))
        }
        CompatibilityError::MissingDefaultValue(field) => Some(field.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32) -> SchemaVersion {
        SchemaVersion::new(NonZeroU32::new(number).unwrap())
    }

    fn record(fields: &str) -> SchemaDefinition {
        let text = format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#);
        SchemaDefinition::parse(&text).unwrap()
    }

    const UNITS: &str = r#"{"name":"units","type":"long"}"#;
    const NOTE: &str = r#"{"name":"note","type":"string"}"#;
    const NOTE_OR_NONE: &str = r#"{"name":"note","type":["null","string"],"default":null}"#;

    /// Whether each kind of compatibility lets a version follow another.
    fn fits(old: &SchemaDefinition, new: &SchemaDefinition) -> Vec<Compatibility> {
        use Compatibility::{Backward, Forward, Full, None};
        let may_follow = |compatibility: &Compatibility| {
            let mut set = SchemaSet::new(*compatibility);
            set.add(version(1), old.clone()).unwrap();
            set.add(version(2), new.clone()).is_ok()
        };
        [None, Backward, Forward, Full].into_iter().filter(|of| may_follow(of)).collect()
    }

    #[test]
    fn each_kind_of_compatibility_lets_through_what_confluent_says() {
        use Compatibility::{Backward, Forward, Full, None};
        let (plain, with_note) = (record(UNITS), record(&format!("{UNITS},{NOTE}")));
        let optional = record(&format!("{UNITS},{NOTE_OR_NONE}"));
        let text = record(r#"{"name":"units","type":"boolean"}"#);

        assert_eq!(fits(&plain, &optional), [None, Backward, Forward, Full]);
        assert_eq!(fits(&plain, &with_note), [None, Forward]);
        assert_eq!(fits(&with_note, &plain), [None, Backward]);
        assert_eq!(fits(&plain, &text), [None]);
    }

    #[test]
    fn a_transitive_kind_asks_every_version_and_the_plain_one_the_last() {
        let with_note = record(&format!("{UNITS},{NOTE_OR_NONE}"));
        let number = record(&format!(r#"{UNITS},{{"name":"note","type":"long","default":0}}"#));
        let follows = |compatibility| {
            let mut set = SchemaSet::new(compatibility);
            set.add(version(1), with_note.clone()).unwrap();
            set.add(version(2), record(UNITS)).unwrap();
            set.add(version(3), number.clone())
        };

        assert_eq!(follows(Compatibility::Backward), Ok(()));
        let error = follows(Compatibility::BackwardTransitive).unwrap_err();
        let SchemaSetError::Incompatible { reader, writer, field, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((reader, writer), (version(3), version(1)));
        assert_eq!(field.as_deref(), Some("note"));
    }

    #[test]
    fn a_field_that_does_not_fit_is_named_also_inside_a_union() {
        let union = |fields: &str| {
            let record = format!(r#"{{"type":"record","name":"Sold","fields":[{fields}]}}"#);
            SchemaDefinition::parse(&format!("[\"null\",{record}]")).unwrap()
        };
        let mut set = SchemaSet::new(Compatibility::Backward);
        set.add(version(1), union(UNITS)).unwrap();

        let error = set.add(version(2), union(&format!("{UNITS},{NOTE}"))).unwrap_err();

        let text = error.to_string();
        let expected = "not BACKWARD: v2 cannot read what v1 writes: field Sold.note: ";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_version_comes_once_and_in_its_order() {
        let mut set = SchemaSet::new(Compatibility::None);
        set.add(version(2), record(UNITS)).unwrap();

        let (found, last) = (version(2), version(2));
        let order = SchemaSetError::Order { found, last };
        assert_eq!(set.add(version(2), record(NOTE)), Err(order));
        let id = record(UNITS).id();
        let repeated = SchemaSetError::Repeated { found: version(3), known: version(2), id };
        assert_eq!(set.add(version(3), record(UNITS)), Err(repeated));
        assert_eq!(set.newest().map(SchemaDefinition::id), Some(id));
    }
}
