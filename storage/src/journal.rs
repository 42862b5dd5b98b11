//! The writer of the journal: groups in, one barrier each.
//!
//! A file is written by one life of the process and by no other: opening never appends to a file
//! it found, and the first failure of a write or a barrier gives the file up. The next file names
//! where its predecessor ends, which voids whatever was not acknowledged there.

use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, Incarnation, Random, SeededRandom};

use crate::commit::{Appended, Commit, Priority};
use crate::fault::OpenError;
use crate::frame::{FIRST_FRAME_AT, FileHeader, FrameHeader, FrameKind, Link, SEAL_LEN};
use crate::group::{Group, Place, byte_count};
use crate::identity;
use crate::index::{FileKind, Segment, Source};
use crate::log::AppendError;
use crate::lookup::Shared;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::offsets::{DraftOffsets, span_of, spans_of};
use crate::reader::JournalReader;
use crate::recovery::{InDoubt, OpenReport, Recovery, file_name, recover};
use crate::reserve::Reserve;

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
    /// Acknowledged end; 0 until the first group is.
    end: u64,
    /// Allocated bytes.
    room: u64,
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
        let end = if self.end == 0 { FIRST_FRAME_AT } else { self.end };
        end + group.get() + SEAL_LEN <= self.room
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
    /// What the next file names as its predecessor while there is no current one.
    previous: Link,
    /// The file before the current one and its end, until the current one has a durable group.
    retired: Option<(M::File, u64)>,
    next_file: u64,
    reserve: Reserve,
}

impl<M: Medium> Journal<M> {
    /// Recovers what is there and makes what is in doubt durable.
    pub(crate) fn open(
        mut medium: M,
        options: JournalOptions,
    ) -> Result<(Self, OpenReport), OpenError> {
        let JournalOptions { nonce, file_bytes, reserve_bytes } = options;
        let Recovery { index, in_doubt, previous, next_file, incarnation, mut report } =
            recover(&mut medium)?;
        let incarnation = identity::open(&mut medium, nonce, incarnation)?;
        let reserve = Reserve::open(&mut medium, reserve_bytes)?;
        let mut journal = Self {
            medium,
            file_bytes,
            incarnation,
            random: SeededRandom::new(nonce),
            shared: Shared::new(index),
            group: Group::default(),
            offsets: DraftOffsets::default(),
            current: None,
            previous,
            retired: None,
            next_file,
            reserve,
        };
        report.in_doubt = in_doubt.len();
        journal.rewrite(in_doubt)?;
        report.last_commit = journal.last();
        Ok((journal, report))
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn reader(&self) -> JournalReader<M::File> {
        JournalReader::new(self.shared.clone())
    }

    fn last(&self) -> CommitNumber {
        self.shared.read().last()
    }

    /// Starts a new life: the journal ends before what is known to have been acknowledged.
    pub(crate) fn begin_life(&mut self) -> Result<(), MediumError> {
        let nonce = self.random.next_u64();
        self.incarnation = identity::renew(&mut self.medium, nonce, self.incarnation)?;
        Ok(())
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
        if !self.current.as_ref().is_some_and(|current| current.fits(size)) {
            self.begin_file(priority, size).map_err(|error| refused(error, size))?;
        }
        let first = self.last().after(1);
        if let Err(error) = self.write(first) {
            self.give_up_file();
            return Err(refused(error, size));
        }
        self.publish(commits);
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

    /// Writes the group to the current file and waits until it is durable.
    fn write(&mut self, first: CommitNumber) -> Result<(), MediumError> {
        let Some(current) = &self.current else { return Ok(()) };
        let Current { file, number, nonce, end, .. } = current;
        let (nonce, is_new) = (*nonce, *end == 0);
        let position = (*end).max(FIRST_FRAME_AT);
        self.group.place(Place { nonce, position, durable: *end, first });
        if is_new {
            let header = FileHeader {
                number: *number,
                nonce,
                base: first,
                incarnation: self.incarnation,
                previous: self.previous,
                opening_end: FIRST_FRAME_AT + self.group.size().get(),
            };
            let opening = [&header.encode(), self.group.bytes()].concat();
            file.write_at(ByteCount::new(0), &opening)?;
            file.sync()?;
            self.medium.sync_names()?;
        } else {
            file.write_at(ByteCount::new(position), self.group.bytes())?;
            file.sync()?;
        }
        Ok(())
    }

    /// Shows the durable group to the readers.
    fn publish(&mut self, commits: &[Commit]) {
        let Some(current) = &mut self.current else { return };
        let is_new = current.end == 0;
        current.end = current.end.max(FIRST_FRAME_AT) + self.group.size().get();
        let mut index = self.shared.write();
        if is_new {
            let base = index.last().after(1);
            index.push(Segment::new(current.source(), base));
        }
        let mut ids = self.offsets.ids();
        for (commit, frame) in commits.iter().zip(self.group.frames()) {
            let entries = commit.entries.iter().zip(ids.by_ref()).zip(frame.places());
            let spans = entries.map(|(((_, entry), id), place)| span_of(id, entry, place));
            index.commit((frame.position, frame.end), spans);
        }
        debug_assert!(ids.next().is_none(), "every entry was shown");
        drop(index);
        if let Some((file, end)) = self.retired.take() {
            // A failure costs room on the disk and nothing else: the new file names the end.
            drop(file.truncate(ByteCount::new(end)));
        }
    }

    /// Allocates the next file and makes it the current one; nothing is written to it yet.
    fn begin_file(&mut self, priority: Priority, group: ByteCount) -> Result<(), MediumError> {
        let needed = FIRST_FRAME_AT + group.get() + SEAL_LEN;
        let (number, name) = (self.next_file, file_name(self.next_file));
        self.next_file += 1;
        let (file, room) = match self.allocate(&name, needed) {
            Err(MediumError::Full { .. })
                if self.reserve.release_for(&mut self.medium, priority)? =>
            {
                self.allocate(&name, needed)?
            }
            allocated => allocated?,
        };
        if let Some(Current { file, nonce, end, .. }) = self.current.take() {
            debug_assert!(end > 0, "a file without a durable group is given up, not left");
            self.previous = Link { nonce, end };
            self.retired = Some((file, end));
        }
        let nonce = self.random.next_u64().max(1);
        let name = Arc::from(name);
        self.current = Some(Current { file, name, number, nonce, end: 0, room, sealed: 0 });
        Ok(())
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
        let Some(Current { file, name, nonce, end, .. }) = self.current.take() else { return };
        // Both are attempts to spare the next open some work. Whatever stays is void: the next
        // file names this one's acknowledged end, or does not name this one at all.
        if end == 0 {
            drop(self.medium.remove(&name));
        } else {
            drop(file.truncate(ByteCount::new(end)));
            self.previous = Link { nonce, end };
        }
    }

    /// Writes what recovery found in doubt to a new file, so that it is durable whatever happened.
    fn rewrite(&mut self, in_doubt: Vec<InDoubt>) -> Result<(), OpenError> {
        if in_doubt.is_empty() {
            return Ok(());
        }
        let commits: Vec<Commit> = in_doubt.iter().map(|held| held.commit.clone()).collect();
        match self.append(Priority::Alerts, &commits) {
            Ok(_) => Ok(()),
            Err(AppendError::Medium(error)) => Err(OpenError::Medium(error)),
            Err(AppendError::Full { .. }) => self.keep_in_place(in_doubt),
            Err(
                error @ (AppendError::Empty
                | AppendError::OffsetGap { .. }
                | AppendError::CommitTooLarge { .. }
                | AppendError::GroupTooLarge { .. }),
            ) => Err(OpenError::InDoubt(error)),
        }
    }

    /// Keeps what is in doubt where it was found: there is no room for a second copy.
    fn keep_in_place(&mut self, in_doubt: Vec<InDoubt>) -> Result<(), OpenError> {
        let mut index = self.shared.write();
        if let Some(file) = index.last_file() {
            file.sync()?;
        }
        for InDoubt { position, end, commit, places } in in_doubt {
            let spans = spans_of(&mut index, &commit, &places);
            index.commit((position, end), spans);
            self.previous.end = end;
        }
        Ok(())
    }

    /// Records that everything acknowledged is durable.
    pub(crate) fn seal(&mut self) -> Result<(), AppendError> {
        let commit = self.last().after(1);
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.end == current.sealed {
            return Ok(());
        }
        let header = FrameHeader {
            kind: FrameKind::Seal,
            length: 0,
            entries: 0,
            changes: 0,
            commit,
            nonce: current.nonce,
            position: current.end,
            durable: current.end,
        };
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

    /// Seals the journal and frees what was allocated ahead.
    pub(crate) fn close(mut self) -> Result<(), AppendError> {
        self.seal()?;
        if let Some(Current { file, end, .. }) = self.current {
            let cut = file.truncate(ByteCount::new(end)).and_then(|()| file.sync());
            cut.map_err(AppendError::Medium)?;
        }
        Ok(())
    }
}

fn refused(error: MediumError, needed: ByteCount) -> AppendError {
    match error {
        MediumError::Full { .. } => AppendError::Full { needed },
        error @ MediumError::Io { .. } => AppendError::Medium(error),
    }
}
