//! How a link does, in one word, by what its peer has acknowledged and not by what was sent.

use std::time::Duration;

use headland_event::Monotonic;
use serde::Serialize;

use crate::marks::Outstanding;

/// How long a record may wait for its acknowledgement while a link is in order: above a round trip
/// of half the world and a slow disk.
pub const AGE_MAX: Duration = Duration::from_secs(5);

/// How long nothing may be acknowledged while something is outstanding: twice the silence after
/// which a link is given up, so that a cut says `down` before anything says `stalled`.
pub const STILL_MAX: Duration = Duration::from_secs(10);

/// How a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The peer has what is older than a few seconds.
    Ok,
    /// It lacks more, and gets on.
    CatchingUp,
    /// What it lacks is held back here on purpose.
    Paused,
    /// It lacks something, and has acknowledged nothing for seconds.
    Stalled,
    /// The peer does not take a topic of which it lacks something; the link says which and why.
    Refused,
    /// There is no connection.
    Down,
}

impl Condition {
    /// Every condition, the best first.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::CatchingUp, Self::Paused, Self::Stalled, Self::Refused, Self::Down];
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::CatchingUp => "catching-up",
            Self::Paused => "paused",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
            Self::Down => "down",
        })
    }
}

/// Whether there is a connection that carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// There is, since then.
    Since(Monotonic),
    /// There is none.
    None,
}

/// What a link's condition follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Whether there is a connection.
    pub connection: Connection,
    /// What the peer lacks and may get.
    pub flowing: Outstanding,
    /// What it lacks and is held back here.
    pub held: Outstanding,
    /// What it lacks and does not take.
    pub refused: Outstanding,
    /// When it last acknowledged anything.
    pub acked_at: Option<Monotonic>,
}

impl Condition {
    /// The condition at `now`. While there is no connection it is down, whatever is outstanding;
    /// what is refused shows only where nothing else is late, as no time mends it.
    #[must_use]
    pub fn of(observed: &Observed, now: Monotonic) -> Self {
        let Observed { connection, flowing, held, refused, acked_at } = observed;
        let Connection::Since(up_at) = connection else { return Self::Down };
        if flowing.records > 0 && flowing.age > AGE_MAX {
            // What waits longer than anything was acknowledged: from a new connection on.
            let still = now.since((*up_at).max(acked_at.unwrap_or_default()));
            return if still > STILL_MAX { Self::Stalled } else { Self::CatchingUp };
        }
        match (refused.records, held.records) {
            (1.., _) => Self::Refused,
            (0, 1..) => Self::Paused,
            (0, 0) => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Monotonic {
        Monotonic::from_millis(second * 1_000)
    }

    fn outstanding(records: u64, seconds: u64) -> Outstanding {
        Outstanding { records, age: Duration::from_secs(seconds), ..Outstanding::default() }
    }

    fn observed(records: u64, seconds: u64) -> Observed {
        Observed {
            connection: Connection::Since(at(0)),
            flowing: outstanding(records, seconds),
            held: Outstanding::default(),
            refused: Outstanding::default(),
            acked_at: Some(at(100)),
        }
    }

    #[test]
    fn what_waits_for_five_seconds_is_in_order_and_longer_is_catching_up() {
        assert_eq!(Condition::of(&observed(9, 5), at(101)), Condition::Ok);
        assert_eq!(Condition::of(&observed(9, 6), at(101)), Condition::CatchingUp);
        assert_eq!(Condition::of(&observed(0, 0), at(9_999)), Condition::Ok);
    }

    #[test]
    fn nothing_acknowledged_for_more_than_ten_seconds_is_stalled() {
        assert_eq!(Condition::of(&observed(1, 60), at(110)), Condition::CatchingUp);
        assert_eq!(Condition::of(&observed(1, 60), at(111)), Condition::Stalled);
    }

    #[test]
    fn a_new_connection_is_not_stalled_by_what_the_former_one_left() {
        let new = Observed { connection: Connection::Since(at(500)), ..observed(1, 400) };

        assert_eq!(Condition::of(&new, at(505)), Condition::CatchingUp);
        assert_eq!(Condition::of(&new, at(511)), Condition::Stalled);
    }

    #[test]
    fn what_is_held_on_purpose_is_paused_what_is_refused_says_so_and_no_link_is_down() {
        let held = Observed { held: outstanding(7, 900), ..observed(0, 0) };
        let down = Observed { connection: Connection::None, ..held };

        let refused = Observed { refused: outstanding(1, 0), ..held };

        assert_eq!(Condition::of(&held, at(200)), Condition::Paused);
        assert_eq!(Condition::of(&refused, at(200)), Condition::Refused);
        assert_eq!(Condition::of(&down, at(200)), Condition::Down);
    }
}
