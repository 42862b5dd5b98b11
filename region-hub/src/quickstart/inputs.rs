//! The agents' input files: lines are appended, whole, by whoever has one to add.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headland_event::{AgentName, EventTime};

use super::causal_case::Step;
use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::event::Event;
use super::excerpt::shifted;
use super::fleet::Fleet;
use super::plan::{Feed, HeldLine, Stream};

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
        debug_assert!(!line.contains('\n'), "a line has no end of its own");
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::causal_case::Planted;
    use super::*;

    fn opened(run: &std::path::Path) -> (RunDirectory, Inputs, Fleet) {
        let directory = RunDirectory::create(Some(&run.join("run"))).unwrap();
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        for site in fleet.sites() {
            directory.write(&RunDirectory::input_name(&site.name, Stream::Inventory), "").unwrap();
            let header = "station,time\n";
            directory.write(&RunDirectory::input_name(&site.name, Stream::Air), header).unwrap();
        }
        let inputs = Inputs::open(&fleet, &directory).unwrap();
        (directory, inputs, fleet)
    }

    fn feed(site: &AgentName, stream: Stream, at: i64) -> Feed {
        let (due, at) = (std::time::Duration::ZERO, EventTime::from_millis(at));
        Feed { due, at, site: site.clone(), stream, line: "x".to_owned() }
    }

    #[test]
    fn a_header_counts_as_bytes_and_not_as_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let (_directory, inputs, fleet) = opened(folder.path());
        let site = &fleet.sites()[0].name;

        inputs.play(&feed(site, Stream::Air, 0)).unwrap();

        assert_eq!((inputs.bytes(site, Stream::Air), inputs.lines()), (13 + 2, 1));
    }

    #[test]
    fn a_planted_event_happens_when_the_inventory_has_come_to_give_or_take_its_clock() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, inputs, fleet) = opened(folder.path());
        let planted = Planted::new(&fleet);
        let fast = planted.steps().find(|step| step.clock_error_ms == 3_600_000).unwrap();

        inputs.play(&feed(&fast.site, Stream::Inventory, 1_291_191_960_000)).unwrap();
        inputs.play(&feed(&fast.site, Stream::Air, 1_362_096_000_000)).unwrap();
        inputs.plant(fast).unwrap();

        let path = directory.input(&fast.site, Stream::Inventory);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("x\n{\"id\":"), "{text}");
        assert!(text.contains(r#""time":"2010-12-01T09:26:00Z","clock":"2010-12-01T09:26:00Z"}"#));
    }
}
