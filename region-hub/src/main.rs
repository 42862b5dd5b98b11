//! `headland`: a region's hub, and what its operators need around it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use headland_platform::clock::Clock;
use headland_platform::process::{self, Lifetime};
use headland_platform::task;
use region_hub::audit::AuditOptions;
use region_hub::failover::{FailbackOptions, FailoverAction, FailoverOptions};
use region_hub::groups::GroupCommand;
use region_hub::links::LinkCommand;
use region_hub::members::RegionCommand;
use region_hub::pki::PkiCommand;
use region_hub::reserve::ReserveCommand;
use region_hub::review::ReviewCommand;
use region_hub::rules::RulesCommand;
use region_hub::schemas::SchemaCommand;
use region_hub::stock::StockOptions;
use region_hub::store::StoreCommand;

/// A multi-region replicated edge detection platform.
#[derive(Debug, Parser)]
#[command(name = "headland", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a region's hub.
    Hub {
        /// The hub's configuration.
        #[arg(long)]
        config: PathBuf,
        /// What to log, for example `info` or `info,region_hub=debug`.
        #[arg(long, default_value = "info")]
        log: String,
        /// Check configuration and certificates, say what was found, then exit.
        #[arg(long)]
        check: bool,
        /// End when the process that started this one ends; for drivers.
        #[arg(long, hide = true)]
        exit_with_parent: bool,
    },
    /// Make a fleet's authority and the certificates of its nodes.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Check rule files, or explain what their rules will do.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Look at late events and decide whether they count.
    #[command(subcommand)]
    Review(ReviewCommand),
    /// Compare a running hub's log with what the writers of its streams state.
    Audit(AuditOptions),
    /// Show and change which regions take part.
    #[command(subcommand)]
    Region(RegionCommand),
    /// Show, pause, resume and limit links to other regions.
    #[command(subcommand)]
    Link(LinkCommand),
    /// Show, read and set how far consumer groups have read, in every region.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Leave a region: it takes nothing of agents and no commits, groups go on at the hub asked.
    Failover(FailoverOptions),
    /// Return to a region that was left: it takes agents and commits again, groups go on there.
    Failback(FailbackOptions),
    /// Show stock and attributes of a sku, with the cut they reflect.
    Stock(StockOptions),
    /// Promise units to customers, so that no region sells one twice.
    #[command(subcommand)]
    Reserve(ReserveCommand),
    /// Check the schemas of topics.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Verify, back up and restore a node's data directory.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Start regions on this machine, play recorded streams, break things, compare the answers.
    Quickstart(region_hub::quickstart::Options),
}

fn main() -> ExitCode {
    task::end_on_panic(headland_storage::is_panic_contained);
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", process::last_word("headland", error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Hub { config, log, check, exit_with_parent } => {
            let lifetime = if exit_with_parent { Lifetime::OfParent } else { Lifetime::Own };
            process::begin(&log, lifetime)?;
            let config = region_hub::config::load(&config)?;
            if check {
                for line in region_hub::check(&config, Clock::start().wall())? {
                    eprintln!("{line}");
                }
                return Ok(ExitCode::SUCCESS);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(process::run_until_signal(|token| region_hub::run(config, token)))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pki(command) => {
            eprintln!("{}", region_hub::pki::run(&command, Clock::start().wall())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules(command) => {
            let report = region_hub::rules::run(&command);
            std::io::stdout().write_all(report.told.as_bytes())?;
            std::io::stderr().write_all(report.refused.as_bytes())?;
            Ok(report.judgement.exit_code().into())
        }
        Command::Review(command) => {
            let told = region_hub::review::run(&command)?;
            if let Some(cut) = region_hub::review::cut(&command, &told) {
                eprintln!("{cut}");
            }
            say(&told)
        }
        Command::Audit(options) => {
            let audited = region_hub::audit::run(&options)?;
            std::io::stdout().write_all(format!("{audited}\n").as_bytes())?;
            Ok(audited.exit_code())
        }
        Command::Region(command) => say(&region_hub::members::run(&command)?),
        Command::Link(command) => say(&region_hub::links::run(&command)?),
        Command::Group(command) => say(&region_hub::groups::run(&command)?),
        Command::Failover(options) => {
            say(&region_hub::failover::run(&options, FailoverAction::Leave)?)
        }
        Command::Failback(options) => say(&region_hub::failover::run_back(&options)?),
        Command::Stock(options) => say(&region_hub::stock::run(&options)?),
        Command::Reserve(command) => say(&region_hub::reserve::run(&command)?),
        Command::Schema(command) => say(&region_hub::schemas::run(&command)?),
        Command::Store(command) => {
            let outcome = region_hub::store::run(&command)?;
            eprintln!("{outcome}");
            Ok(outcome.exit_code())
        }
        Command::Quickstart(options) => Ok(region_hub::quickstart::run(&options)?.exit_code()),
    }
}

/// Prints what a command found.
fn say(lines: &str) -> Result<ExitCode, Box<dyn std::error::Error>> {
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
