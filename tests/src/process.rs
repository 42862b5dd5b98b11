//! One process under test: what it says, and how it ends.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_platform::task::{self, Task, Token};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longest wait for anything a process should do: far beyond what it takes, also on a machine
/// that builds something else meanwhile.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    readers: Vec<Task<Option<()>>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Every line it wrote to standard output and standard error.
    pub lines: Vec<String>,
}

impl Process {
    /// Starts a program with `--config` and whatever else it is given.
    ///
    /// # Errors
    /// When the machine cannot start it.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (said, lines) = watch::channel(Vec::new());
        let out = child.stdout.take().context("standard output is piped")?;
        let err = child.stderr.take().context("standard error is piped")?;
        let token = Token::new();
        let readers = vec![
            task::spawn("stdout", &token, read(out, said.clone())),
            task::spawn("stderr", &token, read(err, said)),
        ];
        Ok(Self { child, lines, readers })
    }

    /// Waits for the first line that contains `text`, also one of before.
    ///
    /// # Errors
    /// When the process says no such line in time or ends without; with all that it said.
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let found = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let waited =
            tokio::time::timeout(WAIT_LIMIT, self.lines.wait_for(|lines| found(lines).is_some()));
        if let Ok(Ok(lines)) = waited.await
            && let Some(line) = found(&lines)
        {
            return Ok(line);
        }
        let said = self.lines.borrow().join("\n");
        bail!("the process did not say {text:?}; it said:\n{said}")
    }

    /// Its number, to look at its memory.
    ///
    /// # Errors
    /// When it has ended.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the process had ended")
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Ends it as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the process had ended, {status}; it said:\n{}", self.lines().join("\n"));
        }
        self.child.kill().await.context("cannot kill a process")
    }

    /// Asks it to end as an operator does, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(self) -> Result<Ended> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw).context("the process had ended")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .context("cannot ask a process to end")?;
        self.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end in time; with all that it said.
    pub async fn ended(mut self) -> Result<Ended> {
        let Ok(status) = tokio::time::timeout(WAIT_LIMIT, self.child.wait()).await else {
            bail!("the process goes on; it said:\n{}", self.lines().join("\n"));
        };
        for reader in std::mem::take(&mut self.readers) {
            reader.join().await;
        }
        Ok(Ended { status: status.context("cannot wait for a process")?, lines: self.lines() })
    }
}

async fn read(source: impl AsyncRead + Unpin, said: watch::Sender<Vec<String>>) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        said.send_modify(|all| all.push(line));
    }
}
