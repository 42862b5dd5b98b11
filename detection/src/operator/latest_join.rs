//! Join with the last row of a topic: each left row with the row of its key that came last.
//!
//! What is found is a function of the order in which rows of both sides come, so that whoever reads
//! one log again finds the same.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{Arriving, Emitted, Fate, Kept, Limits, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::over::{read_values, values_bytes, write_values};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::KeptRow;
use crate::output::Refusal;

/// Each left row with the right row of its key that came last.
#[derive(Debug)]
pub(crate) struct LatestJoin {
    pairing: Pairing,
    seed: u64,
    last: Keyed<Last>,
    header: Header,
    key: Vec<u8>,
}

/// The row of a key that came last.
#[derive(Debug, Clone)]
struct Last(KeptRow);

impl State for Last {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self(row) = self;
        write_values(row, writer);
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        read_values(reader).map(Self)
    }

    fn heap_bytes(&self) -> usize {
        values_bytes(&self.0)
    }
}

impl LatestJoin {
    pub(crate) fn new(pairing: Pairing, seed: u64) -> Self {
        let (last, header) = (Keyed::new(seed), Header::default());
        Self { pairing, seed, last, header, key: Vec::new() }
    }

    /// Whether limits let a row be the last of the key at hand: always when it is no larger than
    /// the row that it replaces.
    fn admit(&self, last: &Last, limits: &Limits) -> Result<(), Refusal> {
        match self.last.get(&self.key) {
            Some(before) if last.heap_bytes() <= before.heap_bytes() => Ok(()),
            Some(_) | None => self.last.admit(&self.key, limits),
        }
    }
}

impl Operate for LatestJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let side = Side::of(arriving.port);
        self.key.clear();
        let is_key = self.pairing.encode_key(side, arriving.row, &mut self.key)?;
        match side {
            Side::Left => {
                let last = if is_key { self.last.get(&self.key) } else { None };
                let pair = match last {
                    Some(Last(last)) => self.pairing.pair(side, arriving.row, last)?,
                    None => None,
                };
                let row = pair.or_else(|| self.pairing.alone(side, arriving.row));
                out.rows.extend(row.map(|row| arriving.becomes(row)));
                Ok(Fate::Passed)
            }
            // A key that is NULL is nobody's.
            Side::Right if !is_key => Ok(Fate::Taken),
            Side::Right => {
                let last = Last(Box::from(arriving.row));
                if let Err(refusal) = self.admit(&last, arriving.limits) {
                    // The row before it is not the last any more: none is found rather than a
                    // wrong one. A trial that fails refuses the row too.
                    self.last.remove(&self.key);
                    return Err(refusal);
                }
                if !arriving.is_trial() {
                    self.last.insert(GroupKey::new(&self.key), last);
                }
                Ok(Fate::Taken)
            }
        }
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.last.len(), bytes: self.last.bytes() }
    }

    fn shape(&self) -> String {
        format!("join with the last row, {}", self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        self.header.begin(&mut self.last, |_| {});
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.last, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.last = Keyed::read(self.seed, &(), reader)?;
        Ok(())
    }
}
