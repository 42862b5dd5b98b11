//! Whether files have changed since they were looked at.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another without reading it: the inode changes when a file
/// is replaced by renaming, size or time when it is written in place. The time of the inode itself
/// tells more: nobody can set it back, and it changes with the permission to read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    inode_changed_ns: (i64, i64),
}

impl Mark {
    /// `None` for a file that is not there, or that the machine does not show.
    fn of(path: &Path) -> Option<Self> {
        let found: io::Result<_> = std::fs::metadata(path);
        let found = found.ok()?;
        Some(Self {
            inode: found.ino(),
            bytes: found.len(),
            modified_ns: (found.mtime(), found.mtime_nsec()),
            inode_changed_ns: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// How files were at a look, before they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(Vec<Option<Mark>>);

/// A file that is to be read as a whole, as it was when it was opened.
///
/// Reading its end fails with [`io::ErrorKind::ResourceBusy`] when somebody has written to it
/// meanwhile: what was read is then partly of before. One that is replaced by renaming is read as
/// it was.
#[derive(Debug)]
pub struct SettledFile {
    file: File,
    opened: (u64, i64, i64),
}

impl SettledFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be opened or is a folder, a pipe, a socket or a device, which
    /// may have no end.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Before it is opened: opening a pipe waits for somebody who writes.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        let opened = length_and_time(&file)?;
        Ok(Self { file, opened })
    }
}

impl Read for SettledFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        if read == 0 && !into.is_empty() && length_and_time(&self.file)? != self.opened {
            let what = "somebody has written to it while it was read";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
        }
        Ok(read)
    }
}

/// Opens a file: one that a person has `chosen` may be a pipe, any other has to be settled.
///
/// # Errors
/// As [`SettledFile::open`], and as [`File::open`] for one that was chosen.
pub fn open_chosen(chosen: &[PathBuf], path: &Path) -> io::Result<Box<dyn Read>> {
    if chosen.iter().any(|file| file == path) {
        Ok(Box::new(File::open(path)?))
    } else {
        Ok(Box::new(SettledFile::open(path)?))
    }
}

fn length_and_time(file: &File) -> io::Result<(u64, i64, i64)> {
    let found = file.metadata()?;
    Ok((found.len(), found.mtime(), found.mtime_nsec()))
}

/// Some files that are read again when they change.
///
/// Links are followed, so a folder that is exchanged by its link, as mounted secrets are, counts.
#[derive(Debug, Clone)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    read: Option<Seen>,
}

impl WatchedFiles {
    /// Takes note of the files as they are. Do so before reading them: a change in between then
    /// makes for one reading too many instead of one too few.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watched = Self::unread(paths);
        watched.read = Some(watched.see());
        watched
    }

    /// Files that were read nobody knows when: they have changed until [`Self::note`] is called.
    pub fn unread(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { paths: paths.into_iter().collect(), read: None }
    }

    /// How the files are now, if that is not how they were when they were last read. Read them
    /// then, and call [`Self::note`] with it once that has succeeded: files that could not be read
    /// go on being changed ones.
    ///
    /// Cost: one `stat` a file.
    #[must_use]
    pub fn changed(&self) -> Option<Seen> {
        let seen = self.see();
        (self.read.as_ref() != Some(&seen)).then_some(seen)
    }

    /// Takes note that the files were read as they were `seen`.
    pub fn note(&mut self, seen: Seen) {
        debug_assert_eq!(seen.0.len(), self.paths.len(), "it is of these files");
        self.read = Some(seen);
    }

    fn see(&self) -> Seen {
        Seen(self.paths.iter().map(|path| Mark::of(path)).collect())
    }
}

/// What was last said of files that cannot be used; saying it at every look would fill a log.
#[derive(Debug, Clone, Default)]
pub struct Complaint {
    said: Option<String>,
}

impl Complaint {
    /// Whether `text` is to be said: it is another one than the last.
    pub fn is_new(&mut self, text: &str) -> bool {
        let is_new = self.said.as_deref() != Some(text);
        if is_new {
            self.said = Some(text.to_owned());
        }
        is_new
    }

    /// The files can be used: whatever comes next is new.
    pub fn settle(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watched: &mut WatchedFiles) -> bool {
        let seen = watched.changed();
        let changed = seen.is_some();
        seen.into_iter().for_each(|seen| watched.note(seen));
        changed
    }

    #[test]
    fn a_settled_file_is_whole_and_one_that_is_written_meanwhile_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("a.csv"), folder.path().join("next"));
        std::fs::write(&path, "a,1\n").unwrap();
        let read = |mut file: SettledFile| {
            let mut text = String::new();
            file.read_to_string(&mut text).map(|_| text).map_err(|error| error.kind())
        };

        let whole = read(SettledFile::open(&path).unwrap());
        let written = SettledFile::open(&path).unwrap();
        std::fs::write(&path, "a,1\nb").unwrap();
        let written = read(written);
        let replaced = SettledFile::open(&path).unwrap();
        std::fs::write(&next, "other\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        let replaced = read(replaced);

        assert_eq!(whole.as_deref(), Ok("a,1\n"));
        assert_eq!(written, Err(io::ErrorKind::ResourceBusy));
        assert_eq!(replaced.as_deref(), Ok("a,1\nb"));
    }

    #[test]
    fn what_may_have_no_end_is_not_opened() {
        for path in ["/", "/dev/zero"] {
            let refused = SettledFile::open(Path::new(path)).map_err(|error| error.to_string());
            assert_eq!(refused.err().as_deref(), Some("it is not a regular file"), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_written_replaced_or_removed_has_changed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("a.pem"), folder.path().join("next"));
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        let mut looks = vec![look(&mut watched)];

        std::fs::write(&path, "longer").unwrap();
        looks.extend([look(&mut watched), look(&mut watched)]);
        std::fs::write(&next, "other!").unwrap();
        std::fs::rename(&next, &path).unwrap();
        looks.extend([look(&mut watched), look(&mut watched)]);
        std::fs::remove_file(&path).unwrap();
        looks.extend([look(&mut watched), look(&mut watched)]);

        assert_eq!(looks, [false, true, false, true, false, true, false]);
    }

    #[test]
    fn a_change_stays_one_until_the_file_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);

        std::fs::write(&path, "longer").unwrap();
        let unread = [watched.changed().is_some(), watched.changed().is_some()];
        let read = [look(&mut watched), look(&mut watched)];

        assert_eq!(unread, [true, true]);
        assert_eq!(read, [true, false]);
    }

    #[test]
    fn a_file_with_its_old_time_and_size_has_still_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.crl");
        std::fs::write(&path, "one").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let watched = WatchedFiles::new([path.clone()]);

        let mut changed = false;
        // The clock of the file system ticks every few milliseconds.
        while !changed {
            std::fs::write(&path, "two").unwrap();
            File::open(&path).unwrap().set_modified(time).unwrap();
            changed = watched.changed().is_some();
        }

        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), time);
    }

    #[test]
    fn files_that_were_never_read_have_changed() {
        let mut watched = WatchedFiles::unread([PathBuf::from("no/such")]);

        assert_eq!([look(&mut watched), look(&mut watched)], [true, false]);
    }

    #[test]
    fn a_complaint_is_said_once_until_it_is_another_or_was_settled() {
        let mut complaint = Complaint::default();

        let said = ["a", "a", "b", "a"].map(|text| complaint.is_new(text));
        complaint.settle();

        assert_eq!(said, [true, false, true, true]);
        assert!(complaint.is_new("a"));
    }
}
