//! `links-proof COMMAND --directory D …`: what a link costs and how fast it is, between two
//! processes whose journals are on disk, with mutual TLS, over loopback or an emulated network.
//!
//! `cargo xtask soak` builds it for release and runs its scenarios. What it writes goes below the
//! directory it is given, and is taken away again.

/// The command line.
#[path = "../../storage/src/arguments.rs"]
mod arguments;
/// What a proof ends with.
#[path = "../../storage/src/report.rs"]
mod report;
/// What is sent how fast over which network.
mod scenario;
/// Records that carry the moment they were made.
mod load;
/// Latencies and their quantiles.
mod latency;
/// Who may speak to whom.
mod fleet;
/// One end of a link: its journal, its connection, its state machine.
mod end;
/// The process that sends.
mod source;
/// The process that receives.
mod sink;
/// Kernel TCP flows beside a link.
mod flow;
/// How long nothing arrived.
mod silence;
/// How many bytes arrived in each second.
mod timeline;
/// The network between the processes.
mod network;
/// The processes of a measurement.
mod children;
/// What happens to the network meanwhile.
mod changes;
/// A scenario from start to report.
mod measure;
/// MirrorMaker 2 beside a link.
mod beside;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use arguments::Arguments;

const COMMANDS: &str = "\
Usage: links-proof COMMAND --directory D --scenario FILE

  measure    one scenario: the load, the ends and the network between them (which needs root)
  beside     the same, and then over MirrorMaker 2: --classes FILE --settings FOLDER
  contrast   MirrorMaker 2 alone, where names decide: --classes FILE --settings FOLDER
  source, sink, flow-source, flow-sink, peer-load, peer-watch      processes that they start
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{COMMANDS}") };
    let arguments = Arguments::parse(rest)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match command.as_str() {
        "measure" => return measure::run(arguments)?.print(),
        "beside" => return beside::run(arguments)?.print(),
        "contrast" => return beside::contrast(arguments)?.print(),
        "source" => runtime.block_on(source::run(arguments))?,
        "sink" => runtime.block_on(sink::run(arguments))?,
        "flow-source" => flow::send(arguments)?,
        "flow-sink" => flow::receive(arguments)?,
        "peer-load" => beside::produce(arguments)?,
        "peer-watch" => beside::watch(arguments)?,
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    }
    Ok(ExitCode::SUCCESS)
}
