//! Whether files have changed since they were looked at.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another without reading it: the inode changes when a file
/// is replaced by renaming, size or time when it is written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
}

impl Mark {
    /// `None` for a file that is not there, or that the machine does not show.
    fn of(path: &Path) -> Option<Self> {
        let found: io::Result<_> = std::fs::metadata(path);
        let found = found.ok()?;
        let modified_ns = (found.mtime(), found.mtime_nsec());
        Some(Self { inode: found.ino(), bytes: found.len(), modified_ns })
    }
}

/// Some files that are read again when they change.
///
/// Links are followed, so a folder that is exchanged by its link, as mounted secrets are, counts.
#[derive(Debug, Clone)]
pub struct WatchedFiles {
    files: Vec<(PathBuf, Option<Mark>)>,
}

impl WatchedFiles {
    /// Takes note of the files as they are. Do so before reading them: a change in between then
    /// makes for one reading too many instead of one too few.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let mark = Mark::of(&path);
            (path, mark)
        });
        Self { files: files.collect() }
    }

    /// Whether any of the files is another one than at the last call.
    ///
    /// Cost: one `stat` a file.
    pub fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.files {
            let found = Mark::of(path);
            changed |= found != *known;
            *known = found;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_removed_has_changed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("a.pem"), folder.path().join("next"));
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        let mut looks = vec![watched.has_changed()];

        std::fs::write(&path, "longer").unwrap();
        looks.extend([watched.has_changed(), watched.has_changed()]);
        std::fs::write(&next, "other!").unwrap();
        std::fs::rename(&next, &path).unwrap();
        looks.extend([watched.has_changed(), watched.has_changed()]);
        std::fs::remove_file(&path).unwrap();
        looks.extend([watched.has_changed(), watched.has_changed()]);

        assert_eq!(looks, [false, true, false, true, false, true, false]);
    }
}
