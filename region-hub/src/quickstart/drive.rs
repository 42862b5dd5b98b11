//! One run from its first line to its verdict.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use headland_event::Monotonic;
use headland_platform::clock::Clock;
use headland_platform::task::{Token, cancel_on_signal};

use super::checker;
use super::children::Children;
use super::configuration;
use super::console::Console;
use super::convergence::await_agreement;
use super::directory::RunDirectory;
use super::dump::dump;
use super::error::QuickstartError;
use super::facts::Fact;
use super::inputs::Inputs;
use super::latency::{self, LatencyReport, Sightings};
use super::network::Network;
use super::nodes::Nodes;
use super::options::Options;
use super::outage::{Outage, Stage};
use super::plan::Plan;
use super::play::{play_paced, play_rounds, release_held};
use super::summary::Summary;

/// How long the processes may take to start and find each other.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long the agents may take to deliver what was written.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether all processes still run.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// At most this many differences that the checker found are printed.
const DIFFERENCES_SHOWN: usize = 25;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All was played and all hubs agreed; with `--check`, the checker found no difference.
    Agreed,
    /// The checker found differences.
    Differs,
    /// Ctrl-C or SIGTERM ended it.
    Interrupted,
}

impl Outcome {
    /// The process's exit code: 0, 1, or 130 as shells use for Ctrl-C.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Agreed => ExitCode::SUCCESS,
            Self::Differs => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

/// Runs the quickstart on a runtime of its own; blocks for the run's duration plus some seconds.
///
/// # Errors
/// [`QuickstartError`] when the run could not go on. All processes it started are gone then, and
/// its directory too, unless it was to be kept.
pub fn run(options: &Options) -> Result<Outcome, QuickstartError> {
    let clock = Clock::start();
    let console = Console::new(clock);
    console.say(&format!(
        "quickstart with seed {}: {} regions, each a hub and two agents, on this machine",
        options.seed.get(),
        options.regions.get(),
    ));
    let machine = |source| QuickstartError::Machine { what: "an async runtime", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(machine)?.block_on(run_until_signal(options, clock, &console))
}

async fn run_until_signal(
    options: &Options,
    clock: Clock,
    console: &Console,
) -> Result<Outcome, QuickstartError> {
    let token = Token::new();
    let plan = Plan::new(options)?;
    let directory = RunDirectory::create(options.keep.as_deref())?;
    let children = Mutex::new(Children::find()?);
    let network = Network::start(plan.fleet.regions(), options.seed.get(), clock, &token)?;
    configuration::write(&plan.fleet, &network, &directory)?;
    let nodes = Nodes::new(&plan.fleet, &directory, clock);
    let inputs = Inputs::open(&plan.fleet, &directory)?;
    let stage = Stage {
        directory: &directory,
        network: &network,
        children: &children,
        nodes: &nodes,
        inputs: &inputs,
        clock,
    };
    let drive = Drive { plan: &plan, stage: &stage, console, token: &token };
    let ended = tokio::select! {
        biased;
        signal = cancel_on_signal(token.clone()) => {
            let what = "to listen to signals";
            signal.map_err(|source| QuickstartError::Machine { what, source })
                .map(|()| Outcome::Interrupted)
        }
        failed = watch(&stage) => Err(failed),
        verdict = drive.run(options) => verdict,
    };
    token.cancel();
    let all = stage.lock().take_all();
    for mut child in all {
        // One that is gone already needs no killing.
        drop(child.kill().await);
    }
    if directory.is_kept() {
        console.say(&format!("everything is in {}", directory.path().display()));
    }
    ended
}

/// Ends when a process has ended by itself.
async fn watch(stage: &Stage<'_>) -> QuickstartError {
    loop {
        if let Err(ended) = stage.lock().check(stage.directory) {
            return ended;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// What a run needs at hand.
#[derive(Debug)]
struct Drive<'a> {
    plan: &'a Plan,
    stage: &'a Stage<'a>,
    console: &'a Console,
    token: &'a Token,
}

impl Drive<'_> {
    async fn run(&self, options: &Options) -> Result<Outcome, QuickstartError> {
        let Stage { directory, nodes, inputs, clock, .. } = *self.stage;
        self.stage.lock().start_all(&self.plan.fleet, directory)?;
        nodes.await_linked(START_LIMIT).await?;
        self.console.say(&format!(
            "{} hubs and {} agents run, linked by mutual TLS",
            self.plan.fleet.regions().len(),
            self.plan.fleet.sites().len()
        ));
        let sightings = latency::follow(nodes, clock, self.token);
        self.open_stock().await?;
        let outage = self.play().await?;
        nodes.await_delivered(inputs, DELIVERY_LIMIT).await?;
        let last_input = clock.monotonic();
        let summary = self.summarise(&sightings, outage, last_input).await?;
        self.console.print(&format!("\n{}\n", summary.table()));
        if options.check { Ok(self.verify(directory.path())) } else { Ok(Outcome::Agreed) }
    }

    async fn open_stock(&self) -> Result<(), QuickstartError> {
        let Stage { directory, nodes, inputs, .. } = *self.stage;
        let facts: String =
            self.plan.facts.iter().map(Fact::line).map(|line| line + "\n").collect();
        directory.write("facts.jsonl", &facts)?;
        self.plan.opening.iter().try_for_each(|feed| inputs.play(feed))?;
        nodes.await_delivered(inputs, DELIVERY_LIMIT).await?;
        self.console.say(&format!(
            "opening stock is in: {} deliveries; recorded streams now play for {} s",
            self.plan.opening.len(),
            self.plan.play.as_secs()
        ));
        Ok(())
    }

    /// Plays everything; the outage happens meanwhile.
    async fn play(&self) -> Result<Outage, QuickstartError> {
        let Stage { nodes, inputs, clock, .. } = *self.stage;
        let Plan { paced, held, play, .. } = self.plan;
        let progress = self.console.progress("played", paced.len());
        let start = clock.monotonic();
        let (outage, (), ()) = tokio::try_join!(
            self.story(start, |text| progress.say(&text)),
            play_paced(paced, inputs, clock, start, |done| progress.set(done)),
            release_held(held, inputs, nodes, *play),
        )?;
        Ok(outage)
    }

    /// Planted cases, then the outage with more of them.
    async fn story(
        &self,
        start: Monotonic,
        say: impl Fn(String),
    ) -> Result<Outage, QuickstartError> {
        let Stage { nodes, inputs, .. } = *self.stage;
        play_rounds(&self.plan.planted.before, inputs, nodes).await?;
        self.stage.sleep_until(start.after(self.plan.cut_at)).await;
        self.stage.break_and_heal(self.plan, say).await
    }

    async fn summarise(
        &self,
        sightings: &Sightings,
        outage: Outage,
        last_input: Monotonic,
    ) -> Result<Summary, QuickstartError> {
        let Stage { directory, nodes, inputs, clock, .. } = *self.stage;
        let views = await_agreement(nodes).await?;
        let converged_in = clock.monotonic().since(last_input);
        let counts = dump(nodes, directory).await?;
        let latency = LatencyReport::new(&sightings.all(), &outage);
        let events_in = inputs.lines();
        Ok(Summary { events_in, counts, views, latency, outage, converged_in })
    }

    /// Lets the external checker compare files with files.
    fn verify(&self, run: &Path) -> Outcome {
        match checker::check(run) {
            Ok(compared) => {
                self.console.say(&format!("every hub equals the inputs in {compared} records"));
                Outcome::Agreed
            }
            Err(differences) => {
                for line in differences.iter().take(DIFFERENCES_SHOWN) {
                    self.console.print(line);
                }
                self.console.say(&format!("{} differences", differences.len()));
                Outcome::Differs
            }
        }
    }
}
