//! Wires the stages in the order data flows, and drives the node; it decides nothing.

use headland_platform::clock::Clock;
use headland_platform::config::Loaded;
use headland_platform::task::{self, Task, Token};
use headland_storage::{CommitWriter, Report, Scrubbed};
use tokio::sync::mpsc;

/// What can be checked without starting.
mod checkup;
/// What has to be ready before the stages run.
mod start;
/// The node and what it works on.
mod stages;

pub use checkup::check;
use stages::{Stages, UplinkInUse};
use start::Parts;
pub use start::RunError;

use crate::api::{self, StatusQuery};
use crate::config::AgentConfig;
use crate::connection::{self, Attempt, LinkInput};
use crate::node::{Output, SourceIndex};
use crate::source::{Chunk, FollowError, Follower};

/// Inputs handled before outputs are drained: they share commits and frames.
const INPUTS_AT_ONCE: usize = 64;

type Lines = (SourceIndex, Result<Chunk, FollowError>);

/// Runs an agent until the token is cancelled.
///
/// # Errors
/// [`RunError`] when it cannot start, or its log fails for good.
///
/// # Cancel safety
/// Cancel the token instead: what is queued is then written and the log closed.
pub async fn run(config: Loaded<AgentConfig>, token: Token) -> Result<(), RunError> {
    let clock = Clock::start();
    let Parts { store, reader, node, snapshots, followers, endpoint, hubs, traces } =
        start::start(&config, &clock, &token).await?;
    let (lines_tx, lines) = mpsc::channel(followers.len().max(1));
    let sources: Vec<Task<_>> = followers
        .into_iter()
        .enumerate()
        .map(|(index, follower)| {
            task::spawn("source", &token, follow(index, follower, clock, lines_tx.clone()))
        })
        .collect();
    let (reports_tx, reports) = mpsc::unbounded_channel();
    let report = move |report| drop(reports_tx.send(report));
    let writer =
        CommitWriter::start(store, move || clock.monotonic(), report).map_err(RunError::Thread)?;
    let (links_tx, links) = mpsc::channel(INPUTS_AT_ONCE);
    let dialling = connection::Dialling { endpoint, hubs, to: links_tx };
    dialling.renew(&token);
    let (queries_tx, queries) = mpsc::channel(8);
    let api = api::serve(&config.value.api.socket, queries_tx, &token)?;
    let uplink = UplinkInUse::default();
    let (scrubs, scrubbed) = mpsc::unbounded_channel();
    let mut stages = Stages { node, clock, reader, writer, uplink, snapshots, traces, scrubs };
    let mut inputs = Inputs { lines, reports, links, queries, scrubbed };
    tracing::info!(agent = %config.value.name, region = %config.value.region, "ready");
    let result = loop {
        while let Some(output) = stages.node.poll_output() {
            match output {
                Output::Dial(hub) => dialling.dial(hub, stages.uplink.begin(hub), &token),
                output => stages.perform(output),
            }
        }
        tokio::select! {
            () = token.cancelled() => break Ok(()),
            result = inputs.next(&mut stages) => if let Err(error) = result { break Err(error) },
        }
    };
    stages.stop();
    let kept_records = stages.node.status().unacknowledged_records;
    token.cancel();
    for source in sources {
        source.join().await;
    }
    api.join().await;
    let closing = task::spawn_blocking("close", || start::close(stages.writer));
    closing.join().await.transpose()?;
    tracing::info!(kept_records, "closed: what the hub does not have yet is kept for it");
    result
}

/// Reads a source until the agent stops.
async fn follow(
    index: SourceIndex,
    mut follower: Follower,
    clock: Clock,
    lines: mpsc::Sender<Lines>,
) {
    loop {
        let chunk = follower.next(&clock).await;
        if lines.send((index, chunk)).await.is_err() {
            return;
        }
    }
}

/// What reaches the node.
struct Inputs {
    lines: mpsc::Receiver<Lines>,
    reports: mpsc::UnboundedReceiver<Report>,
    links: mpsc::Receiver<(Attempt, LinkInput)>,
    queries: mpsc::Receiver<StatusQuery>,
    scrubbed: mpsc::UnboundedReceiver<Scrubbed>,
}

impl Inputs {
    /// Feeds the node what comes next, or time. Every branch is cancel safe.
    async fn next(&mut self, stages: &mut Stages) -> Result<(), RunError> {
        let due = stages.node.poll_timeout().map(|at| stages.clock.until(at));
        let timeout = async move {
            match due {
                Some(due) => tokio::time::sleep(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = self.reports.recv() => {
                // Only the journal's thread sends: without it nothing would ever be durable.
                stages.on_report(report.ok_or(RunError::JournalGone)?)?;
            }
            Some((attempt, input)) = self.links.recv() => {
                stages.on_link(attempt, input);
                for _ in 1..INPUTS_AT_ONCE {
                    let Ok((attempt, input)) = self.links.try_recv() else { break };
                    stages.on_link(attempt, input);
                }
            }
            Some(query) = self.queries.recv() => drop(query.send(stages.node.status())),
            Some((index, lines)) = self.lines.recv(), if stages.node.wants_lines() => {
                stages.on_lines(index, lines);
            }
            Some(scrubbed) = self.scrubbed.recv() => stages.on_scrubbed(scrubbed),
            () = timeout => {}
        }
        stages.node.on_timeout(stages.now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
