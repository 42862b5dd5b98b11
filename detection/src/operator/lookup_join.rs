//! Lookup join: each row with what somebody else finds for its key.
//!
//! The engine asks by an output and goes on; answers may come in any order, and rows leave in the
//! order they came. A watermark waits behind the rows that came before it.

use std::collections::VecDeque;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, LookupRequest, Operate,
};
use crate::operator::keyed::Progress;
use crate::operator::over::{read_values, values_bytes, write_values};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::KeptRow;
use crate::output::{Change, Refusal};
use crate::value::Value;

/// Each row with what is found for its key.
#[derive(Debug)]
pub(crate) struct LookupJoin {
    pairing: Pairing,
    /// Rows without an answer and those behind them, in order.
    waiting: VecDeque<Waiting>,
    next: u64,
    bytes: usize,
    /// The watermark that all rows in front of it have passed.
    passed: i64,
    cut: Option<Writer>,
}

#[derive(Debug)]
enum Waiting {
    Row { number: u64, change: Change, row: KeptRow, found: Option<Vec<Vec<Value>>> },
    Watermark(i64),
}

impl LookupJoin {
    pub(crate) const fn new(pairing: Pairing) -> Self {
        let waiting = VecDeque::new();
        Self { pairing, waiting, next: 0, bytes: 0, passed: i64::MIN, cut: None }
    }

    fn emit(&self, change: Change, row: &[Value], found: &[Vec<Value>], out: &mut Emitted) {
        let mut is_paired = false;
        for other in found {
            match self.pairing.pair(Side::Left, row, other) {
                Ok(Some(pair)) => {
                    is_paired = true;
                    out.rows.push(Changed::of(change, pair));
                }
                Ok(None) => {}
                Err(refusal) => out.failures.push(refusal),
            }
        }
        if !is_paired {
            let alone = self.pairing.alone(Side::Left, row);
            out.rows.extend(alone.map(|row| Changed::of(change, row)));
        }
    }

    /// Lets out what no longer waits for an answer.
    fn drain(&mut self, out: &mut Emitted) {
        loop {
            match self.waiting.front() {
                Some(Waiting::Row { found: None, .. }) | None => return,
                Some(Waiting::Row { .. } | Waiting::Watermark(_)) => {}
            }
            match self.waiting.pop_front() {
                Some(Waiting::Row { change, row, found, .. }) => {
                    self.bytes = self.bytes.saturating_sub(values_bytes(&row));
                    self.emit(change, &row, &found.unwrap_or_default(), out);
                }
                Some(Waiting::Watermark(watermark)) => self.passed = watermark,
                None => return,
            }
        }
    }
}

impl Operate for LookupJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let key = self.pairing.left_key(arriving.row)?;
        let is_null = key.iter().any(Value::is_null);
        if !is_null {
            arriving.limits.admit_key(self.waiting.len(), self.bytes)?;
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        if is_null {
            self.emit(arriving.change, arriving.row, &[], out);
            return Ok(Fate::Taken);
        }
        let number = self.next;
        self.next += 1;
        self.bytes += values_bytes(arriving.row);
        let row = Box::from(arriving.row);
        self.waiting.push_back(Waiting::Row { number, change: arriving.change, row, found: None });
        out.lookups.push(LookupRequest { number, key });
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, _out: &mut Emitted) {
        if self.waiting.is_empty() {
            self.passed = watermark;
        } else if let Some(Waiting::Watermark(last)) = self.waiting.back_mut() {
            *last = watermark;
        } else {
            self.waiting.push_back(Waiting::Watermark(watermark));
        }
    }

    fn on_lookup(&mut self, number: u64, found: Vec<Vec<Value>>, out: &mut Emitted) {
        let asked = self.waiting.iter_mut().find_map(|waiting| match waiting {
            Waiting::Row { number: asked, found, .. } if *asked == number => Some(found),
            Waiting::Row { .. } | Waiting::Watermark(_) => None,
        });
        if let Some(place) = asked {
            *place = Some(found);
        }
        self.drain(out);
    }

    fn watermark_behind(&self, _watermark: i64) -> i64 {
        self.passed
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.waiting.len(), bytes: self.bytes }
    }

    fn shape(&self) -> String {
        format!("lookup join, {}", self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        let mut writer = Writer::new();
        writer.u64(self.next);
        writer.i64(self.passed);
        writer.length(self.waiting.len());
        for waiting in &self.waiting {
            match waiting {
                Waiting::Watermark(watermark) => {
                    writer.u8(0);
                    writer.i64(*watermark);
                }
                Waiting::Row { number, change, row, found } => {
                    writer.u8(match change {
                        Change::Insert => 1,
                        Change::UpdateBefore => 2,
                        Change::UpdateAfter => 3,
                        Change::Delete => 4,
                    });
                    writer.u64(*number);
                    write_values(row, &mut writer);
                    writer.u8(u8::from(found.is_some()));
                    let found = found.as_deref().unwrap_or_default();
                    writer.length(found.len());
                    found.iter().for_each(|row| write_values(row, &mut writer));
                }
            }
        }
        self.cut = Some(writer);
    }

    fn poll_cut(&mut self, _budget: usize, writer: &mut Writer) -> Progress {
        if let Some(cut) = self.cut.take() {
            writer.raw(cut.as_slice());
        }
        Progress::Done
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.next = reader.u64("next")?;
        self.passed = reader.i64("passed")?;
        for _ in 0..reader.length("waiting", reader.remaining() / 9)? {
            let at = reader.position();
            let change = match reader.u8("waiting")? {
                0 => {
                    self.waiting.push_back(Waiting::Watermark(reader.i64("watermark")?));
                    continue;
                }
                1 => Change::Insert,
                2 => Change::UpdateBefore,
                3 => Change::UpdateAfter,
                4 => Change::Delete,
                found => {
                    let (field, found) = ("waiting", i64::from(found));
                    return Err(CodecError::Value { field, at, found, expected: "0 to 4" });
                }
            };
            let number = reader.u64("number")?;
            let row = read_values(reader)?;
            let is_answered = reader.u8("found")? != 0;
            let rows = reader.length("found", reader.remaining() / 4)?;
            let rows = (0..rows).map(|_| Ok(read_values(reader)?.into_vec()));
            let rows = rows.collect::<Result<Vec<_>, CodecError>>()?;
            self.bytes += values_bytes(&row);
            let found = is_answered.then_some(rows);
            self.waiting.push_back(Waiting::Row { number, change, row, found });
        }
        Ok(())
    }
}
