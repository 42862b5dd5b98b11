//! Reads a log through, a little at a time, so that damage is found while others have what it took.
//!
//! A start reads what no snapshot covers, and a link what a peer lacks; what lies before both is
//! read by nobody until somebody needs it. So a *pass* replays the log from its first commit on,
//! past damage as a start does ([`crate::replay_past_damage`]), up to the commit that was the last
//! one when it began. What it finds a node handles as what its start and its links find.
//!
//! A pass begins [`PASS_EVERY`] after the one before it began, as Ceph scrubs deeply and BookKeeper
//! checks its ledgers, or as soon as that one is over. It reads at most so many bytes a second, and
//! a quarter of that while the node reads for others. How far it has come is kept as state every
//! [`MARK_BYTES`], and goes on there after a restart.
//!
//! What cannot be read at all is passed over in larger and larger steps, and said: which offsets
//! stand there only a read of them finds out, once the disk answers.

use std::time::Duration;

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{ByteCount, CommitNumber, Entry, EventTime, Monotonic, Now};

use crate::commit::StoredCommit;
use crate::group::byte_count;
use crate::log::{LogReader, QuarantinedCommits, ReadError, Replayed};
use crate::restart::{MissingCommits, MissingOffsets, Suspects, lost_around};

const VERSION: u8 = 1;

/// From the beginning of a pass to that of the next.
const PASS_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often it is looked whether a pass is due: a wall clock that was set counts by then.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// A node that starts has other things to read first.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// Least time between two reads.
const STEP_MIN: Duration = Duration::from_millis(10);

/// Bytes between two marks: what a restart reads again, for a commit a minute at 1 MiB a second.
const MARK_BYTES: u64 = 64 << 20;

/// Most bytes read at once, unless one commit is larger: no other read waits long behind it.
const STEP_BYTES: ByteCount = ByteCount::new(256 << 10);

/// What is read to find the first commit of a step: a block at most.
const ENTER_BYTES: u64 = 64 << 10;

/// Places near damage that are looked at in one step, unless one is damaged, and what each is taken
/// to read: a block, and where damage is found the blocks of a read, twice.
const LOOKS_AT_ONCE: usize = 4;
const LOOK_BYTES: u64 = 64 << 10;
const LOST_BYTES: u64 = 8 << 20;

/// How often in a row a read is put off when the node has read for others since the last one.
const PUT_OFF_MAX: u32 = 3;

/// Reads in a row that failed, behind which the steps over what cannot be read grow no more.
const FAILURES_MAX: u32 = 20;

/// Decides when the log is read on.
#[derive(Debug)]
pub struct Scrub {
    bytes_per_second: ByteCount,
    work: Work,
    due_at: Monotonic,
    /// When the last pass began and was over; the one under way, when there is one.
    began: Option<EventTime>,
    ended: Option<EventTime>,
    since_mark: u64,
    failures: u32,
    has_other_reads: bool,
    put_off: u32,
    status: ScrubStatus,
}

#[derive(Debug)]
enum Work {
    Resting,
    Between(Pass),
    Reading,
}

/// How far a pass has come, and what of the damage it met is not looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pass {
    next: CommitNumber,
    /// Number after the last commit; not known before the first read.
    until: Option<CommitNumber>,
    /// Whether it went on behind what was its end, to see what follows damage.
    is_extended: bool,
    /// The file behind the damaged one: from there on the index knows what follows.
    look_until: Option<CommitNumber>,
    /// The first damaged commit of those that are still looked after.
    damaged_from: Option<CommitNumber>,
    suspects: Suspects,
}

impl Pass {
    fn from(next: CommitNumber, until: Option<CommitNumber>) -> Self {
        let suspects = Suspects::default();
        let (look_until, damaged_from) = (None, None);
        Self { next, until, is_extended: false, look_until, damaged_from, suspects }
    }

    /// Goes on behind what could not be read, for the so many-and-first time in a row.
    fn pass_over(&mut self, failures: u32) {
        let step = 1 << failures.min(FAILURES_MAX);
        let next = CommitNumber::new(self.next.get().saturating_add(step));
        self.next = self.until.map_or(next, |until| next.min(until));
    }

    /// Behind the file that is damaged nothing more has to be read to know what follows: a pass
    /// that begins again at damage would never get past it else, where restarts are frequent.
    fn end_looking(&mut self, reader: &impl LogReader) {
        let Some(file) = self.look_until.filter(|file| self.next >= *file) else { return };
        self.look_until = None;
        self.suspects.end_with(reader, |partition| reader.first_in(file, partition));
    }

    fn is_over(&self) -> bool {
        let is_at_end = self.until.is_some_and(|until| self.next >= until);
        is_at_end && !self.suspects.is_looking() && !self.suspects.has_places()
    }
}

/// What a node says of its scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScrubStatus {
    /// Bytes of commits read since the start.
    pub read: ByteCount,
    /// Damaged places met since the start, commits and ranges of offsets, each as often as it was.
    pub damaged: u64,
    /// Reads that failed since the start.
    pub failed: u64,
    /// Number of the commit that the pass under way reads next, and the one after its last.
    pub pass: Option<(CommitNumber, CommitNumber)>,
    /// When the last pass that reached its end did so.
    pub last_pass: Option<EventTime>,
}

/// A piece of the log to read; answer with what [`Self::read`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a read that is dropped ends the scrub"]
pub struct ScrubRead {
    pass: Pass,
    limit: ByteCount,
}

/// What was read of a piece of the log; see [`Scrub::on_scrubbed`].
#[derive(Debug)]
pub struct Scrubbed {
    commits: Vec<MissingCommits>,
    offsets: Vec<FoundOffsets>,
    failure: Option<ReadError>,
    pass: Pass,
    bytes: u64,
    unread: Unread,
}

/// What a piece of the log holds that is damaged, and what is to be done besides.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// Damaged commits.
    pub commits: Vec<MissingCommits>,
    /// Offsets that are lost.
    pub offsets: Vec<FoundOffsets>,
    /// Why something could not be read.
    pub failure: Option<ReadError>,
    /// What is to be kept for [`Scrub::take_up`].
    pub mark: Option<Bytes>,
    /// Whether all of the log was read.
    pub is_over: bool,
}

/// What a failure kept from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Commits, which would fail again.
    Commits,
    /// A place near damage, which is given up, or nothing.
    Place,
}

/// Offsets that are lost, with what tells of which log they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundOffsets {
    /// The offsets.
    pub lost: MissingOffsets,
    /// The entry behind them, if there is one.
    pub behind: Option<Entry>,
}

impl Scrub {
    /// What a node reads unless it is configured otherwise: 600 GB in a week.
    pub const BYTES_PER_SECOND: ByteCount = ByteCount::mebibytes(1);

    /// One that reads at most so many bytes a second, none at all when that is 0.
    #[must_use]
    pub fn new(bytes_per_second: ByteCount, now: Monotonic) -> Self {
        Self {
            bytes_per_second,
            work: Work::Resting,
            due_at: now.after(FIRST_AFTER),
            began: None,
            ended: None,
            since_mark: 0,
            failures: 0,
            has_other_reads: false,
            put_off: 0,
            status: ScrubStatus::default(),
        }
    }

    /// Goes on where a former run of the node was.
    ///
    /// # Errors
    /// [`CodecError`] when the value is not of a known layout; nothing has changed.
    pub fn take_up(&mut self, mark: Bytes) -> Result<(), CodecError> {
        let (pass, began, ended) = decode(mark)?;
        (self.began, self.ended, self.status.last_pass) = (Some(began), ended, ended);
        if !pass.is_over() {
            self.work = Work::Between(pass);
        }
        Ok(())
    }

    /// What this node says of it.
    #[must_use]
    pub fn status(&self) -> ScrubStatus {
        let pass = match &self.work {
            Work::Between(pass) => pass.until.map(|until| (pass.next, until)),
            Work::Resting | Work::Reading => self.status.pass,
        };
        ScrubStatus { pass, ..self.status }
    }

    /// The node has read its log for somebody.
    pub const fn on_other_read(&mut self) {
        self.has_other_reads = true;
    }

    /// When [`Self::poll_read`] wants to be called; `None` while it waits for an answer.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Monotonic> {
        match self.work {
            Work::Reading => None,
            Work::Resting | Work::Between(_) if self.bytes_per_second.get() == 0 => None,
            Work::Resting | Work::Between(_) => Some(self.due_at),
        }
    }

    /// What is to be read now.
    pub fn poll_read(&mut self, now: Now) -> Option<ScrubRead> {
        if self.poll_timeout().is_none_or(|at| at > now.monotonic) {
            return None;
        }
        if std::mem::take(&mut self.has_other_reads) && self.put_off < PUT_OFF_MAX {
            self.put_off += 1;
            self.due_at = now.monotonic.after(self.time_for(self.limit().get()));
            return None;
        }
        self.put_off = 0;
        let pass = match std::mem::replace(&mut self.work, Work::Reading) {
            Work::Between(pass) => pass,
            Work::Resting | Work::Reading => {
                if let Some(wait) = self.until_next_pass(now.wall) {
                    self.work = Work::Resting;
                    self.due_at = now.monotonic.after(wait.min(LOOK_EVERY));
                    return None;
                }
                self.began = Some(now.wall);
                self.since_mark = MARK_BYTES;
                Pass::from(CommitNumber::new(1), None)
            }
        };
        Some(ScrubRead { pass, limit: self.limit() })
    }

    /// How long until the next pass begins, by a wall clock that may have been set back since.
    fn until_next_pass(&self, wall: EventTime) -> Option<Duration> {
        let began = self.began.filter(|began| *began <= wall)?;
        let since = u64::try_from(wall.millis_since(began)).ok().map(Duration::from_millis)?;
        PASS_EVERY.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// A second's worth, but no more than one step.
    fn limit(&self) -> ByteCount {
        self.bytes_per_second.min(STEP_BYTES)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000;
        let nanos = nanos / u128::from(self.bytes_per_second.get().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(STEP_MIN)
    }

    /// The answer to a read; returns what it found.
    pub fn on_scrubbed(&mut self, now: Now, scrubbed: Scrubbed) -> Found {
        let Scrubbed { commits, offsets, failure, mut pass, bytes, unread } = scrubbed;
        self.status.read = ByteCount::new(self.status.read.get().saturating_add(bytes));
        let damaged = byte_count(commits.len() + offsets.len()).get();
        self.status.damaged = self.status.damaged.saturating_add(damaged);
        match (&failure, unread) {
            (None, _) => self.failures = 0,
            (Some(_), Unread::Place) => self.status.failed = self.status.failed.saturating_add(1),
            (Some(_), Unread::Commits) => {
                self.status.failed = self.status.failed.saturating_add(1);
                pass.pass_over(self.failures);
                self.failures = self.failures.saturating_add(1);
            }
        }
        self.due_at = now.monotonic.after(self.time_for(bytes));
        self.since_mark = self.since_mark.saturating_add(bytes);
        self.status.pass = pass.until.map(|until| (pass.next, until));
        let is_over = pass.is_over();
        if is_over {
            (self.ended, self.status.last_pass) = (Some(now.wall), Some(now.wall));
            self.status.pass = None;
        }
        let mark = (is_over || self.since_mark >= MARK_BYTES).then(|| {
            self.since_mark = 0;
            encode(&pass, self.began.unwrap_or(now.wall), self.ended)
        });
        self.work = if is_over { Work::Resting } else { Work::Between(pass) };
        Found { commits, offsets, failure, mark, is_over }
    }
}

impl ScrubRead {
    /// Reads a piece of the log. It blocks for as long as the disk takes, so it is for a thread of
    /// its own.
    #[must_use]
    pub fn read(self, reader: &impl LogReader) -> Scrubbed {
        let Self { mut pass, limit } = self;
        let behind = reader.last_commit().after(1);
        // A log that lost its end has no commits there to wait for.
        let until = pass.until.map_or(behind, |until| until.min(behind));
        pass.until = Some(until);
        let (commits, offsets, failure) = (Vec::new(), Vec::new(), None);
        let unread = Unread::Place;
        let mut scrubbed = Scrubbed { commits, offsets, failure, pass, bytes: 0, unread };
        scrubbed.pass.end_looking(reader);
        if scrubbed.pass.suspects.has_places() {
            scrubbed.failure = scrubbed.look(reader).err();
        } else if scrubbed.pass.next < until {
            scrubbed.failure = scrubbed.read_on(reader, limit).err();
            scrubbed.unread = Unread::Commits;
        } else if scrubbed.pass.suspects.is_looking() {
            if !scrubbed.pass.is_extended && until < behind {
                (scrubbed.pass.until, scrubbed.pass.is_extended) = (Some(behind), true);
            } else {
                scrubbed.pass.suspects.end(reader);
            }
        }
        if !scrubbed.pass.suspects.is_looking() && !scrubbed.pass.suspects.has_places() {
            scrubbed.pass.damaged_from = None;
        }
        scrubbed
    }
}

impl Scrubbed {
    /// Reads commits.
    fn read_on(&mut self, reader: &impl LogReader, limit: ByteCount) -> Result<(), ReadError> {
        // What is in memory says nothing of the disk, and others have better use for that memory.
        let (from, entered) = (self.pass.next, ByteCount::new(limit.get() + ENTER_BYTES));
        reader.let_go(from, entered);
        let replayed = reader.replay(from, limit);
        reader.let_go(from, entered);
        self.bytes = self.bytes.saturating_add(ENTER_BYTES);
        match replayed {
            Ok(Replayed { commits, next }) => {
                self.pass.next = next;
                for commit in &commits {
                    self.bytes = self.bytes.saturating_add(size_of(commit));
                    self.pass.suspects.on_whole(&commit.entries);
                }
            }
            Err(ReadError::QuarantinedCommits(left)) => {
                let QuarantinedCommits { file, from, until, entries, state: _, lost } = *left;
                self.bytes = self.bytes.saturating_add(limit.get());
                self.pass.suspects.on_damaged(&entries);
                self.pass.damaged_from.get_or_insert(from);
                self.pass.look_until = reader.next_file(from);
                self.pass.next = until;
                self.commits.push(MissingCommits { file, from, until, lost });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks at places that damage may have reached, one at least.
    fn look(&mut self, reader: &impl LogReader) -> Result<(), ReadError> {
        for _ in 0..LOOKS_AT_ONCE {
            let Some((partition, at)) = self.pass.suspects.take() else { break };
            self.bytes = self.bytes.saturating_add(LOOK_BYTES);
            let Some(lost) = lost_around(reader, &partition, at)? else { continue };
            self.bytes = self.bytes.saturating_add(LOST_BYTES);
            let behind = reader.read(&partition, lost.until, ByteCount::new(1));
            let (behind, failure) = match behind {
                Ok(entries) => (entries.into_iter().next(), None),
                Err(error) => (None, Some(error)),
            };
            self.offsets.push(FoundOffsets { lost, behind });
            return match failure {
                None | Some(ReadError::Quarantined { .. }) => Ok(()),
                Some(error) => Err(error),
            };
        }
        Ok(())
    }
}

/// What a commit takes in the journal, about: batches and changes without what is around them.
fn size_of(commit: &StoredCommit) -> u64 {
    let batches = commit.entries.iter().map(|(_, entry)| entry.batch.as_bytes().len());
    let changes = commit.state.iter();
    let changes =
        changes.map(|change| change.key.len() + change.value.as_ref().map_or(0, Bytes::len));
    batches.chain(changes).map(|length| byte_count(length).get()).fold(0, u64::saturating_add)
}

/// `version u8 │ next u64 │ until u64 │ began i64 │ ended: u8 0, or 1 and i64`.
fn encode(pass: &Pass, began: EventTime, ended: Option<EventTime>) -> Bytes {
    let Pass { next, until, is_extended: _, look_until: _, damaged_from, suspects: _ } = pass;
    let mut writer = Writer::new();
    writer.u8(VERSION);
    // What lies behind damage that is still looked after is read again.
    writer.u64(damaged_from.unwrap_or(*next).get());
    writer.u64(until.unwrap_or(*next).get());
    writer.i64(began.millis());
    writer.u8(ended.is_some().into());
    if let Some(ended) = ended {
        writer.i64(ended.millis());
    }
    writer.finish()
}

fn decode(mark: Bytes) -> Result<(Pass, EventTime, Option<EventTime>), CodecError> {
    let mut reader = Reader::new(mark);
    let version = reader.u8("scrub version")?;
    if version != VERSION {
        let (field, found, expected) = ("scrub version", i64::from(version), "1");
        return Err(CodecError::Value { field, at: 0, found, expected });
    }
    let next = CommitNumber::new(reader.u64("next")?.max(1));
    let until = CommitNumber::new(reader.u64("until")?);
    let began = EventTime::from_millis(reader.i64("began")?);
    let ended = match reader.u8("ended")? {
        0 => None,
        _ => Some(EventTime::from_millis(reader.i64("ended")?)),
    };
    reader.end()?;
    Ok((Pass::from(next, Some(until)), began, ended))
}

#[cfg(test)]
mod tests;
