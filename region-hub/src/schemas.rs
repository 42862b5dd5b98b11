//! Folders of schemas, and `headland schema`.
//!
//! ```text
//! <folder>/compatibility.toml            what is asked of new versions; BACKWARD when absent
//! <folder>/<topic>/v1.avsc, v2.avsc, …   the versions of a topic's schema, in Avro
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use headland_event::schema::{
    Compatibility, SchemaDefinition, SchemaError, SchemaSet, SchemaSetError, SchemaVersion,
};
use headland_event::{NameError, TopicName};
use headland_platform::config::{self, ConfigError};
use serde::Deserialize;

/// File of a folder that says what is asked of new versions.
const COMPATIBILITY_FILE: &str = "compatibility.toml";

/// What a schema's file ends in.
const SCHEMA_ENDING: &str = "avsc";

/// What to do with schemas.
#[derive(Debug, Clone, Subcommand)]
pub enum SchemaCommand {
    /// Read every schema of a folder, and check that each version may follow those before it.
    Check {
        /// The folder, with one folder for each topic.
        folder: PathBuf,
    },
}

/// Why a folder's schemas cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaFolderError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// What is asked of new versions cannot be read.
    #[error(transparent)]
    Compatibility(#[from] ConfigError),
    /// A folder is not named like a topic.
    #[error("{path} is not named like a topic: {source}")]
    Topic {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: NameError,
    },
    /// A file is not named like a version.
    #[error("{path} is not named like a version, v1.avsc, v2.avsc and so on")]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// A topic's folder holds no version.
    #[error("{path} holds no schema, expected v1.avsc")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A file holds no schema.
    #[error("{path}: {source}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SchemaError,
    },
    /// A version may not follow those before it.
    #[error("{path}:{line}: {source}")]
    Set {
        /// The file of the version.
        path: PathBuf,
        /// The line of the field it is about, 1 where none can be named.
        line: usize,
        /// Why.
        source: SchemaSetError,
    },
}

/// `compatibility.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    default: Compatibility,
    topics: BTreeMap<TopicName, Compatibility>,
}

/// Reads the schemas of a folder, by topic. O(their bytes).
///
/// # Errors
/// [`SchemaFolderError`] for the first file that does not fit.
pub fn load(folder: &Path) -> Result<BTreeMap<TopicName, SchemaSet>, SchemaFolderError> {
    let file = folder.join(COMPATIBILITY_FILE);
    let asked = if file.exists() { config::load(&file)?.value } else { Asked::default() };
    let mut sets = BTreeMap::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let topic = TopicName::new(&name)
            .map_err(|source| SchemaFolderError::Topic { path: path.clone(), source })?;
        let compatibility = asked.topics.get(&topic).copied().unwrap_or(asked.default);
        sets.insert(topic, load_topic(&path, compatibility)?);
    }
    Ok(sets)
}

fn load_topic(folder: &Path, asked: Compatibility) -> Result<SchemaSet, SchemaFolderError> {
    let mut files = BTreeMap::new();
    for path in entries(folder)? {
        if path.extension().is_some_and(|ending| ending == SCHEMA_ENDING) {
            let unfit = || SchemaFolderError::Version { path: path.clone() };
            files.insert(version(&path).ok_or_else(unfit)?, path);
        }
    }
    let mut set = SchemaSet::new(asked);
    for (version, path) in files {
        let text = fs::read_to_string(&path)
            .map_err(|source| SchemaFolderError::Read { path: path.clone(), source })?;
        let definition = SchemaDefinition::parse(&text)
            .map_err(|source| SchemaFolderError::Schema { path: path.clone(), source })?;
        set.add(version, definition).map_err(|source| {
            let line = line_of(&text, &source);
            SchemaFolderError::Set { path: path.clone(), line, source }
        })?;
    }
    match set.newest() {
        Some(_) => Ok(set),
        None => Err(SchemaFolderError::Empty { path: folder.to_owned() }),
    }
}

/// What a folder holds, in order of name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SchemaFolderError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let path = || folder.to_owned();
    let mut paths = read().map_err(|source| SchemaFolderError::Read { path: path(), source })?;
    paths.sort();
    Ok(paths)
}

fn version(path: &Path) -> Option<SchemaVersion> {
    let number = path.file_stem()?.to_str()?.strip_prefix('v')?;
    let is_plain = !number.starts_with(['0', '+']);
    number.parse::<NonZeroU32>().ok().filter(|_| is_plain).map(SchemaVersion::new)
}

/// The line of a version's text that declares the field an error is about, else the first.
fn line_of(text: &str, error: &SchemaSetError) -> usize {
    let SchemaSetError::Incompatible { field: Some(field), .. } = error else { return 1 };
    let name = format!("\"{}\"", field.rsplit('.').next().unwrap_or_default());
    let declares = |line: &str| line.contains("\"name\"") && line.contains(&name);
    text.lines().position(declares).map_or(1, |index| index + 1)
}

/// Does what is asked and returns what to print: a line for each version.
///
/// # Errors
/// [`SchemaFolderError`] for the first file that does not fit.
pub fn run(command: &SchemaCommand) -> Result<String, SchemaFolderError> {
    let SchemaCommand::Check { folder } = command;
    let mut lines = String::new();
    for (topic, set) in load(folder)? {
        for (version, definition) in set.iter() {
            // Writing to a text does not fail.
            let _written = writeln!(lines, "{topic} {version} {}", definition.id());
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = r#"{"type": "record", "name": "r", "fields": [
  {"name": "units", "type": "long"}]}"#;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// What is said of a folder, with its place taken out.
    fn refusal(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = load(folder.path()).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn versions_are_taken_by_number_and_other_files_passed_over() {
        let v2 = V1.replace("]}", r#", {"name": "note", "type": "string", "default": ""}]}"#);
        let v10 = v2.replace("note", "remark");
        let folder = folder(&[
            ("README.md", "words"),
            ("air/v10.avsc", &v10),
            ("air/v2.avsc", &v2),
            ("air/v1.avsc", V1),
            ("air/notes.txt", "words"),
        ]);

        let told = run(&SchemaCommand::Check { folder: folder.path().to_owned() }).unwrap();

        let starts: Vec<&str> = told.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(starts, ["air v1", "air v2", "air v10"]);
    }

    #[test]
    fn an_incompatible_version_is_named_with_file_line_and_field() {
        let v2 = "{\"type\": \"record\", \"name\": \"r\", \"fields\": [\n  \
                  {\"name\": \"units\", \"type\": \"long\"},\n  \
                  {\"name\": \"note\", \"type\": \"string\"}]}";
        let files = [("air/v1.avsc", V1), ("air/v2.avsc", v2)];

        let text = refusal(&files);

        let expected = "air/v2.avsc:3: not BACKWARD: v2 cannot read what v1 writes: field note: ";
        assert!(text.starts_with(expected), "{text}");
        let free = ("compatibility.toml", "[topics]\nair = \"FORWARD\"\n");
        assert!(load(folder(&[files[0], files[1], free]).path()).is_ok());
    }

    #[test]
    fn what_is_no_schema_no_version_and_no_kind_of_compatibility_is_refused_where_it_stands() {
        let json = refusal(&[("air/v1.avsc", "{\n\"type\": }")]);
        assert!(json.starts_with("air/v1.avsc: line 2, column 9: not JSON: "), "{json}");
        let expected = "air/one.avsc is not named like a version, v1.avsc, v2.avsc and so on";
        assert_eq!(refusal(&[("air/one.avsc", V1)]), expected);
        assert_eq!(refusal(&[("air/x.txt", "")]), "air holds no schema, expected v1.avsc");
        let kind = refusal(&[("compatibility.toml", "default = \"FORWARDS\"")]);
        assert!(kind.contains("compatibility.toml:1:11: "), "{kind}");
        assert!(kind.contains("did you mean `FORWARD`?"), "{kind}");
    }

    #[test]
    fn the_schemas_of_inventory_fit() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/schemas");

        let topics: Vec<String> = load(&folder).unwrap().keys().map(ToString::to_string).collect();

        let tables = ["conflicts", "duplicates", "events", "late", "overlaps", "oversold"];
        let tables = tables.into_iter().chain(["postings", "rejected", "stock"]);
        let expected: Vec<String> = tables.map(|table| format!("inventory.{table}")).collect();
        assert_eq!(topics, expected);
    }
}
