//! `headland-wan`: emulated networks to run programs over.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The only reader of the clock.
mod clock;
/// What each subcommand does.
mod command;

use command::{exec, probe, profiles, relay, run, tell, up};

/// Emulates a WAN in user space: delay, jitter, loss, rate, cuts, the same for the same seed.
#[derive(Debug, Parser)]
#[command(name = "headland-wan", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a network, run a command on its side a, end with it (needs root).
    Run(run::Options),
    /// Networks that other processes join.
    #[command(subcommand)]
    Net(NetCommand),
    /// Stand between clients and a server, without privilege.
    Relay(relay::Options),
    /// Change or ask a running network: a JSON line, see the README of infra/wan.
    Tell(tell::Options),
    /// Measure an emulated network with plain sockets; one JSON object (needs root).
    Probe(probe::Options),
    /// List the profiles that have names.
    Profiles,
}

#[derive(Debug, Subcommand)]
enum NetCommand {
    /// Make a network and keep it until it is told to stop (needs root).
    Up(up::Options),
    /// Become a command on one side of a running network (needs root).
    Exec(exec::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => run::run(options),
        Command::Net(NetCommand::Up(options)) => up::up(&options),
        Command::Net(NetCommand::Exec(options)) => exec::exec(&options),
        Command::Relay(options) => relay::relay(&options),
        Command::Tell(options) => tell::tell(&options),
        Command::Probe(options) => probe::probe(&options),
        Command::Profiles => profiles::list(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("headland-wan: {error}");
        let mut cause = error.source();
        while let Some(source) = cause {
            eprintln!("  caused by: {source}");
            cause = source.source();
        }
        ExitCode::FAILURE
    })
}
