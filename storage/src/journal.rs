//! The writer of the journal: groups in, one barrier each.
//!
//! A file is written by one life of the process and by no other: opening never appends to a file
//! it found, and the first failure of a write or a barrier gives the file up. The next file says
//! which files the journal is made of and where they end, which voids whatever was not acknowledged
//! in them. Only then a closed file gets its directory.

use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, Incarnation, Random, SeededRandom};

use crate::allowance::Allowance;
use crate::chain::{Chain, ChainPlace, Member, file_name};
use crate::commit::{Appended, Commit, Priority};
use crate::frame::{FIRST_FRAME_AT, FileHeader, FileVersion, FrameHeader, Link, SEAL_LEN};
use crate::group::{Group, Place, byte_count};
use crate::identity;
use crate::index::{FileKind, Segment, Source};
use crate::log::AppendError;
use crate::lookup::Shared;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::offsets::{DraftOffsets, offsets_of, span_of};
use crate::place::{self, Standing};
use crate::reader::JournalReader;
use crate::reserve::Reserve;
use crate::summary::Directory;
use crate::witness::Witness;

/// Takes up what is there.
pub(crate) mod opening;
/// Puts cold files in the place of closed ones.
pub(crate) mod install;

/// What the journal needs to know to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JournalOptions {
    pub(crate) nonce: u64,
    pub(crate) file_bytes: ByteCount,
    pub(crate) reserve_bytes: ByteCount,
}

/// The file that is being written.
#[derive(Debug)]
struct Current<F> {
    file: F,
    name: Arc<str>,
    number: u64,
    nonce: u64,
    /// Acknowledged end; 0 until the opening is.
    end: u64,
    /// What the opening says that the journal is made of; empty afterwards.
    chain: Chain,
    /// Allocated bytes.
    room: u64,
    /// Most offsets that its header says it gives.
    allowance: Allowance,
    /// Offsets that it has given.
    given: u64,
    /// End when the last seal was written.
    sealed: u64,
}

impl<F: Clone> Current<F> {
    fn source(&self) -> Source<F> {
        let Self { file, name, nonce, end, .. } = self;
        let (file, name, kind) = (file.clone(), Arc::clone(name), FileKind::Journal);
        Source { file, name, nonce: *nonce, kind, end: *end }
    }

    /// Whether a group fits, and a seal behind it.
    const fn fits(&self, group: ByteCount) -> bool {
        self.end + group.get() + SEAL_LEN <= self.room
    }

    /// Whether the file may give so many more offsets.
    const fn allows(&self, offsets: u64) -> bool {
        self.given.saturating_add(offsets) <= self.allowance.offsets()
    }
}

/// The writer of one data directory's journal.
#[derive(Debug)]
pub(crate) struct Journal<M: Medium> {
    medium: M,
    file_bytes: ByteCount,
    incarnation: Incarnation,
    random: SeededRandom,
    shared: Shared<M::File>,
    group: Group,
    offsets: DraftOffsets,
    current: Option<Current<M::File>>,
    next_file: u64,
    reserve: Reserve,
    /// Nonce and end of the file that the witness tells of.
    vouched: (u64, u64),
}

impl<M: Medium> Journal<M> {
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The index and what is paged in of it.
    pub(crate) const fn shared(&self) -> &Shared<M::File> {
        &self.shared
    }

    /// Size of a file.
    pub(crate) const fn file_bytes(&self) -> ByteCount {
        self.file_bytes
    }

    pub(crate) fn reader(&self) -> JournalReader<M::File> {
        JournalReader::new(self.shared.clone())
    }

    fn last(&self) -> CommitNumber {
        self.shared.read().last()
    }

    /// The life after this one: nothing is written yet.
    pub(crate) fn next_life(&mut self) -> Incarnation {
        identity::after(self.incarnation, self.random.next_u64())
    }

    /// Goes on in another life, which is durable when this returns, and in another file.
    ///
    /// The header of a file says which life wrote it. If that were an earlier one than that of a
    /// commit in it, nobody would begin a new life when that commit is lost.
    pub(crate) fn begin_life(&mut self, life: Incarnation) -> Result<(), MediumError> {
        identity::write(&mut self.medium, life)?;
        self.incarnation = life;
        self.current = None;
        Ok(())
    }

    /// Says that the life is over; it goes on until the next opening.
    pub(crate) fn end_life(&mut self) -> Result<(), MediumError> {
        place::keep(&mut self.medium, Standing::Over)
    }

    /// Makes a group durable with one barrier; returns its numbers and its bytes.
    pub(crate) fn append(
        &mut self,
        priority: Priority,
        commits: &[Commit],
    ) -> Result<(Appended, ByteCount), AppendError> {
        self.offsets.check(&self.shared, commits)?;
        let size = self.group.encode(commits)?;
        let full = || AppendError::Full { needed: size };
        if !self.reserve.admits(&mut self.medium, priority).map_err(AppendError::Medium)? {
            return Err(full());
        }
        let first = self.last().after(1);
        self.make_durable(priority, commits)?;
        let last = self.last();
        debug_assert!(last.since(first) + 1 == byte_count(commits.len()).get(), "one number each");
        Ok((Appended { first, last }, size))
    }

    /// Takes the reserve back, which groups of normal priority have to wait for.
    pub(crate) fn readmit(&mut self) -> Result<(), AppendError> {
        let needed = self.reserve.size();
        match self.reserve.admits(&mut self.medium, Priority::Normal) {
            Ok(true) => Ok(()),
            Ok(false) => Err(AppendError::Full { needed }),
            Err(error) => Err(AppendError::Medium(error)),
        }
    }

    /// Writes the encoded group, in a new file if need be, and shows it to the readers.
    fn make_durable(&mut self, priority: Priority, commits: &[Commit]) -> Result<(), AppendError> {
        let (size, offsets) = (self.group.size(), offsets_of(commits));
        let has_room = |current: &Current<_>| current.fits(size) && current.allows(offsets);
        if self.current.as_ref().is_some_and(has_room) {
            return self.write_and_publish(commits);
        }
        let chain = self.shared.read().chain();
        self.make_durable_in_new_file(priority, chain, commits)
    }

    /// Begins a file with a chain, and makes the group durable with it.
    fn make_durable_in_new_file(
        &mut self,
        priority: Priority,
        chain: Chain,
        commits: &[Commit],
    ) -> Result<(), AppendError> {
        let size = self.group.size();
        let begun = self.begin_file(priority, chain, offsets_of(commits));
        begun.map_err(|error| refused(error, size))?;
        self.write_and_publish(commits)
    }

    fn write_and_publish(&mut self, commits: &[Commit]) -> Result<(), AppendError> {
        let next = self.last().after(1);
        match self.write(next) {
            Ok(end) => self.publish(commits, end),
            Err(error) => {
                self.give_up_file();
                return Err(refused(error, self.group.size()));
            }
        }
        Ok(())
    }

    /// Forgets the group: what is written next is a chain alone.
    fn clear_group(&mut self) {
        self.group.clear();
        self.offsets.clear();
    }

    /// Writes the group to the current file and waits until it is durable; returns where it ends.
    fn write(&mut self, next: CommitNumber) -> Result<u64, MediumError> {
        let Some(Current { file, number, nonce, end, chain, allowance, .. }) = &self.current else {
            debug_assert!(false, "a group is written to a file");
            return Ok(0);
        };
        let (nonce, durable) = (*nonce, *end);
        if durable > 0 {
            self.group.place(Place { nonce, position: durable, durable, first: next });
            file.write_at(ByteCount::new(durable), self.group.bytes())?;
            file.sync()?;
            return Ok(durable + self.group.size().get());
        }
        let frames = chain.encode(ChainPlace { nonce, position: FIRST_FRAME_AT, durable, next });
        let position = FIRST_FRAME_AT + byte_count(frames.len()).get();
        self.group.place(Place { nonce, position, durable, first: next });
        let opening_end = position + self.group.size().get();
        let header = FileHeader {
            version: FileVersion::Two,
            allowance: *allowance,
            number: *number,
            nonce,
            base: next,
            incarnation: self.incarnation,
            previous: chain.files.last().map_or(Link::NONE, Member::link),
            opening_end,
        };
        let opening = [&*header.encode(), &*frames, self.group.bytes()].concat();
        file.write_at(ByteCount::new(0), &opening)?;
        file.sync()?;
        self.medium.sync_names()?;
        Ok(opening_end)
    }

    /// Shows the durable group, which ends at `end`, to the readers.
    fn publish(&mut self, commits: &[Commit], end: u64) {
        let Some(current) = &mut self.current else { return };
        let is_new = current.end == 0;
        let mut void = None;
        current.end = end;
        current.given = current.given.saturating_add(offsets_of(commits));
        let mut index = self.shared.write();
        if is_new {
            current.chain = Chain::default();
            void = index.void_file();
            let source = Source { end: FIRST_FRAME_AT, ..current.source() };
            let base = index.last().after(1);
            let pushed = index.push(Segment::new(source, current.number, base));
            debug_assert!(pushed.is_ok(), "a file without commits contradicts no other");
        }
        let mut ids = self.offsets.ids();
        for (commit, frame) in commits.iter().zip(self.group.frames()) {
            let entries = commit.entries.iter().zip(ids.by_ref()).zip(frame.places());
            let spans = entries.map(|(((_, entry), id), place)| span_of(id, entry, place));
            index.commit((frame.position, frame.end), spans);
        }
        index.extend(end);
        drop(index);
        self.shared.committed().notify();
        if is_new {
            self.write_directories();
        }
        if let Some(name) = void {
            // The chain that is durable now does not name it. The next open tries again.
            drop(self.medium.remove(&name));
        }
    }

    /// Gives every closed file its directory that has none, and frees the room behind it.
    ///
    /// Nothing waits until a directory is durable: without it the next open reads the file.
    fn write_directories(&self) {
        let without: Vec<CommitNumber> =
            self.shared.read().closed().filter(|s| s.wants_directory()).map(|s| s.base).collect();
        for base in without {
            let index = self.shared.read();
            let Some(segment) = index.closed_at(base) else { continue };
            let Source { file, end, .. } = segment.source.clone();
            let Some(directory) = index.summary(segment).directory() else { continue };
            drop(index);
            let Directory { bytes, summary } = directory;
            // A failure costs room on the disk and memory for the points, and nothing else.
            if file.write_at(ByteCount::new(end), &bytes).is_ok() {
                drop(file.truncate(ByteCount::new(end + byte_count(bytes.len()).get())));
                self.shared.write().page_out(summary);
            } else {
                drop(file.truncate(ByteCount::new(end)));
            }
        }
    }

    /// Allocates the next file and makes it the current one; nothing is written to it yet, and
    /// first a group of so many offsets will be.
    fn begin_file(
        &mut self,
        priority: Priority,
        chain: Chain,
        offsets: u64,
    ) -> Result<(), MediumError> {
        let given_before = self.current.as_ref().map_or(0, |current| current.given);
        let allowance = Allowance::of_file(self.file_bytes, given_before, offsets);
        let needed = FIRST_FRAME_AT + chain.len() + self.group.size().get() + SEAL_LEN;
        let (number, name) = (self.next_file, file_name(FileKind::Journal, self.next_file));
        self.next_file += 1;
        let (file, room) = match self.allocate(&name, needed) {
            Err(MediumError::Full { .. })
                if self.reserve.release_for(&mut self.medium, priority)? =>
            {
                self.allocate(&name, needed)?
            }
            allocated => allocated?,
        };
        let nonce = self.next_nonce();
        let name = Arc::from(name);
        let (end, sealed, given) = (0, 0, 0);
        self.current =
            Some(Current { file, name, number, nonce, end, chain, room, allowance, given, sealed });
        Ok(())
    }

    /// A nonce that no other file has; 0 means that there is none.
    ///
    /// Files are told apart by it, so a seed that is used again must not give two files the same:
    /// one of them would pass for the other, and be removed.
    fn next_nonce(&mut self) -> u64 {
        let chain = self.shared.read().chain();
        loop {
            let nonce = self.random.next_u64();
            if nonce != 0 && chain.files.iter().all(|file| file.nonce != nonce) {
                return nonce;
            }
        }
    }

    /// Creates a file as large as configured, or smaller when the disk is nearly full.
    fn allocate(&mut self, name: &str, needed: u64) -> Result<(M::File, u64), MediumError> {
        let mut room = self.file_bytes.get().max(needed);
        loop {
            match self.medium.create(name, ByteCount::new(room)) {
                Ok(file) => return Ok((file, room)),
                Err(MediumError::Full { .. }) if room > needed => room = (room / 2).max(needed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves the current file for good after a failure; only what was acknowledged counts.
    fn give_up_file(&mut self) {
        let Some(Current { file, name, end, .. }) = self.current.take() else { return };
        // Both are attempts to spare the next open some work. Whatever stays is void: the next
        // file names this one's acknowledged end, or does not name this one at all.
        if end == 0 {
            drop(self.medium.remove(&name));
        } else {
            drop(file.truncate(ByteCount::new(end)));
        }
    }

    /// Records that everything acknowledged is durable.
    pub(crate) fn seal(&mut self) -> Result<(), AppendError> {
        let commit = self.last().after(1);
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.end == current.sealed {
            return Ok(());
        }
        let header = FrameHeader::seal(current.nonce, current.end, commit);
        let written = current
            .file
            .write_at(ByteCount::new(current.end), &header.encode())
            .and_then(|()| current.file.sync());
        if let Err(error) = written {
            self.give_up_file();
            return Err(refused(error, ByteCount::new(SEAL_LEN)));
        }
        current.end += SEAL_LEN;
        current.sealed = current.end;
        self.shared.write().extend(current.end);
        Ok(())
    }

    /// Says beside the journal what it is and how far it is durable, if that has changed.
    ///
    /// # Errors
    /// [`MediumError`]; the witness before is as good as it was.
    pub(crate) fn vouch(&mut self) -> Result<(), MediumError> {
        let index = self.shared.read();
        let Some(Member { number, nonce, base, end, .. }) = index.newest() else { return Ok(()) };
        if self.vouched == (nonce, end) {
            return Ok(());
        }
        let (incarnation, next, mut chain) =
            (self.incarnation, index.last().after(1), index.chain());
        drop(index);
        chain.files.retain(|file| file.nonce != nonce);
        let witness = Witness { number, nonce, base, incarnation, end, next, chain };
        witness.save(&mut self.medium)?;
        self.vouched = (nonce, end);
        Ok(())
    }

    /// Seals the journal and frees what was allocated ahead.
    pub(crate) fn close(mut self) -> Result<(), AppendError> {
        self.seal()?;
        if let Some(Current { file, end, .. }) = &self.current {
            let cut = file.truncate(ByteCount::new(*end)).and_then(|()| file.sync());
            cut.map_err(AppendError::Medium)?;
        }
        // Without it damage to the seal would pass for an unfinished write, and nothing else.
        drop(self.vouch());
        Ok(())
    }
}

fn refused(error: MediumError, needed: ByteCount) -> AppendError {
    match error {
        MediumError::Full { .. } => AppendError::Full { needed },
        error @ MediumError::Io { .. } => AppendError::Medium(error),
    }
}
