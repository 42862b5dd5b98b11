//! The store beside Kafka's broker: the same requests, from the same producers, to each of them.

/// The few requests of Kafka's protocol that producing takes.
mod protocol;
/// A connection to a broker.
#[expect(dead_code, reason = "the proof of links shares one between threads")]
mod connection;
/// Producers, each with one request on its way.
mod producer;
/// The store behind a local socket.
mod server;
/// Turns, and what they amount to.
mod rates;

pub(crate) use rates::run;
pub(crate) use server::run as serve;
