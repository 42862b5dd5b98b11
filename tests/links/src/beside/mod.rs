//! MirrorMaker 2 between two Kafka clusters beside a link: the same scenario for both.

/// The few requests of Kafka's protocol that producing takes.
#[cfg_attr(not(test), expect(dead_code, reason = "the proof of storage answers them too"))]
#[path = "../../../storage/src/beside/protocol.rs"]
mod protocol;
/// The requests that reading takes.
mod fetch;
/// A connection to a broker.
#[path = "../../../storage/src/beside/connection.rs"]
mod connection;
/// The process that writes to a broker.
mod producer;
/// The process that waits until records are visible at a broker.
mod watcher;
/// Kafka's broker and MirrorMaker 2, as processes.
mod java;
/// One scenario over MirrorMaker.
mod mirror;
/// A link and MirrorMaker side by side.
mod comparison;

/// Requests about topics and groups.
mod catalogue;
/// What MirrorMaker does where names decide, and where groups go on.
mod contrast;

pub(crate) use comparison::run;
pub(crate) use contrast::run as contrast;
pub(crate) use producer::run as produce;
pub(crate) use watcher::run as watch;
