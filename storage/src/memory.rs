//! A disk in memory that loses power, and a store on it: the same bytes, the same recovery.
//!
//! The disk models what a real one promises and no more. Written bytes are durable after a barrier
//! on their file, names after a barrier on the names; what was not made durable may survive a
//! crash, whole, in part or not at all. A barrier that failed has lost its bytes for good although
//! reads still show them and the next barrier succeeds, which is what Linux does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use headland_event::{ByteCount, Random, SeededRandom};

use crate::fault::OpenError;
use crate::group::byte_count;
use crate::medium::{Medium, MediumError, MediumFile, Operation};
use crate::place::Place;
use crate::state::MemoryState;
use crate::store::{OpenOptions, Store};

/// A file of which a part is not durable.
mod content;

use content::Content;

/// A store on a [`MemoryDisk`].
pub type MemoryStore = Store<MemoryMedium, MemoryState>;

impl MemoryStore {
    /// Opens the store on a disk; a store that still has the disk open fails from here on.
    ///
    /// # Errors
    /// [`OpenError`] as on a real disk.
    pub fn open(disk: &MemoryDisk, options: OpenOptions) -> Result<Self, OpenError> {
        Self::start(disk.attach(), options, |_| Ok(MemoryState::default()))
    }
}

/// How much of what was not made durable is there after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything, as after the death of the process alone.
    Everything,
    /// For each file and name by the disk's seed: nothing, everything, the bytes up to one of
    /// them, or some sectors.
    Seeded,
}

/// A disk that outlives the stores on it. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Clone)]
struct Disk {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_file: u64,
    random: SeededRandom,
    /// Which opening of the disk is the valid one.
    generation: u64,
    syncs: u64,
    capacity: Option<u64>,
    syncs_until_failure: Option<u64>,
    /// Bytes and operations left until the power fails.
    power: Option<u64>,
    /// Where its directory lies.
    place: u64,
}

impl MemoryDisk {
    /// An empty disk of unlimited size; `seed` decides what seeded crashes leave.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next_file: 1,
            random: SeededRandom::new(seed),
            generation: 0,
            syncs: 0,
            capacity: None,
            syncs_until_failure: None,
            power: None,
            place: 1,
        })))
    }

    /// Takes the power away and gives it back: handles die, faults end, and of what was not made
    /// durable there is left what `survival` says.
    pub fn crash(&self, survival: Survival) {
        let mut disk = self.lock();
        let Disk { files, names, durable_names, random, .. } = &mut *disk;
        let mut left = BTreeMap::new();
        for name in names.keys().chain(durable_names.keys()) {
            let side = match survival {
                Survival::Nothing => &*durable_names,
                Survival::Everything => &*names,
                Survival::Seeded if random.below(2) == 0 => &*durable_names,
                Survival::Seeded => &*names,
            };
            if !left.contains_key(name) {
                left.insert(name.clone(), side.get(name).copied());
            }
        }
        let left: BTreeMap<String, u64> =
            left.into_iter().filter_map(|(name, id)| id.map(|id| (name, id))).collect();
        files.retain(|id, _| left.values().any(|kept| kept == id));
        for content in files.values_mut() {
            content.crash(survival, random);
        }
        names.clone_from(&left);
        *durable_names = left;
        disk.power_up();
    }

    /// How many changes are not durable: names, and sectors and ends of files.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let disk = self.lock();
        let files = disk.files.iter().filter(|(id, _)| disk.has_name(**id));
        disk.unsynced_names().len()
            + files.map(|(_, content)| content.unsynced().len()).sum::<usize>()
    }

    /// As [`Self::crash`], but `keep` says of each of the [`Self::unsynced`] changes whether it is
    /// there afterwards; they are numbered from 0, in the same order for the same changes.
    pub fn crash_keeping(&self, mut keep: impl FnMut(usize) -> bool) {
        let mut disk = self.lock();
        let mut numbers = 0..;
        let mut is_kept = || numbers.next().is_some_and(&mut keep);
        let kept: Vec<String> = disk.unsynced_names().into_iter().filter(|_| is_kept()).collect();
        let ids: Vec<u64> = disk.files.keys().copied().filter(|id| disk.has_name(*id)).collect();
        let Disk { files, names, durable_names, .. } = &mut *disk;
        for id in ids {
            if let Some(content) = files.get_mut(&id) {
                content.keep(&mut is_kept);
            }
        }
        for name in kept {
            match names.get(&name) {
                Some(id) => durable_names.insert(name, *id),
                None => durable_names.remove(&name),
            };
        }
        names.clone_from(durable_names);
        files.retain(|id, _| names.values().any(|kept| kept == id));
        disk.power_up();
    }

    /// A disk of its own that holds what this one does, durable or not; no store has it open.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Its directory lies elsewhere from now on, as that of a copy does.
    pub fn move_to(&self, place: u64) {
        self.lock().place = place;
    }

    /// Makes the `nth` barrier on a file from now on fail, 1 being the next one.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().syncs_until_failure = Some(nth);
    }

    /// Takes the power away after so many more bytes written; every other change counts as one.
    pub fn cut_power_after(&self, bytes: ByteCount) {
        self.lock().power = Some(bytes.get());
    }

    /// Limits the disk, or frees it of its limit; what is there already stays.
    pub fn set_capacity(&self, capacity: Option<ByteCount>) {
        self.lock().capacity = capacity.map(ByteCount::get);
    }

    /// How many bytes are allocated.
    #[must_use]
    pub fn used(&self) -> ByteCount {
        ByteCount::new(self.lock().used())
    }

    /// How many barriers on files have succeeded or failed so far.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.lock().syncs
    }

    /// Names of all files, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// What was written to a file, allocated zeros behind it left out; `None` for an unknown one.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Bytes> {
        let disk = self.lock();
        let content = disk.names.get(name).and_then(|id| disk.files.get(id))?;
        Some(Bytes::copy_from_slice(&content.bytes))
    }

    /// Puts a durable file on the disk, in place of one of that name.
    pub fn set_content(&self, name: &str, bytes: &[u8]) {
        self.lock().put(name, bytes);
    }

    /// Flips a bit of a written byte, durably and under open handles too: damage at rest. Nothing
    /// happens where nothing was written.
    pub fn flip_bit(&self, name: &str, position: ByteCount, bit: u8) {
        let mut disk = self.lock();
        let Some(id) = disk.names.get(name).copied() else { return };
        let Some(content) = disk.files.get_mut(&id) else { return };
        for side in [&mut content.bytes, &mut content.durable] {
            if let Some(byte) = side.get_mut(position.as_len()) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Cuts a file short, durably and under open handles too.
    pub fn cut(&self, name: &str, length: ByteCount) {
        let mut disk = self.lock();
        let Some(id) = disk.names.get(name).copied() else { return };
        let Some(content) = disk.files.get_mut(&id) else { return };
        content.bytes.truncate(length.as_len());
        *content = Content::durable(&content.bytes);
    }

    /// Takes a file away, durably.
    pub fn remove(&self, name: &str) {
        let mut disk = self.lock();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    /// Opens the disk; whoever had it open before fails from here on.
    #[must_use]
    pub fn attach(&self) -> MemoryMedium {
        let mut disk = self.lock();
        disk.generation += 1;
        MemoryMedium { disk: self.clone(), generation: disk.generation }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic under the lock is a failed test; what it leaves is as good as after a crash.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Ends what a crash ends: handles and faults.
    const fn power_up(&mut self) {
        self.generation += 1;
        self.syncs_until_failure = None;
        self.power = None;
    }

    /// Names that were added, removed or given to another file since the last barrier on names.
    fn unsynced_names(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.names.keys().chain(self.durable_names.keys()).collect();
        let is_changed = |name: &&String| self.names.get(*name) != self.durable_names.get(*name);
        all.into_iter().filter(is_changed).cloned().collect()
    }

    fn has_name(&self, id: u64) -> bool {
        self.names.values().chain(self.durable_names.values()).any(|named| *named == id)
    }

    fn used(&self) -> u64 {
        let size = |id| self.files.get(id).map_or(0, |content| content.size);
        self.names.values().map(size).sum()
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        let content = Content::durable(bytes);
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, content);
        self.names.insert(name.to_owned(), id);
        self.durable_names.insert(name.to_owned(), id);
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        self.capacity.is_none_or(|capacity| self.used().saturating_add(bytes) <= capacity)
    }

    /// Takes up to `wanted` units of what is left of the power; less means that it fails now.
    fn spend(&mut self, wanted: u64) -> u64 {
        let Some(power) = &mut self.power else { return wanted };
        let spent = wanted.min(*power);
        *power -= spent;
        spent
    }
}

/// One opening of a [`MemoryDisk`].
#[derive(Debug, Clone)]
pub struct MemoryMedium {
    disk: MemoryDisk,
    generation: u64,
}

/// An open file of a [`MemoryDisk`].
#[derive(Debug, Clone)]
pub struct MemoryFile {
    disk: MemoryDisk,
    generation: u64,
    id: u64,
    name: String,
}

fn failure(operation: Operation, name: &str, kind: io::ErrorKind) -> MediumError {
    MediumError::new(operation, name, io::Error::from(kind))
}

impl MemoryMedium {
    /// The disk, if this opening is still the valid one and the power is on.
    fn disk(&self, operation: Operation, name: &str) -> Result<MutexGuard<'_, Disk>, MediumError> {
        alive(&self.disk, self.generation, operation, name)
    }

    fn handle(&self, name: &str, id: u64) -> MemoryFile {
        let (disk, generation) = (self.disk.clone(), self.generation);
        MemoryFile { disk, generation, id, name: name.to_owned() }
    }
}

fn alive<'a>(
    disk: &'a MemoryDisk,
    generation: u64,
    operation: Operation,
    name: &str,
) -> Result<MutexGuard<'a, Disk>, MediumError> {
    let disk = disk.lock();
    if disk.generation == generation && disk.power != Some(0) {
        Ok(disk)
    } else {
        Err(failure(operation, name, io::ErrorKind::NotConnected))
    }
}

impl Medium for MemoryMedium {
    type File = MemoryFile;

    fn list(&self) -> Result<Vec<String>, MediumError> {
        Ok(self.disk(Operation::List, "")?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> Result<MemoryFile, MediumError> {
        let id = self.disk(Operation::Open, name)?.names.get(name).copied();
        id.map(|id| self.handle(name, id))
            .ok_or_else(|| failure(Operation::Open, name, io::ErrorKind::NotFound))
    }

    fn create(&mut self, name: &str, size: ByteCount) -> Result<MemoryFile, MediumError> {
        let operation = Operation::Create;
        let mut disk = self.disk(operation, name)?;
        if disk.names.contains_key(name) {
            return Err(failure(operation, name, io::ErrorKind::AlreadyExists));
        }
        if !disk.has_room_for(size.get()) {
            return Err(failure(operation, name, io::ErrorKind::StorageFull));
        }
        disk.spend(1);
        let id = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(id, Content { size: size.get(), ..Content::default() });
        disk.names.insert(name.to_owned(), id);
        drop(disk);
        Ok(self.handle(name, id))
    }

    fn remove(&mut self, name: &str) -> Result<(), MediumError> {
        let mut disk = self.disk(Operation::Name, name)?;
        disk.spend(1);
        let removed = disk.names.remove(name);
        removed.map(drop).ok_or_else(|| failure(Operation::Name, name, io::ErrorKind::NotFound))
    }

    fn sync_names(&mut self) -> Result<(), MediumError> {
        let mut disk = self.disk(Operation::Name, "")?;
        disk.spend(1);
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Option<Bytes>, MediumError> {
        drop(self.disk(Operation::Read, name)?);
        Ok(self.disk.content(name))
    }

    fn replace(&mut self, name: &str, content: &[u8]) -> Result<(), MediumError> {
        let mut disk = self.disk(Operation::Name, name)?;
        let size = byte_count(content.len()).get();
        if !disk.has_room_for(size) {
            return Err(failure(Operation::Name, name, io::ErrorKind::StorageFull));
        }
        if disk.spend(size) < size {
            return Err(failure(Operation::Name, name, io::ErrorKind::NotConnected));
        }
        disk.put(name, content);
        Ok(())
    }

    fn place(&self) -> Result<Place, MediumError> {
        let file = Some(self.disk(Operation::Read, "place")?.place);
        Ok(Place { file, ..Place::default() })
    }
}

impl MemoryFile {
    fn with<T>(
        &self,
        operation: Operation,
        action: impl FnOnce(&mut Disk) -> Result<T, io::ErrorKind>,
    ) -> Result<T, MediumError> {
        let mut disk = alive(&self.disk, self.generation, operation, &self.name)?;
        action(&mut disk).map_err(|kind| failure(operation, &self.name, kind))
    }
}

impl MediumFile for MemoryFile {
    fn size(&self) -> Result<ByteCount, MediumError> {
        self.with(Operation::Resize, |disk| {
            let content = disk.files.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
            Ok(ByteCount::new(content.size))
        })
    }

    fn read_at(&self, position: ByteCount, buffer: &mut [u8]) -> Result<(), MediumError> {
        self.with(Operation::Read, |disk| {
            let content = disk.files.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
            let end = position.get().saturating_add(byte_count(buffer.len()).get());
            if end > content.size {
                return Err(io::ErrorKind::UnexpectedEof);
            }
            let written = content.bytes.get(position.as_len()..).unwrap_or_default();
            let (head, zeros) = buffer.split_at_mut(written.len().min(buffer.len()));
            head.copy_from_slice(written.get(..head.len()).unwrap_or_default());
            zeros.fill(0);
            Ok(())
        })
    }

    fn write_at(&self, position: ByteCount, bytes: &[u8]) -> Result<(), MediumError> {
        self.with(Operation::Write, |disk| {
            let end = position.get().saturating_add(byte_count(bytes.len()).get());
            let size = disk.files.get(&self.id).ok_or(io::ErrorKind::NotFound)?.size;
            if !disk.has_room_for(end.saturating_sub(size)) {
                return Err(io::ErrorKind::StorageFull);
            }
            let spent = ByteCount::new(disk.spend(byte_count(bytes.len()).get())).as_len();
            let content = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            content.write(position.as_len(), bytes.get(..spent).unwrap_or_default());
            if spent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::NotConnected) }
        })
    }

    fn sync(&self) -> Result<(), MediumError> {
        self.with(Operation::Sync, |disk| {
            disk.spend(1);
            disk.syncs += 1;
            let fails = match &mut disk.syncs_until_failure {
                None => false,
                Some(left) => {
                    *left = left.saturating_sub(1);
                    *left == 0
                }
            };
            if fails {
                disk.syncs_until_failure = None;
            }
            let content = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            if fails {
                content.has_lost_writes = true;
                return Err(io::ErrorKind::Other);
            }
            content.sync();
            Ok(())
        })
    }

    fn truncate(&self, size: ByteCount) -> Result<(), MediumError> {
        self.with(Operation::Resize, |disk| {
            disk.spend(1);
            let content = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            content.bytes.truncate(size.as_len());
            content.clean = content.clean.min(content.bytes.len());
            content.size = size.get();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::content::SECTOR_LEN;
    use super::*;
    use crate::conformance::{self, Backend, Checked};

    struct Memory {
        disk: MemoryDisk,
        opened: u64,
    }

    impl Backend for Memory {
        type Store = MemoryStore;

        fn open(&mut self) -> Result<MemoryStore, Box<dyn Error>> {
            self.opened += 1;
            let file_bytes = ByteCount::new(1_000);
            let options = OpenOptions { file_bytes, ..OpenOptions::new(self.opened) };
            Ok(MemoryStore::open(&self.disk, options)?)
        }
    }

    #[test]
    fn memory_passes_the_conformance_suite() -> Checked {
        conformance::check(|| Memory { disk: MemoryDisk::new(1), opened: 0 })
    }

    #[test]
    fn bytes_of_a_failed_barrier_are_lost_although_the_next_one_succeeds() {
        let disk = MemoryDisk::new(1);
        let mut medium = disk.attach();
        let file = medium.create("a", ByteCount::new(4)).unwrap();
        medium.sync_names().unwrap();
        file.write_at(ByteCount::new(0), b"lost").unwrap();
        disk.fail_sync(1);

        let barriers = (file.sync().is_ok(), file.sync().is_ok());
        let shown = disk.content("a");
        disk.crash(Survival::Nothing);

        assert_eq!(barriers, (false, true));
        assert_eq!(shown.as_deref(), Some(&b"lost"[..]));
        assert_eq!(disk.content("a").as_deref(), Some(&b""[..]));
    }

    /// A disk with a durable file `a` of two sectors, both overwritten since, and a new name `b`.
    fn changed() -> MemoryDisk {
        let disk = MemoryDisk::new(1);
        disk.set_content("a", &[1; 2 * SECTOR_LEN]);
        let mut medium = disk.attach();
        medium.create("b", ByteCount::new(0)).unwrap();
        let file = medium.open("a").unwrap();
        file.write_at(ByteCount::new(0), &[2; 2 * SECTOR_LEN]).unwrap();
        disk
    }

    #[test]
    fn each_unsynced_name_and_sector_survives_by_itself() {
        let disk = changed();
        assert_eq!(disk.unsynced(), 3);

        for mask in 0..8_usize {
            let fork = disk.fork();
            fork.crash_keeping(|number| mask >> number & 1 == 1);

            let content = fork.content("a").unwrap();
            let kept =
                (fork.names().contains(&"b".to_owned()), content[0] == 2, content[SECTOR_LEN] == 2);
            assert_eq!(kept, (mask & 1 == 1, mask & 2 == 2, mask & 4 == 4));
            assert_eq!(fork.unsynced(), 0);
        }
        assert_eq!(disk.unsynced(), 3, "a fork is a disk of its own");
    }

    #[test]
    fn a_cut_that_is_not_durable_may_come_undone() {
        let disk = MemoryDisk::new(1);
        disk.set_content("a", b"whole");
        disk.attach().open("a").unwrap().truncate(ByteCount::new(2)).unwrap();
        let (kept, undone) = (disk.fork(), disk.fork());

        kept.crash_keeping(|_| true);
        undone.crash_keeping(|_| false);

        assert_eq!(disk.unsynced(), 1);
        assert_eq!(kept.content("a").as_deref(), Some(&b"wh"[..]));
        assert_eq!(undone.content("a").as_deref(), Some(&b"whole"[..]));
    }

    #[test]
    fn a_handle_from_before_a_crash_is_dead() {
        let disk = MemoryDisk::new(1);
        let mut medium = disk.attach();
        let file = medium.create("a", ByteCount::new(0)).unwrap();

        disk.crash(Survival::Everything);

        assert!(matches!(file.size(), Err(MediumError::Io { .. })));
    }
}
