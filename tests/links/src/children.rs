//! The processes of a measurement, and what they say: a line of JSON each time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::network::{Network, Place};

/// Says something to the process that started this one.
pub(crate) fn say(what: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").context("nobody listens")?;
    out.flush().context("nobody listens")
}

/// A process of the measurement; it is killed when it is dropped.
pub(crate) struct Process {
    role: &'static str,
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program in another role.
    pub(crate) fn start(
        role: &'static str,
        network: &Network,
        place: Place,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = network.command(place, &program);
        command.arg(role);
        for (name, value) in options {
            command.args([&format!("--{name}"), *value]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the {role}"))?;
        let said = child.stdout.take().context("its output is a pipe")?;
        Ok(Self { role, child, said: BufReader::new(said) })
    }

    /// Waits for the next thing it says.
    pub(crate) fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line);
        read.with_context(|| format!("cannot hear the {}", self.role))?;
        ensure!(!line.is_empty(), "the {} ended without a word", self.role);
        serde_json::from_str(&line).with_context(|| format!("the {} said {line:?}", self.role))
    }

    /// Asks it to end, and waits for its last word.
    pub(crate) fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let last = self.hear()?;
        self.child.wait().with_context(|| format!("cannot wait for the {}", self.role))?;
        Ok(last)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already unless the measurement failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
