//! Window join: rows of two sides that lie in the same window, once the watermark closes it.

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, timestamp,
};
use crate::operator::cut::Header;
use crate::operator::group_key::{self, GroupKey};
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::RowList;
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::relation::WindowColumns;

/// Rows of two sides that lie in the same window.
#[derive(Debug)]
pub(crate) struct WindowJoin {
    pairing: Pairing,
    left: WindowColumns,
    right: WindowColumns,
    seed: u64,
    /// By window end, window start and keys.
    windows: Keyed<Sides>,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sides {
    pub(crate) left: RowList,
    pub(crate) right: RowList,
}

impl State for Sides {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self { left, right } = self;
        left.write(writer);
        right.write(writer);
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self { left: RowList::read(&(), reader)?, right: RowList::read(&(), reader)? })
    }

    fn heap_bytes(&self) -> usize {
        self.left.heap_bytes() + self.right.heap_bytes()
    }
}

impl WindowJoin {
    pub(crate) fn new(
        pairing: Pairing,
        left: WindowColumns,
        right: WindowColumns,
        seed: u64,
    ) -> Self {
        Self {
            pairing,
            left,
            right,
            seed,
            windows: Keyed::new(seed),
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    /// Joins the rows of one window and key; stops at the limit of work.
    fn join(&self, sides: &Sides, limits: &Limits, out: &mut Emitted) -> Result<(), Refusal> {
        let mut right_paired = vec![false; sides.right.len()];
        let mut looked_at = 0_usize;
        for (_, left) in sides.left.iter() {
            let mut is_paired = false;
            for ((_, right), right_paired) in sides.right.iter().zip(&mut right_paired) {
                looked_at += 1;
                limits.admit_work(looked_at)?;
                if let Some(pair) = self.pairing.pair(Side::Left, left, right)? {
                    is_paired = true;
                    *right_paired = true;
                    if self.pairing.gives_pairs() {
                        out.rows.push(Changed::insert(pair));
                    }
                }
            }
            let row = if is_paired {
                self.pairing.semi(left)
            } else {
                self.pairing.alone(Side::Left, left)
            };
            out.rows.extend(row.map(Changed::insert));
        }
        let right = sides.right.iter().zip(right_paired).filter(|(_, is_paired)| !is_paired);
        let alone = right.filter_map(|((_, row), _)| self.pairing.alone(Side::Right, row));
        out.rows.extend(alone.map(Changed::insert));
        Ok(())
    }
}

impl Operate for WindowJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let side = Side::of(arriving.port);
        let columns = match side {
            Side::Left => self.left,
            Side::Right => self.right,
        };
        let (start, end) = (arriving.time(columns.start)?, arriving.time(columns.end)?);
        if end.saturating_sub(1) <= self.progress {
            return Ok(Fate::Late(Some(EventTime::from_millis(end))));
        }
        self.key.clear();
        group_key::encode(&timestamp(end), &mut self.key);
        group_key::encode(&timestamp(start), &mut self.key);
        if !self.pairing.encode_key(side, arriving.row, &mut self.key)? {
            if !arriving.is_trial() {
                out.rows.extend(self.pairing.alone(side, arriving.row).map(Changed::insert));
            }
            return Ok(Fate::Taken);
        }
        self.windows.admit(&self.key, arriving.limits)?;
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        if self.windows.open(&self.key) {
            self.timers.set(end.saturating_sub(1), GroupKey::new(&self.key));
        }
        self.windows.update(&self.key, |sides| {
            let rows = match side {
                Side::Left => &mut sides.left,
                Side::Right => &mut sides.right,
            };
            if arriving.is_added() {
                rows.push(end, Box::from(arriving.row));
            } else if let Some(index) = rows.iter().position(|(_, row)| **row == *arriving.row) {
                rows.remove(index);
            }
        });
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, limits: &Limits, out: &mut Emitted) {
        self.progress = watermark;
        while let Some((_, key)) = self.timers.pop_due(watermark) {
            let Some(sides) = self.windows.remove(key.as_bytes()) else { continue };
            let before = out.rows.len();
            if let Err(refusal) = self.join(&sides, limits, out) {
                // A window gives its result wholly or not at all.
                out.rows.truncate(before);
                out.failures.push(refusal);
            }
        }
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.windows.len(), bytes: self.windows.bytes() + self.timers.bytes() }
    }

    fn shape(&self) -> String {
        format!("window join, {}", self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.windows, |writer| writer.i64(progress));
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.windows, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.windows = Keyed::read(self.seed, &(), reader)?;
        for (key, sides) in self.windows.iter() {
            let first = sides.left.get(0).or_else(|| sides.right.get(0));
            if let Some((end, _)) = first {
                self.timers.set(end.saturating_sub(1), key.clone());
            }
        }
        Ok(())
    }
}
