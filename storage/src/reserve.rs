//! Room kept on the disk so that alerts still get through when it is full.
//!
//! The reserve is a preallocated file. When a group of alerts finds no room, the file is removed
//! and its room is theirs; from then on everything else is refused until the whole reserve could
//! be taken back, which is tried before each of those groups. So nobody has to restart anything.

use headland_event::ByteCount;

use crate::commit::Priority;
use crate::medium::{Medium, MediumError};

const RESERVE_NAME: &str = "reserve";

/// The reserve and whether it is held.
#[derive(Debug)]
pub(crate) struct Reserve {
    size: ByteCount,
    state: ReserveState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReserveState {
    /// None is wanted.
    Unused,
    /// The room is taken.
    Held,
    /// The room was given to alerts, or there was not enough for a reserve.
    Released,
}

impl Reserve {
    /// Takes the reserve if there is room for it.
    pub(crate) fn open<M: Medium>(medium: &mut M, size: ByteCount) -> Result<Self, MediumError> {
        if medium.list()?.iter().any(|name| name == RESERVE_NAME) {
            // Its size may be another now, or half of it may be missing after a crash.
            medium.remove(RESERVE_NAME)?;
        }
        let state = if size.get() == 0 { ReserveState::Unused } else { ReserveState::Released };
        let mut reserve = Self { size, state };
        reserve.take(medium)?;
        Ok(reserve)
    }

    /// Bytes of the whole reserve.
    pub(crate) const fn size(&self) -> ByteCount {
        self.size
    }

    /// Whether a group of this priority may be written now.
    pub(crate) fn admits<M: Medium>(
        &mut self,
        medium: &mut M,
        priority: Priority,
    ) -> Result<bool, MediumError> {
        match priority {
            Priority::Alerts => Ok(true),
            Priority::Normal => {
                self.take(medium)?;
                Ok(self.state != ReserveState::Released)
            }
        }
    }

    /// Gives the room away if this priority may have it; returns whether there is room now.
    pub(crate) fn release_for<M: Medium>(
        &mut self,
        medium: &mut M,
        priority: Priority,
    ) -> Result<bool, MediumError> {
        match (priority, self.state) {
            (Priority::Alerts, ReserveState::Held) => {
                medium.remove(RESERVE_NAME)?;
                self.state = ReserveState::Released;
                Ok(true)
            }
            (Priority::Normal, _)
            | (Priority::Alerts, ReserveState::Unused | ReserveState::Released) => Ok(false),
        }
    }

    fn take<M: Medium>(&mut self, medium: &mut M) -> Result<(), MediumError> {
        match self.state {
            ReserveState::Unused | ReserveState::Held => Ok(()),
            ReserveState::Released => match medium.create(RESERVE_NAME, self.size) {
                Ok(_) => {
                    self.state = ReserveState::Held;
                    Ok(())
                }
                Err(MediumError::Full { .. }) => Ok(()),
                Err(error @ MediumError::Io { .. }) => Err(error),
            },
        }
    }
}
