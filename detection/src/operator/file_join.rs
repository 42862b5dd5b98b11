//! Join with the rows of a file: each row with those of its key, at once.

use std::sync::Arc;

use headland_event::KeyMap;
use headland_event::keymap::key_map;

use crate::file_rows::FileRows;
use crate::operator::arriving::{Arriving, Emitted, Fate, Operate};
use crate::operator::pairing::{Pairing, Side};
use crate::output::Refusal;
use crate::table::TableId;

/// Each row with the rows of a file that have its key; keeps nothing of its own.
#[derive(Debug)]
pub(crate) struct FileJoin {
    pairing: Pairing,
    table: TableId,
    seed: u64,
    file: Option<Indexed>,
    key: Vec<u8>,
}

/// The rows of a file, and which have a key.
#[derive(Debug)]
struct Indexed {
    rows: Arc<FileRows>,
    by_key: KeyMap<Box<[u8]>, Vec<usize>>,
}

impl FileJoin {
    pub(crate) const fn new(pairing: Pairing, table: TableId, seed: u64) -> Self {
        Self { pairing, table, seed, file: None, key: Vec::new() }
    }
}

impl Operate for FileJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let Some(Indexed { rows, by_key }) = &self.file else { return Err(Refusal::NoTable) };
        self.key.clear();
        let is_key = self.pairing.encode_key(Side::Left, arriving.row, &mut self.key)?;
        let found = if is_key { by_key.get(&*self.key) } else { None };
        let found = found.map(Vec::as_slice).unwrap_or_default();
        arriving.limits.admit_work(found.len())?;
        let before = out.rows.len();
        for other in found.iter().filter_map(|index| rows.rows().get(*index)) {
            let pair = self.pairing.pair(Side::Left, arriving.row, other.values())?;
            out.rows.extend(pair.map(|row| arriving.becomes(row)));
        }
        if out.rows.len() == before {
            let alone = self.pairing.alone(Side::Left, arriving.row);
            out.rows.extend(alone.map(|row| arriving.becomes(row)));
        }
        Ok(Fate::Passed)
    }

    fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>) {
        if table != self.table {
            return;
        }
        let mut by_key: KeyMap<Box<[u8]>, Vec<usize>> = key_map(self.seed);
        for (index, row) in rows.rows().iter().enumerate() {
            self.key.clear();
            let is_key = self.pairing.encode_key(Side::Right, row.values(), &mut self.key);
            debug_assert!(is_key.is_ok(), "keys of a file are columns of it");
            if is_key == Ok(true) {
                by_key.entry(Box::from(&*self.key)).or_default().push(index);
            }
        }
        self.file = Some(Indexed { rows: Arc::clone(rows), by_key });
    }

    fn forget_file(&mut self, table: TableId) {
        self.file.take_if(|_| table == self.table);
    }

    fn shape(&self) -> String {
        format!("join with a file, {}", self.pairing.shape())
    }
}
