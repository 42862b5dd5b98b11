//! Files that rules look in, as the journal keeps them.
//!
//! A row is joined with what a file held when the row came, also when it comes again out of the
//! journal: so what a file holds is kept there, and another content counts from the commit on that
//! brings it, which is a commit of its own: together they may be more than one holds. State
//! `files`:
//!
//! ```text
//! c/TABLE          digests, one per line: the one in force, then those before it, newest first
//! v/TABLE/DIGEST   the bytes of that content
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use headland_detection::{FileRows, Program, TableId};
use headland_event::codec::{CodecError, Reader};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_storage::{StateChange, StateError, StateStore};

use super::Node;
use crate::outbox::{Outbox, owner};

/// Contents of a file that are kept: what is replayed from the older of the two snapshots on may
/// be joined with any that was in force since. Beyond that the oldest is forgotten.
const KEPT_CONTENTS: usize = 4;

/// Changes between those: a file may go back and forth, and a digest is 64 bytes.
const KEPT_CHANGES: usize = 64;

const IN_FORCE: &str = "c/";
const CONTENT: &str = "v/";

/// What files held, by table.
#[derive(Debug, Default)]
pub(super) struct Files {
    tables: BTreeMap<String, Contents>,
}

/// What the file of a table held.
#[derive(Debug)]
struct Contents {
    table: TableId,
    /// Digests of what was in force, newest first; one that came back is in it twice.
    digests: Vec<String>,
    rows: BTreeMap<String, Arc<FileRows>>,
}

impl Contents {
    /// Whether the oldest is to be forgotten.
    fn are_too_many(&self) -> bool {
        let different: BTreeSet<&String> = self.digests.iter().collect();
        different.len() > KEPT_CONTENTS || self.digests.len() > KEPT_CHANGES
    }
}

impl Files {
    /// What the state keeps of the files of a program. A content that does not fit its table any
    /// more is as one that is not there.
    pub(super) fn new(program: &Program, state: &impl StateStore) -> Result<Self, StateError> {
        let mut tables = BTreeMap::new();
        for (id, table, _) in program.file_tables() {
            let name = table.name().to_string();
            let value = state.get(&owner("files"), in_force(&name).as_ref())?;
            let (digests, mut rows) = (digests(value.as_deref()), BTreeMap::new());
            for digest in &digests {
                let key = content(&name, digest);
                let Some(bytes) = state.get(&owner("files"), key.as_ref())? else { continue };
                match FileRows::read(table, &format!("{name} of before"), &bytes) {
                    Ok(read) => drop(rows.insert(digest.clone(), Arc::new(read))),
                    Err(error) => tracing::warn!(
                        table = name, %error,
                        "what a file held does not fit its table any more: rules lack it for rows \
                         of before"
                    ),
                }
            }
            tables.insert(name, Contents { table: id, digests, rows });
        }
        Ok(Self { tables })
    }

    /// The oldest content of each file that is known: what is left of a journal and replayed
    /// without a snapshot was joined with it, or with what was forgotten since.
    pub(super) fn oldest(&self) -> Vec<(TableId, Arc<FileRows>)> {
        let oldest = self.tables.values().filter_map(|contents| {
            let digest = contents.digests.last()?;
            Some((contents.table, Arc::clone(contents.rows.get(digest)?)))
        });
        oldest.collect()
    }

    /// The content that a commit of the log puts in force, if it does; none when it is forgotten or
    /// does not fit its table any more.
    fn put_in_force(&self, change: &StateChange) -> Option<(TableId, Option<&Arc<FileRows>>)> {
        if change.owner != owner("files") {
            return None;
        }
        let name = std::str::from_utf8(change.key.strip_prefix(IN_FORCE.as_bytes())?).ok()?;
        let contents = self.tables.get(name)?;
        let digest = digests(change.value.as_deref()).into_iter().next()?;
        Some((contents.table, contents.rows.get(&digest)))
    }

    /// Reads which contents were in force at a snapshot.
    pub(super) fn read(
        &self,
        reader: &mut Reader,
    ) -> Result<Vec<(TableId, Arc<FileRows>)>, CodecError> {
        let mut found = Vec::new();
        for _ in 0..reader.length("files", reader.remaining() / 8)? {
            let name = reader.text("table", RECORD_BYTES_LIMIT.as_len())?;
            let digest = reader.text("digest", RECORD_BYTES_LIMIT.as_len())?;
            let contents = self.tables.get(&name);
            let rows = contents.and_then(|of| Some((of.table, Arc::clone(of.rows.get(&digest)?))));
            match rows {
                Some(rows) => found.push(rows),
                None => tracing::warn!(name, "what a file held at the snapshot is not known"),
            }
        }
        Ok(found)
    }

    /// Puts another content in force, in the commit being composed.
    fn put(&mut self, outbox: &mut Outbox, name: &str, (rows, bytes): (&Arc<FileRows>, Bytes)) {
        let Some(contents) = self.tables.get_mut(name) else { return };
        let digest = rows.digest().to_owned();
        contents.digests.insert(0, digest.clone());
        while contents.are_too_many()
            && let Some(forgotten) = contents.digests.pop()
        {
            if contents.digests.contains(&forgotten) {
                continue;
            }
            contents.rows.remove(&forgotten);
            outbox.set_file(content(name, &forgotten), None);
        }
        contents.rows.insert(digest.clone(), Arc::clone(rows));
        outbox.set_file(content(name, &digest), Some(bytes));
        outbox.set_file(in_force(name), Some(contents.digests.join("\n").into()));
    }
}

fn in_force(table: &str) -> Bytes {
    format!("{IN_FORCE}{table}").into()
}

fn content(table: &str, digest: &str) -> Bytes {
    format!("{CONTENT}{table}/{digest}").into()
}

fn digests(value: Option<&[u8]>) -> Vec<String> {
    let text = String::from_utf8_lossy(value.unwrap_or_default());
    text.lines().map(str::to_owned).collect()
}

impl Node {
    /// The file of a table holds these rows, of these bytes: rules look in them from the next line
    /// on. Call it when the log was replayed, and whenever the file has changed.
    pub fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>, bytes: Bytes) {
        if self.detect.file_digest(table) == Some(rows.digest()) {
            return;
        }
        let name = self.detect.table_name(table).to_string();
        self.files.put(&mut self.outbox, &name, (rows, bytes));
        self.detect.on_file(table, rows);
        let composed = self.commit_waiting();
        self.outputs.extend(composed);
        tracing::info!(table = name, rows = rows.rows().len(), "rules look in another content");
    }

    /// Puts the contents in force that a commit of the log brings.
    pub(super) fn replay_files(&mut self, changes: &[StateChange]) {
        for change in changes {
            match self.files.put_in_force(change) {
                Some((table, Some(rows))) => self.detect.on_file(table, rows),
                Some((table, None)) => {
                    let name = self.detect.table_name(table).to_string();
                    tracing::warn!(table = name, "what a file held is not known: rules lack it");
                    self.detect.forget_file(table);
                }
                None => {}
            }
        }
    }
}
