//! A file of which a part is not durable, and what a crash leaves of it.

use std::iter::repeat;

use headland_event::{ByteCount, Random, SeededRandom};

use super::Survival;
use crate::group::byte_count;

/// What a crash tears apart: a real disk writes whole sectors, in any order.
pub(super) const SECTOR_LEN: usize = 512;

/// What was written to a file, and what of it is durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Below it `bytes` and `durable` agree.
    pub(super) clean: usize,
    /// Size with what is allocated and was never written.
    pub(super) size: u64,
    pub(super) has_lost_writes: bool,
}

/// A change of a file that is not durable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unsynced {
    /// The sector that starts here was written.
    Sector(usize),
    /// The file was cut.
    Cut,
}

impl Content {
    /// A file that is durable as it is.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            durable: bytes.to_vec(),
            clean: bytes.len(),
            size: byte_count(bytes.len()).get(),
            has_lost_writes: false,
        }
    }

    pub(super) fn write(&mut self, start: usize, bytes: &[u8]) {
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(target) = self.bytes.get_mut(start..end) {
            target.copy_from_slice(bytes);
        }
        self.clean = self.clean.min(start);
        self.size = self.size.max(byte_count(end).get());
    }

    pub(super) fn sync(&mut self) {
        if self.has_lost_writes {
            return;
        }
        self.durable.truncate(self.clean);
        self.durable.extend_from_slice(self.bytes.get(self.clean..).unwrap_or_default());
        self.clean = self.bytes.len();
    }

    pub(super) fn crash(&mut self, survival: Survival, random: &mut SeededRandom) {
        let choice = match survival {
            Survival::Nothing => 0,
            Survival::Everything => 1,
            Survival::Seeded => random.below(4),
        };
        let written = byte_count(self.bytes.len()).get();
        match choice {
            0 => self.bytes.clone_from(&self.durable),
            1 => {}
            2 => {
                let clean = byte_count(self.clean).get();
                let kept = clean + random.below(written - clean + 1);
                self.bytes.truncate(ByteCount::new(kept).as_len());
            }
            _ => self.tear(random),
        }
        let allocated = if choice == 0 { 0 } else { self.size };
        self.size = allocated.max(byte_count(self.bytes.len()).get());
        self.durable.clone_from(&self.bytes);
        self.clean = self.bytes.len();
        self.has_lost_writes = false;
    }

    /// Every change since the last barrier: sectors written, and an end that was cut.
    pub(super) fn unsynced(&self) -> Vec<Unsynced> {
        let end = self.bytes.len();
        let sector = |side: &[u8], start: usize| {
            let mut sector = [0; SECTOR_LEN];
            // What stands behind a cut is the cut's business.
            let left = side.get(start..side.len().min(end)).unwrap_or_default();
            sector.iter_mut().zip(left).for_each(|(to, from)| *to = *from);
            sector
        };
        let first = self.clean / SECTOR_LEN * SECTOR_LEN;
        (first..end)
            .step_by(SECTOR_LEN)
            .filter(|start| sector(&self.bytes, *start) != sector(&self.durable, *start))
            .map(Unsynced::Sector)
            .chain((self.durable.len() > self.bytes.len()).then_some(Unsynced::Cut))
            .collect()
    }

    /// Crashes; each change since the last barrier survives if it is kept.
    pub(super) fn keep(&mut self, is_kept: &mut impl FnMut() -> bool) {
        for change in self.unsynced() {
            if is_kept() {
                continue;
            }
            match change {
                Unsynced::Sector(start) => {
                    let end = self.bytes.len().min(start + SECTOR_LEN);
                    let durable = self.durable.iter().copied().skip(start).chain(repeat(0));
                    let written = self.bytes.get_mut(start..end).unwrap_or_default();
                    written.iter_mut().zip(durable).for_each(|(to, from)| *to = from);
                }
                Unsynced::Cut => {
                    let cut = self.durable.get(self.bytes.len()..).unwrap_or_default();
                    self.bytes.extend_from_slice(cut);
                }
            }
        }
        self.size = self.size.max(byte_count(self.bytes.len()).get());
        self.durable.clone_from(&self.bytes);
        self.clean = self.bytes.len();
        self.has_lost_writes = false;
    }

    /// Takes each sector from either side, zeros where the durable side has none.
    fn tear(&mut self, random: &mut SeededRandom) {
        self.durable.resize(self.bytes.len(), 0);
        let first = self.clean / SECTOR_LEN;
        let sectors = self.bytes.chunks_mut(SECTOR_LEN).zip(self.durable.chunks(SECTOR_LEN));
        for (written, durable) in sectors.skip(first) {
            if random.below(2) == 0 {
                written.copy_from_slice(durable);
            }
        }
    }
}
