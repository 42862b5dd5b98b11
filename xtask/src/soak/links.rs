//! What links cost and how fast they are: `links-proof` built for release, with its scenarios.
//!
//! It runs below the target folder; what it writes is taken away again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Measured;
use super::broker;
use super::proof::Proof;
use crate::workspace::Workspace;

const AREA: &str = "links";
/// Makes the network; its binary is expected beside the proof's.
const NETWORK: &str = "headland-wan";
const SCENARIOS: &str = "tests/links/scenarios";
/// How the brokers and MirrorMaker are set up.
const PEERS: &str = "tests/links/peers";

/// What `failover-proof` measures.
const FAILOVERS: [&str; 3] = ["groups", "automatic", "disks"];

/// Two processes on one machine without a network between them.
pub(super) fn loopback(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    measure(workspace, "loopback-", arguments)
}

/// Two processes with an emulated network between them.
pub(super) fn wan(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    measure(workspace, "wan-", arguments)
}

/// Two that share one bottleneck: links, and kernel flows.
pub(super) fn fair(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    measure(workspace, "fair-", arguments)
}

/// A path that breaks, and one on which the sender gets another address.
pub(super) fn cuts(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    measure(workspace, "cut-", arguments)
}

/// Alerts beside a backlog over a bad path.
pub(super) fn catch_up(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    measure(workspace, "catch-up-", arguments)
}

/// The same scenarios over a link and over MirrorMaker 2, which Maven fetches: those without a
/// network, or those that `--only` names the beginning of.
pub(super) fn peers(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let prefix = super::option(arguments, "--only")?.unwrap_or("loopback-");
    let scenarios = scenarios(&workspace.root().join(SCENARIOS), prefix)?;
    ensure!(!scenarios.is_empty(), "no scenario in {SCENARIOS} begins with {prefix}");
    let (mut proof, options) = with_peers(workspace)?;
    for (name, scenario) in scenarios {
        let scenario = ["--scenario".to_owned(), scenario.display().to_string()];
        proof.run(&name, "beside", &[&options[..], &scenario].concat())?;
    }
    Ok(proof.measured())
}

/// MirrorMaker 2 alone, in layouts where names decide, and where its translated groups go on.
pub(super) fn contrast(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let only = super::option(arguments, "--only")?.unwrap_or_default();
    let (mut proof, mut options) = with_peers(workspace)?;
    options.extend(["--only".to_owned(), only.to_owned()]);
    proof.run("contrast", "contrast", &options)?;
    Ok(proof.measured())
}

/// The proof, and where it finds what Maven fetched.
fn with_peers(workspace: &Workspace) -> Result<(Proof, Vec<String>)> {
    let mut proof = Proof::build(workspace, AREA, &[NETWORK])?;
    let folder = workspace.target_directory()?.join("links-peers");
    std::fs::create_dir_all(&folder).context("cannot create a folder")?;
    broker::fetch(workspace, &folder)?;
    proof.condition("kafka", Value::from(broker::VERSION));
    let classes = folder.join(broker::CLASSES);
    let settings = workspace.root().join(PEERS);
    let paths = [("directory", &folder), ("classes", &classes), ("settings", &settings)];
    let options = paths.into_iter();
    let options =
        options.flat_map(|(name, path)| [format!("--{name}"), path.display().to_string()]);
    Ok((proof, options.collect()))
}

/// Real hubs, either of which is killed under load.
pub(super) fn kill(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let kills = super::option(arguments, "--kills")?.unwrap_or("200");
    let mut proof = Proof::build(workspace, "kills", &super::NODES)?;
    proof.run("kills", kills, &[])?;
    Ok(proof.measured())
}

/// Regions that are left and returned to, killed under load, or lose their disk.
pub(super) fn failover(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let only = super::option(arguments, "--only")?;
    let named = FAILOVERS.into_iter().filter(|name| only.is_none_or(|only| only == *name));
    let named: Vec<&str> = named.collect();
    ensure!(!named.is_empty(), "--only takes one of {}", FAILOVERS.join(", "));
    let mut proof = Proof::build(workspace, "failover", &super::NODES)?;
    for name in named {
        proof.run(name, name, &[])?;
    }
    Ok(proof.measured())
}

/// Real hubs, between which somebody drops a record and doubles another.
pub(super) fn audit(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let records = super::option(arguments, "--records")?.unwrap_or("10000000");
    let mut proof = Proof::build(workspace, "audit", &super::NODES)?;
    proof.run("audit", records, &[])?;
    Ok(proof.measured())
}

/// Many agents on one hub, which is then killed and started again.
pub(super) fn agents(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let count = super::option(arguments, "--agents")?.unwrap_or("2000").to_owned();
    let seconds = super::option(arguments, "--seconds")?.unwrap_or("60").to_owned();
    let mut proof = Proof::build(workspace, "agents", &super::NODES)?;
    proof.run("agents", &count, &[seconds])?;
    let mut measured = proof.measured();
    measured.result = measured.result.get_mut("agents").map(Value::take).unwrap_or_default();
    Ok(measured)
}

/// Runs every scenario whose name begins so, or those that `--only` names the beginning of.
fn measure(workspace: &Workspace, prefix: &str, arguments: &[String]) -> Result<Measured> {
    let prefix = super::option(arguments, "--only")?.unwrap_or(prefix);
    let scenarios = scenarios(&workspace.root().join(SCENARIOS), prefix)?;
    ensure!(!scenarios.is_empty(), "no scenario in {SCENARIOS} begins with {prefix}");
    let mut proof = Proof::build(workspace, AREA, &[NETWORK])?;
    let folder = workspace.target_directory()?.join("links-proof");
    for (name, scenario) in scenarios {
        let paths = [folder.as_path(), &scenario].map(|path| path.display().to_string());
        let [folder, scenario] = paths;
        let options = ["--directory", &folder, "--scenario", &scenario].map(str::to_owned);
        proof.run(&name, "measure", &options)?;
    }
    Ok(proof.measured())
}

/// Names and files of the scenarios that begin with `prefix`, in order.
fn scenarios(folder: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>> {
    let files =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for file in files {
        let path = file.context("cannot read a scenario's name")?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        found.extend(name.filter(|name| name.starts_with(prefix)).map(|name| (name, path)));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_found_by_the_beginning_of_their_name_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SCENARIOS);

        let found = scenarios(&folder, "loopback-rate-").unwrap();

        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["loopback-rate-1000", "loopback-rate-5000"]);
    }
}
