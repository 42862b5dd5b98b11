//! The control socket: how a running network is changed and asked.
//!
//! One JSON object a line, one line back. The socket is a file that only its owner can use.
//!
//! | Line | Answer |
//! | --- | --- |
//! | a [`crate::Change`], `{"cut":"both"}` | `{"ok":true}` after it took effect |
//! | `"report"` | [`crate::report`] |
//! | `"sides"` | where the namespaces are, see [`crate::control::Sides`] |
//! | `"stop"` | `{"ok":true}`, then the network ends |
//!
//! A line that cannot be read is answered with `{"error":"…"}`.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::Change;

/// The longest line that is read: many times the longest change.
const LINE_BYTES_LIMIT: u64 = 16 << 10;

/// What a control socket controls.
pub trait Controlled: Send + Sync {
    /// Applies a change before it returns.
    fn apply(&self, change: &Change);
    /// What became of the packets so far, as [`crate::report::report`] writes it.
    fn report(&self) -> Value;
    /// Where its namespaces are, for a network that has some.
    fn sides(&self) -> Option<Sides>;
    /// Ends it.
    fn stop(&self);
}

/// Where the two sides of a network are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// The client's side.
    pub a: Side,
    /// The target's side.
    pub b: Side,
}

/// One side of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// A path that names the namespace while the network runs, for `nsenter --net=` too.
    pub namespace: PathBuf,
    /// The side's IPv4 address.
    pub ipv4: std::net::Ipv4Addr,
    /// The side's IPv6 address.
    pub ipv6: std::net::Ipv6Addr,
}

/// A line to a control socket.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Ask(Question),
    Change(Box<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Report,
    Sides,
    Stop,
}

/// A bound control socket; its file goes when this does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path` for its owner only. A file that a dead process left there is taken over.
    ///
    /// # Errors
    /// When somebody listens there, or the folder is not writable.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if path.exists() && UnixStream::connect(path).is_err() {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves one connection after the other until `"stop"` was asked.
    ///
    /// # Errors
    /// When the socket itself fails; a connection that breaks ends only itself.
    pub fn serve(&self, controlled: &dyn Controlled) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept()?;
            // A peer that went away is no concern of the next one.
            if converse(&stream, controlled).unwrap_or(Then::GoOn) == Then::Stop {
                return Ok(());
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that stays is taken over by the next to bind it.
        drop(fs::remove_file(&self.path));
    }
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

fn converse(mut stream: &UnixStream, controlled: &dyn Controlled) -> io::Result<Then> {
    let mut lines = BufReader::new(stream.take(LINE_BYTES_LIMIT));
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let (answer, then) = answer(&line, controlled);
        writeln!(stream, "{answer}")?;
        if then == Then::Stop {
            return Ok(then);
        }
        line.clear();
        lines.get_mut().set_limit(LINE_BYTES_LIMIT);
    }
    Ok(Then::GoOn)
}

fn answer(line: &str, controlled: &dyn Controlled) -> (Value, Then) {
    let ok = json!({"ok": true});
    match serde_json::from_str(line) {
        Ok(Line::Ask(Question::Report)) => (controlled.report(), Then::GoOn),
        Ok(Line::Ask(Question::Sides)) => (json!(controlled.sides()), Then::GoOn),
        Ok(Line::Ask(Question::Stop)) => {
            controlled.stop();
            (ok, Then::Stop)
        }
        // Read in a second step: an untagged enum would say only that nothing fitted.
        Ok(Line::Change(change)) => match serde_json::from_value::<Change>(*change) {
            Ok(change) => {
                controlled.apply(&change);
                (ok, Then::GoOn)
            }
            Err(error) => (json!({"error": error.to_string()}), Then::GoOn),
        },
        Err(error) => (json!({"error": error.to_string()}), Then::GoOn),
    }
}

/// Sends one line to a control socket and returns the answer.
///
/// # Errors
/// When nobody listens there, the answer is no JSON, or it is an error, which is then named.
pub fn tell(path: &Path, line: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    writeln!(stream, "{}", line.trim())?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::shaper::Cut;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<Change>>);

    impl Controlled for Recorder {
        fn apply(&self, change: &Change) {
            self.0.lock().unwrap().push(change.clone());
        }
        fn report(&self) -> Value {
            json!({"validity": "valid"})
        }
        fn sides(&self) -> Option<Sides> {
            None
        }
        fn stop(&self) {}
    }

    fn answered(line: &str) -> (Value, Then, Vec<Change>) {
        let recorder = Recorder::default();
        let (value, then) = answer(line, &recorder);
        (value, then, recorder.0.into_inner().unwrap())
    }

    #[test]
    fn a_change_is_applied_and_answered() {
        let (value, then, changes) = answered(r#"{"cut":"both"}"#);

        assert_eq!((value, then), (json!({"ok": true}), Then::GoOn));
        assert_eq!(changes, [Change { cut: Some(Cut::Both), ..Change::default() }]);
    }

    #[test]
    fn a_question_is_answered_and_changes_nothing() {
        assert_eq!(answered("\"report\"").0, json!({"validity": "valid"}));
        assert_eq!(answered("\"sides\"").0, Value::Null);
        assert_eq!(answered("\"stop\"").1, Then::Stop);
    }

    #[test]
    fn a_wrong_line_is_answered_with_what_is_wrong() {
        for (line, wrong) in [
            ("{", "EOF"),
            (r#"{"cut":"some"}"#, "unknown variant `some`"),
            (r#"{"both":{"loss":"200%"}}"#, "chance of 0% to 100%"),
        ] {
            let (value, _, changes) = answered(line);

            let error = value["error"].as_str().unwrap();
            assert!(error.contains(wrong), "{line}: {error}");
            assert_eq!(changes, []);
        }
    }
}
