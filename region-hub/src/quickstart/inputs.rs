//! The agents' input files: lines are appended, whole, by whoever has one to add.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headland_event::{AgentName, EventTime};

use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::event::Event;
use super::excerpt::shifted;
use super::fleet::Fleet;
use super::plan::{Feed, HeldLine, Stream};
use super::planted::Step;

/// All input files of a run and the moment of the recorded stream that has been reached.
#[derive(Debug)]
pub(super) struct Inputs {
    directory: std::path::PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    files: BTreeMap<(AgentName, Stream), Input>,
    /// The highest time of a played inventory event.
    now: EventTime,
}

#[derive(Debug)]
struct Input {
    file: File,
    /// The file's length, its header included.
    bytes: u64,
    /// Lines that were appended, so without a header.
    lines: u64,
}

impl Inputs {
    /// Opens the files of all agents.
    ///
    /// # Errors
    /// [`QuickstartError::File`] for the first that cannot be opened.
    pub(super) fn open(fleet: &Fleet, directory: &RunDirectory) -> Result<Self, QuickstartError> {
        let mut files = BTreeMap::new();
        for site in fleet.sites() {
            for stream in [Stream::Inventory, Stream::Air] {
                let path = directory.input(&site.name, stream);
                let opened = File::options().append(true).open(&path);
                let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
                let (bytes, file) = opened.map_err(QuickstartError::file("open", path))?;
                files.insert((site.name.clone(), stream), Input { file, bytes, lines: 0 });
            }
        }
        let open = Mutex::new(Open { files, now: EventTime::MIN });
        Ok(Self { directory: directory.path().to_owned(), open })
    }

    /// Appends a played line.
    ///
    /// # Errors
    /// [`QuickstartError::File`] when the file cannot be written.
    pub(super) fn play(&self, feed: &Feed) -> Result<(), QuickstartError> {
        let mut open = self.lock();
        if feed.stream == Stream::Inventory {
            open.now = open.now.max(feed.at);
        }
        self.append(&mut open, &feed.site, feed.stream, &feed.line)
    }

    /// Appends a line that was kept back.
    ///
    /// # Errors
    /// [`QuickstartError::File`] when the file cannot be written.
    pub(super) fn release(&self, held: &HeldLine) -> Result<(), QuickstartError> {
        self.append(&mut self.lock(), &held.site, Stream::Inventory, &held.line)
    }

    /// Appends a planted event as happening at the moment reached, by its device's clock.
    ///
    /// # Errors
    /// [`QuickstartError::File`] when the file cannot be written.
    pub(super) fn plant(&self, step: &Step) -> Result<(), QuickstartError> {
        // The time is read under the same lock as the line is written, so that no later event of
        // this file comes before it and makes it late.
        let mut open = self.lock();
        let line = planted_line(&step.event, open.now, step.clock_error_ms);
        self.append(&mut open, &step.site, Stream::Inventory, &line)
    }

    /// Bytes written to an agent's input so far.
    pub(super) fn bytes(&self, agent: &AgentName, stream: Stream) -> u64 {
        self.lock().files.get(&(agent.clone(), stream)).map_or(0, |input| input.bytes)
    }

    /// Lines written to all inputs so far.
    pub(super) fn lines(&self) -> u64 {
        self.lock().files.values().map(|input| input.lines).sum()
    }

    fn append(
        &self,
        open: &mut Open,
        agent: &AgentName,
        stream: Stream,
        line: &str,
    ) -> Result<(), QuickstartError> {
        let Some(input) = open.files.get_mut(&(agent.clone(), stream)) else {
            return Err(QuickstartError::UnknownAgent { agent: agent.clone() });
        };
        // One write of the whole line: an agent that reads meanwhile sees all of it or a beginning
        // without its end, which it leaves for later.
        let whole = format!("{line}\n");
        let written = input.file.write_all(whole.as_bytes());
        let path = || self.directory.join(RunDirectory::input_name(agent, stream));
        written.map_err(|source| QuickstartError::File {
            action: "write",
            path: path(),
            source,
        })?;
        input.bytes += whole.len() as u64;
        input.lines += 1;
        Ok(())
    }

    /// A panic while the lock is held leaves counts and files as they are.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn planted_line(event: &Event, now: EventTime, clock_error_ms: i64) -> String {
    if clock_error_ms == 0 {
        event.line(now)
    } else {
        event.line_with_clock(shifted(now, clock_error_ms))
    }
}
