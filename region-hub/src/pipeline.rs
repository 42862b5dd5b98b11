//! Wires the stages in the order data flows, and drives the node; it decides nothing.

use std::sync::Arc;

use headland_platform::clock::Clock;
use headland_platform::config::Loaded;
use headland_platform::task::{self, Token};
use headland_storage::{CommitWriter, Report};
use tokio::sync::{mpsc, watch};

/// The node and what it works on.
mod stages;
/// What can be checked without starting.
mod checkup;
/// What has to be ready before the stages run.
mod start;

pub use checkup::check;
use stages::{LogRead, Stages};
use start::Parts;
pub use start::RunError;

use crate::api::{self, Question, Sources};
use crate::config::HubConfig;
use crate::connections::{Connections, LinkInput};

/// Inputs handled before outputs are drained: they share commits and frames.
const INPUTS_AT_ONCE: usize = 256;

/// Runs a hub until the token is cancelled.
///
/// # Errors
/// [`RunError`] when it cannot start, or its log fails for good.
///
/// # Cancel safety
/// Cancel the token instead: what is queued is then written and the log closed.
pub async fn run(config: Loaded<HubConfig>, token: Token) -> Result<(), RunError> {
    let clock = Clock::start();
    let Parts { store, reader, node, snapshots, endpoint, admission, peers, traces, configured } =
        start::start(&config, &clock, &token)?;
    let (reports_tx, reports) = mpsc::unbounded_channel();
    let report = move |report| drop(reports_tx.send(report));
    let writer =
        CommitWriter::start(store, move || clock.monotonic(), report).map_err(RunError::Thread)?;
    let (links_tx, links) = mpsc::channel(INPUTS_AT_ONCE);
    let connections = Connections::start(endpoint.clone(), admission, clock, links_tx, &token);
    let (questions_tx, questions) = mpsc::channel(64);
    let (commits_tx, commits) = watch::channel(0);
    let (read_tx, read) = mpsc::unbounded_channel();
    let sources = Sources { questions: questions_tx, reader: reader.clone(), commits };
    let api = api::serve(&config.value.api.socket, sources, &token)?;
    let mut stages = Stages::new(node, clock, reader, writer, connections, peers)
        .with_traces(traces)
        .with_snapshots(snapshots)
        .with_commits(commits_tx)
        .with_log_reads(read_tx);
    let mut inputs = Inputs { reports, links, questions, read, configured };
    tracing::info!(
        hub = %config.value.name,
        region = %config.value.region,
        address = %endpoint.local_address(),
        "ready"
    );
    let result = loop {
        stages.perform_all();
        if let Some(taken_back) = stages.taken_back() {
            break Err(taken_back.into());
        }
        tokio::select! {
            () = token.cancelled() => break Ok(()),
            result = inputs.next(&mut stages) => if let Err(error) = result { break Err(error) },
        }
    };
    token.cancel();
    let began = clock.monotonic();
    api.join().await;
    let life = stages.life();
    let closing = task::spawn_blocking("close", move || start::close(stages.into_writer(), life));
    closing.join().await.transpose()?;
    let took_ms = clock.monotonic().since(began).as_millis();
    tracing::info!(%took_ms, "closed: all that was acknowledged is on disk");
    result
}

/// What reaches the node.
struct Inputs {
    reports: mpsc::UnboundedReceiver<Report>,
    links: mpsc::Receiver<LinkInput>,
    questions: mpsc::Receiver<Question>,
    read: mpsc::UnboundedReceiver<LogRead>,
    configured: watch::Receiver<Arc<HubConfig>>,
}

impl Inputs {
    /// Feeds the node what comes next, or time. Every branch is cancel safe.
    async fn next(&mut self, stages: &mut Stages) -> Result<(), RunError> {
        let due = stages.until_timeout();
        let timeout = async move {
            match due {
                Some(due) => tokio::time::sleep(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(report) = self.reports.recv() => {
                stages.on_report(report)?;
                while let Ok(report) = self.reports.try_recv() {
                    stages.on_report(report)?;
                }
            }
            Some(input) = self.links.recv() => {
                stages.on_link(input);
                for _ in 1..INPUTS_AT_ONCE {
                    let Ok(input) = self.links.try_recv() else { break };
                    stages.on_link(input);
                }
            }
            Some(question) = self.questions.recv() => stages.on_question(question),
            Some(read) = self.read.recv() => stages.on_log_read(read),
            Ok(()) = self.configured.changed() => {
                let config = Arc::clone(&self.configured.borrow_and_update());
                stages.on_configured(&config);
            }
            () = timeout => {}
        }
        stages.on_timeout();
        Ok(())
    }
}
