//! A network namespace that lives as long as somebody holds it open.
//!
//! It has no name and no mount: when the last process in it and the last open handle are gone, so
//! is the namespace with all its devices, however its owner ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

/// A handle to a network namespace.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Makes a namespace that holds nothing but a loopback device, which is down.
    ///
    /// # Errors
    /// When this process may not make namespaces: it needs `CAP_SYS_ADMIN`.
    pub fn create() -> io::Result<Self> {
        let handle = on_own_thread(|| {
            sys::leave_network()?;
            File::open("/proc/thread-self/ns/net")
        })?;
        Ok(Self { handle })
    }

    /// Opens a namespace by a path that names it, such as [`Self::path`] of another process.
    ///
    /// # Errors
    /// When nothing is there or this process may not look.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        File::open(path).map(|handle| Self { handle })
    }

    /// A path under which other processes can open it while this one lives, for `nsenter` too.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    /// Moves the calling thread into it, for good: sockets it opens and processes it starts from
    /// now on are inside.
    ///
    /// # Errors
    /// When this process may not enter namespaces.
    pub fn enter(&self) -> io::Result<()> {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.handle.as_fd(), network).map_err(Into::into)
    }

    /// Does `work` inside, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// Those of entering and of `work`.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_own_thread(|| {
            self.enter()?;
            work()
        })
    }
}

/// Threads change their namespace for good, so what must not change the caller's has its own.
fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
