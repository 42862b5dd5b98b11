//! `headland-wan probe`: what the emulator does, measured from outside by plain sockets in the two
//! namespaces. One JSON object on standard output.

/// Round trips of single datagrams.
mod round_trip;
/// Which of many numbered datagrams arrive.
mod loss;
/// How much passes: a UDP blaster or a TCP flow.
mod throughput;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Outcome;
use super::session::{NetOptions, Session};

/// What to measure over which network.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    net: NetOptions,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Round trips of single datagrams, beside what the profile's delays promise.
    RoundTrip(round_trip::Options),
    /// Which of many numbered datagrams arrive.
    Loss(loss::Options),
    /// A sender without congestion control.
    Udp(throughput::UdpOptions),
    /// One TCP flow.
    Tcp(throughput::TcpOptions),
}

/// Makes the network, measures, prints.
pub(crate) fn probe(options: &Options) -> Outcome {
    let session = Session::start(&options.net)?;
    let measured = match &options.what {
        What::RoundTrip(options) => round_trip::measure(&session, options),
        What::Loss(options) => loss::measure(&session, options),
        What::Udp(options) => throughput::udp(&session, options),
        What::Tcp(options) => throughput::tcp(&session, options),
    };
    let emulator = session.finish()?;
    let result: Result<Value, Box<dyn Error>> = measured;
    writeln!(std::io::stdout(), "{}", json!({"measured": result?, "emulator": emulator}))?;
    Ok(ExitCode::SUCCESS)
}
