//! `cargo xtask soak NAME --json`: measurements that take long, each one JSON object.

/// The quickstart for many seeds in a row.
mod seeds;
/// The README's commands on a bare Debian.
mod fresh_machine;
/// The binary that measures one area.
mod proof;
/// What the storage engine promises, by `storage-proof`.
mod storage;
/// Kafka's broker, fetched and run beside the store.
mod broker;
/// What the WAN emulator promises, by `headland-wan probe`.
mod wan;
/// What links cost and how fast they are, by `links-proof`.
mod links;
/// What detection promises of speed and size, by `detection-proof`.
mod detection;
/// What reconciliation promises, by `reconcile-proof`.
mod reconcile;
/// Whole regions in one thread, for many seeds.
mod simulation;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::step;
use crate::workspace::Workspace;

/// A measurement that can be asked for by name.
struct Soak {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace, &[String]) -> Result<Measured>,
}

/// What a soak found.
struct Measured {
    /// Whether what the project promises held.
    is_green: bool,
    /// What else the figures depend on: an object, or null.
    conditions: Value,
    /// What was measured, with units in the names.
    result: Value,
}

/// The nodes that a proof starts as processes.
const NODES: [&str; 2] = ["region-hub", "edge-agent"];

const SOAKS: [Soak; 27] = [
    Soak {
        name: "quickstart",
        what: "`cargo quickstart --check` for 20 seeds in a row, or --seeds N",
        run: seeds::run,
    },
    Soak {
        name: "fresh-machine",
        what: "the README's commands on a bare Debian 12: time and disk (needs root, debootstrap)",
        run: fresh_machine::run,
    },
    Soak {
        name: "storage-speed",
        what: "journal and bare file, reads, opening, idleness; --directory D: on that disk",
        run: storage::speed,
    },
    Soak {
        name: "storage-kafka",
        what: "the store beside Kafka's broker: rates and CPU (needs mvn, java 17, the network)",
        run: storage::kafka,
    },
    Soak {
        name: "storage-kill",
        what: "200 kill -9 of a writer at random moments, or --kills N",
        run: storage::kill,
    },
    Soak {
        name: "storage-powercut",
        what: "100 power cuts on an ext4 image in memory, or --cuts N (needs root)",
        run: storage::powercut,
    },
    Soak {
        name: "storage-full",
        what: "a disk without room and a limit on the size of files (needs root)",
        run: storage::full,
    },
    Soak {
        name: "storage-schedules",
        what: "all that a crash leaves of a trace, and 10,000 random schedules, in memory",
        run: storage::schedules,
    },
    Soak {
        name: "wan",
        what: "round trips, losses, throughput of the WAN emulator (needs root); 3 minutes",
        run: wan::run,
    },
    Soak {
        name: "links-loopback",
        what: "processor time and latency of a link between two durable ends",
        run: links::loopback,
    },
    Soak {
        name: "links-wan",
        what: "links and kernel flows over 400 Mbit/s and 80 ms, loss 0 to 3 % (needs root)",
        run: links::wan,
    },
    Soak {
        name: "links-peers",
        what: "links beside MirrorMaker 2; --only wan-loss-1: that one (needs mvn, java 17, root)",
        run: links::peers,
    },
    Soak {
        name: "links-contrast",
        what: "MirrorMaker 2 where names decide, and its groups; --only NAME (needs mvn, java 17)",
        run: links::contrast,
    },
    Soak {
        name: "links-fair",
        what: "two links, and a link and a kernel flow, on one bottleneck (needs root)",
        run: links::fair,
    },
    Soak {
        name: "links-cuts",
        what: "the first record after cuts of 1, 30 and 300 s, and a new address (needs root)",
        run: links::cuts,
    },
    Soak {
        name: "links-kill",
        what: "200 kill -9 of either end of a link under load, or --kills N",
        run: links::kill,
    },
    Soak {
        name: "failover",
        what: "groups at any lag, hubs killed, disks lost; --only groups, automatic or disks",
        run: links::failover,
    },
    Soak {
        name: "audit",
        what: "one of 10,000,000 records dropped, one doubled, or --records N: named when",
        run: links::audit,
    },
    Soak {
        name: "links-agents",
        what: "2,000 agents on one hub, or --agents N: cores, memory, return after a restart",
        run: links::agents,
    },
    Soak {
        name: "links-catch-up",
        what: "alerts while much is caught up with over a bad path (needs root)",
        run: links::catch_up,
    },
    Soak {
        name: "detection-speed",
        what: "processor time and memory of rules, a million keys and their snapshot",
        run: detection::speed,
    },
    Soak {
        name: "reconcile-speed",
        what: "events per second, bytes per key; --directory D: durable commits on that disk",
        run: reconcile::speed,
    },
    Soak {
        name: "reconcile-laws",
        what: "10,000 schedules of each law, or --cases N",
        run: reconcile::laws,
    },
    Soak {
        name: "reconcile-restock",
        what: "from a sale to the restock alert at real hubs: --rate EVENTS --seconds N",
        run: reconcile::restock,
    },
    Soak {
        name: "retail",
        what: "the whole recorded retail stream at several hubs: --data FOLDER",
        run: reconcile::retail,
    },
    Soak {
        name: "escrow",
        what: "10,000 schedules of regions that sell the same stock, or --runs N",
        run: reconcile::escrow,
    },
    Soak {
        name: "simulation",
        what: "1,000 simulated schedules of each kind, or --schedules N from --first SEED on",
        run: simulation::run,
    },
];

/// Runs the named soak, or lists them.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let rest: Vec<String> =
        arguments.iter().filter(|argument| *argument != "--json").cloned().collect();
    let Some((name, rest)) = rest.split_first() else {
        for Soak { name, what, .. } in &SOAKS {
            eprintln!("{name:<16} {what}");
        }
        return Ok(());
    };
    let soak = SOAKS.iter().find(|soak| soak.name == name);
    let Some(soak) = soak else { bail!("no soak `{name}`; `cargo xtask soak` lists them") };
    let measured = (soak.run)(workspace, rest)?;
    let report = report(workspace, soak.name, arguments, &measured)?;
    print(&report, is_json)?;
    if measured.is_green { Ok(()) } else { bail!("{name} is not green") }
}

fn report(
    workspace: &Workspace,
    name: &str,
    arguments: &[String],
    measured: &Measured,
) -> Result<Value> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(workspace.root());
    let commit = step::capture(&mut git)?;
    let date = step::capture(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let mut conditions = conditions()?;
    if let (Some(all), Value::Object(own)) = (conditions.as_object_mut(), &measured.conditions) {
        all.extend(own.clone());
    }
    Ok(json!({
        "name": name,
        "commit": commit.trim(),
        "date": date.trim(),
        "command": format!("cargo xtask soak {}", arguments.join(" ")),
        "conditions": conditions,
        "result": measured.result,
    }))
}

/// What the figures depend on besides the commit.
fn conditions() -> Result<Value> {
    let cores = std::thread::available_parallelism().context("cannot count the cores")?;
    let system = step::capture(Command::new("uname").arg("-srm"))?;
    let rustc = step::capture(Command::new("rustc").arg("--version"))?;
    Ok(json!({
        "cores": cores.get(),
        "system": system.trim(),
        "rustc": rustc.trim(),
        "load_average_at_the_end": load_average()?,
    }))
}

/// The load of the last 1, 5 and 15 minutes: figures of a busy machine are worth less.
fn load_average() -> Result<String> {
    let table = std::fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    Ok(table.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

#[expect(clippy::print_stdout, reason = "the report is this command's output")]
fn print(report: &Value, is_json: bool) -> Result<()> {
    if is_json {
        println!("{report}");
    } else {
        println!("{}", serde_json::to_string_pretty(report).context("cannot write the report")?);
    }
    Ok(())
}

/// The value after `--name` in a list of arguments, which may hold nothing else.
fn option<'a>(arguments: &'a [String], name: &str) -> Result<Option<&'a str>> {
    Ok(options(arguments, &[name])?.get(name).copied())
}

/// The values after names in a list of arguments, which may hold nothing else.
fn options<'a>(arguments: &'a [String], names: &[&str]) -> Result<BTreeMap<&'a str, &'a str>> {
    let pairs = arguments.chunks(2).map(|pair| match pair {
        [name, value] if names.contains(&name.as_str()) => Some((name.as_str(), value.as_str())),
        _ => None,
    });
    pairs.collect::<Option<BTreeMap<_, _>>>().with_context(|| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name} VALUE`")).collect();
        format!("only {} is understood here, found `{}`", names.join(", "), arguments.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_absent_present_or_refused() {
        let given = ["--seeds".to_owned(), "3".to_owned()];

        assert_eq!(option(&[], "--seeds").unwrap(), None);
        assert_eq!(option(&given, "--seeds").unwrap(), Some("3"));
        assert!(option(&given[..1], "--seeds").is_err());
        assert!(option(&given, "--mirror").is_err());
        assert_eq!(options(&given, &["--first", "--seeds"]).unwrap(), [("--seeds", "3")].into());
    }

    #[test]
    fn soaks_have_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> = SOAKS.iter().map(|soak| soak.name).collect();

        assert_eq!(names.len(), SOAKS.len());
    }
}
