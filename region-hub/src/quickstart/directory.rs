//! The run's directory: everything a run writes lies in it, and it goes when the run does.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use headland_event::{AgentName, RegionId};
use headland_platform::clock::entropy;

use super::error::QuickstartError;
use super::plan::Stream;

/// The path of a Unix socket has at most 107 bytes; this leaves room for the names below.
const PATH_BYTES_MAX: usize = 80;

/// A directory that is removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    keep: bool,
}

impl RunDirectory {
    /// Makes the directory: `keep` must not exist yet and stays; without it, a new temporary one.
    ///
    /// # Errors
    /// [`QuickstartError::File`] when it exists, cannot be made or its path is too long.
    pub(super) fn create(keep: Option<&Path>) -> Result<Self, QuickstartError> {
        let path = match keep {
            Some(path) => std::path::absolute(path).map_err(QuickstartError::file("use", path))?,
            None => std::env::temp_dir().join(format!("headland-{:012x}", entropy()? >> 16)),
        };
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let what = format!("its path is longer than {PATH_BYTES_MAX} bytes");
            let source = std::io::Error::other(what);
            return Err(QuickstartError::File { action: "keep sockets in", path, source });
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder.create(&path).map_err(QuickstartError::file("create", &path))?;
        let directory = Self { path, keep: keep.is_some() };
        for name in ["pki", "inputs", "hubs", "agents", "logs", "dump"] {
            let path = directory.path.join(name);
            fs::create_dir(&path).map_err(QuickstartError::file("create", &path))?;
        }
        Ok(directory)
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays after the run.
    pub(super) const fn is_kept(&self) -> bool {
        self.keep
    }

    /// Where the API of a region's hub listens.
    pub(super) fn hub_socket(&self, region: &RegionId) -> PathBuf {
        self.path.join(format!("hubs/{region}.sock"))
    }

    /// Where an agent's API listens.
    pub(super) fn agent_socket(&self, agent: &AgentName) -> PathBuf {
        self.path.join(format!("agents/{agent}.sock"))
    }

    /// The configuration file of a node, by its name.
    pub(super) fn config(&self, node: &str) -> PathBuf {
        self.path.join(format!("{node}.toml"))
    }

    /// Where a node's output goes.
    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.path.join(format!("logs/{node}.log"))
    }

    /// An agent's input file, relative to the directory.
    pub(super) fn input_name(agent: &AgentName, stream: Stream) -> String {
        match stream {
            Stream::Inventory => format!("inputs/{agent}.inventory.jsonl"),
            Stream::Air => format!("inputs/{agent}.air.csv"),
        }
    }

    /// An agent's input file.
    pub(super) fn input(&self, agent: &AgentName, stream: Stream) -> PathBuf {
        self.path.join(Self::input_name(agent, stream))
    }

    /// Writes a file of the run, for this user only: some hold private keys.
    ///
    /// # Errors
    /// [`QuickstartError::File`] when it cannot be written.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), QuickstartError> {
        let path = self.path.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(content.as_bytes()));
        written.map_err(QuickstartError::file("write", path))
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the run's directory stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_the_run_unless_it_is_to_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = RunDirectory::create(Some(&folder.path().join("kept"))).unwrap();
        let gone = RunDirectory::create(None).unwrap();
        let paths = [kept.path().to_owned(), gone.path().to_owned()];

        drop((kept, gone));

        assert_eq!(paths.map(|path| path.exists()), [true, false]);
    }

    #[test]
    fn a_directory_that_exists_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();

        let error = RunDirectory::create(Some(folder.path())).unwrap_err();

        assert_eq!(error.to_string(), format!("could not create {}", folder.path().display()));
        assert!(folder.path().exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let long = Path::new("/tmp").join("x".repeat(PATH_BYTES_MAX));

        let error = RunDirectory::create(Some(&long)).unwrap_err();

        assert!(error.to_string().starts_with("could not keep sockets in /tmp/xxx"), "{error}");
    }
}
