//! Regular join: every pair of rows of two sides, with updates; both sides are kept.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Operate};
use crate::operator::cut::Header;
use crate::operator::keyed::{Keyed, Progress};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::KeptRow;
use crate::operator::window_join::Sides;
use crate::output::{Change, Refusal};
use crate::value::Value;

/// Every pair of rows of two sides. The number of a kept row is how many partners it has.
#[derive(Debug)]
pub(crate) struct RegularJoin {
    pairing: Pairing,
    seed: u64,
    keys: Keyed<Sides>,
    header: Header,
    key: Vec<u8>,
}

impl RegularJoin {
    pub(crate) fn new(pairing: Pairing, seed: u64) -> Self {
        let (keys, header, key) = (Keyed::new(seed), Header::default(), Vec::new());
        Self { pairing, seed, keys, header, key }
    }

    /// The places and rows of the other side that a row goes with.
    fn partners(
        &self,
        side: Side,
        arriving: &Arriving<'_>,
    ) -> Result<Vec<(usize, Vec<Value>)>, Refusal> {
        let Some(sides) = self.keys.get(&self.key) else { return Ok(Vec::new()) };
        let others = match side {
            Side::Left => &sides.right,
            Side::Right => &sides.left,
        };
        arriving.limits.admit_work(others.len())?;
        let mut partners = Vec::new();
        for (index, (_, other)) in others.iter().enumerate() {
            if let Some(pair) = self.pairing.pair(side, arriving.row, other)? {
                partners.push((index, pair));
            }
        }
        Ok(partners)
    }

    /// What a row of the other side says when it gains its first or loses its last partner.
    fn turn(&self, side: Side, row: &[Value], turn: Turn, out: &mut Emitted) {
        let alone = self.pairing.alone(side, row);
        let semi = if side == Side::Left { self.pairing.semi(row) } else { None };
        let (gone, come) = match turn {
            Turn::FirstPartner => (alone, semi),
            Turn::NoPartner => (semi, alone),
        };
        out.rows.extend(gone.map(|row| Changed::of(Change::Delete, row)));
        out.rows.extend(come.map(Changed::insert));
    }

    /// Counts a row that came or went with each of its partners; gives those for which it was the
    /// first or the last.
    fn count_partners(
        &mut self,
        side: Side,
        partners: &[(usize, Vec<Value>)],
        turn: Turn,
    ) -> Vec<KeptRow> {
        let (by, at) = match turn {
            Turn::FirstPartner => (1, 1),
            Turn::NoPartner => (-1, 0),
        };
        let turned = self.keys.update(&self.key, |sides| {
            let others = match side {
                Side::Left => &mut sides.right,
                Side::Right => &mut sides.left,
            };
            let mut turned = Vec::new();
            let mut places = partners.iter().map(|(index, _)| *index).peekable();
            for (index, number) in others.numbers_mut().enumerate() {
                if places.next_if_eq(&index).is_some() {
                    *number += by;
                    if *number == at {
                        turned.push(index);
                    }
                }
            }
            let rows = turned.iter().filter_map(|index| others.get(*index));
            rows.map(|(_, row)| row.clone()).collect()
        });
        turned.unwrap_or_default()
    }

    /// Puts a row in with its number of partners, or takes an equal one out.
    fn keep(&mut self, side: Side, arriving: &Arriving<'_>, partners: usize) -> bool {
        let number = i64::try_from(partners).unwrap_or(i64::MAX);
        let kept = self.keys.update(&self.key, |sides| {
            let rows = match side {
                Side::Left => &mut sides.left,
                Side::Right => &mut sides.right,
            };
            if arriving.is_added() {
                rows.push(number, Box::from(arriving.row));
                return true;
            }
            match rows.iter().position(|(_, row)| **row == *arriving.row) {
                Some(index) => rows.remove(index).is_some(),
                None => false,
            }
        });
        kept == Some(true)
    }
}

/// How a row's partners change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    FirstPartner,
    NoPartner,
}

impl Operate for RegularJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let side = Side::of(arriving.port);
        self.key.clear();
        if !self.pairing.encode_key(side, arriving.row, &mut self.key)? {
            if arriving.is_trial() {
                return Ok(Fate::Taken);
            }
            let alone = self.pairing.alone(side, arriving.row);
            out.rows.extend(alone.map(|row| Changed::of(arriving.change, row)));
            return Ok(Fate::Taken);
        }
        let partners = self.partners(side, arriving)?;
        if arriving.is_added() {
            self.keys.admit(&self.key, arriving.limits)?;
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        if arriving.is_added() {
            self.keys.open(&self.key);
        }
        if !self.keep(side, arriving, partners.len()) {
            return Ok(Fate::Taken);
        }
        let turn = if arriving.is_added() { Turn::FirstPartner } else { Turn::NoPartner };
        let turned = self.count_partners(side, &partners, turn);
        let has_partner = !partners.is_empty();
        if turn == Turn::FirstPartner {
            turned.iter().for_each(|row| self.turn(side.other(), row, turn, out));
        }
        let own = arriving.change;
        if self.pairing.gives_pairs() {
            out.rows.extend(partners.into_iter().map(|(_, row)| Changed::of(own, row)));
        }
        if turn == Turn::NoPartner {
            turned.iter().for_each(|row| self.turn(side.other(), row, turn, out));
        }
        let alone = match (has_partner, side) {
            (false, side) => self.pairing.alone(side, arriving.row),
            (true, Side::Left) => self.pairing.semi(arriving.row),
            (true, Side::Right) => None,
        };
        out.rows.extend(alone.map(|row| Changed::of(own, row)));
        if self.keys.get(&self.key).is_some_and(|s| s.left.is_empty() && s.right.is_empty()) {
            self.keys.remove(&self.key);
        }
        Ok(Fate::Taken)
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.keys.len(), bytes: self.keys.bytes() }
    }

    fn shape(&self) -> String {
        format!("regular join, {}", self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        self.header.begin(&mut self.keys, |_| {});
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.keys, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.keys = Keyed::read(self.seed, &(), reader)?;
        Ok(())
    }
}
