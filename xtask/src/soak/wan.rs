//! What the WAN emulator promises: `headland-wan probe`, built for release, at full size.
//!
//! Each measurement is plain sockets in the emulator's two namespaces. One during which the
//! emulator could not keep up, by its own counters, says nothing and is taken again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Measured, load_average, option};
use crate::step::{self, Stopwatch};
use crate::workspace::Workspace;

const BINARY: &str = "headland-wan";

/// The mean round trip may differ by so much from what the profile promises.
const ROUND_TRIP_ERROR_US_MAX: u64 = 1_000;

/// A loss may differ by so much from its chance: 0.2 points.
const LOSS_ERROR_PARTS_MAX: u64 = 2_000;

/// What passes a TUN device on one core, at least.
const THROUGHPUT_MBIT_MIN: u64 = 500;

/// How often a measurement is taken again because the emulator could not keep up.
const ATTEMPTS_MAX: usize = 5;

/// The unit of `/proc/stat`.
const TICK_MS: u64 = 10;

/// A path with nothing but what the text says, the same both ways.
fn both_ways(text: &str) -> String {
    format!("[to_target]\n{text}\n[from_target]\n{text}\n")
}

/// Runs every measurement and holds it to its bar; `--attempts N` repeats invalid ones less often.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let attempts = option(arguments, "--attempts")?.map(str::parse).transpose()?;
    let folder = workspace.target_directory()?.join("wan-soak");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let probe =
        Probe { binary: build(workspace)?, folder, attempts: attempts.unwrap_or(ATTEMPTS_MAX) };
    let (load_at_the_start, stolen, watch) = (load_average()?, stolen()?, Stopwatch::start());
    let mut results = Vec::new();
    for millis in [80, 160] {
        results.push(round_trip(&probe, millis)?);
    }
    for percent in [1, 3] {
        results.push(losses(&probe, percent)?);
    }
    results.push(throughput(&probe, &["udp", "--rate", "800Mbit"], "received_mbit_per_second")?);
    for control in ["cubic", "bbr"] {
        let what = ["tcp", "--congestion-control", control];
        results.push(throughput(&probe, &what, "goodput_mbit_per_second")?);
    }
    let stolen = self::stolen()?.saturating_sub(stolen);
    Ok(Measured {
        is_green: results.iter().all(is_green),
        conditions: json!({
            "load_average_at_the_start": load_at_the_start,
            // What a hypervisor takes makes every thread late, whatever its priority.
            "stolen_ms_per_second": stolen * TICK_MS / watch.elapsed().as_secs().max(1),
        }),
        result: json!({
            "bars": {
                "round_trip_error_us_max": ROUND_TRIP_ERROR_US_MAX,
                "loss_error_parts_per_million_max": LOSS_ERROR_PARTS_MAX,
                "throughput_mbit_per_second_min": THROUGHPUT_MBIT_MIN,
            },
            "measurements": results,
        }),
    })
}

/// Ticks that the hypervisor gave to others while this machine had work, all cores together.
fn stolen() -> Result<u64> {
    let table = fs::read_to_string("/proc/stat").context("cannot read the processors' times")?;
    let line = table.lines().next().unwrap_or_default();
    // "cpu", then user, nice, system, idle, iowait, irq, softirq, steal.
    let field = line.split_whitespace().nth(8).context("no stolen time in /proc/stat")?;
    field.parse().context("the stolen time is no number")
}

fn is_green(result: &Value) -> bool {
    result.get("is_green").and_then(Value::as_bool).unwrap_or(false)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", BINARY]);
    let outcome = step::run("build of the emulator (release)", &mut cargo)?;
    if !outcome.is_success {
        bail!("the build failed; the messages above say where");
    }
    Ok(workspace.target_directory()?.join("release").join(BINARY))
}

/// The mean of 300 round trips, 20 ms apart, nothing else on the path.
fn round_trip(probe: &Probe, millis: u64) -> Result<Value> {
    let profile = both_ways(&format!("delay = \"{}ms\"", millis / 2));
    let what = ["round-trip", "--count", "300", "--pause-ms", "20"];
    let found = probe.take(&profile, 1, &what)?;
    let is_green = found.is_valid
        && found.number("answered")? == found.number("asked")?
        && found.number("mean_error_us")? <= ROUND_TRIP_ERROR_US_MAX;
    Ok(found.shown(&format!("round trip of {millis} ms"), is_green))
}

/// The losses of 100,000 datagrams: twice with one seed, once with another.
fn losses(probe: &Probe, percent: u64) -> Result<Value> {
    let profile = both_ways(&format!("loss = \"{percent}%\""));
    let what = ["loss", "--count", "100000"];
    let first = probe.take(&profile, 7, &what)?;
    let again = probe.take(&profile, 7, &what)?;
    let other = probe.take(&profile, 8, &what)?;
    let fingerprint = |found: &Found| found.measured.get("fingerprint").cloned();
    let mut is_green =
        fingerprint(&first) == fingerprint(&again) && fingerprint(&first) != fingerprint(&other);
    for found in [&first, &again, &other] {
        let error = found.number("lost_parts_per_million")?.abs_diff(percent * 10_000);
        is_green &= error <= LOSS_ERROR_PARTS_MAX && found.number("unexplained")? == 0;
    }
    Ok(json!({
        "name": format!("losses of {percent} %"),
        "is_green": is_green,
        "seed_7": first.measured,
        "seed_7_again": again.measured,
        "seed_8": other.measured,
    }))
}

/// Five seconds of traffic on a path without delay, rate or loss.
fn throughput(probe: &Probe, what: &[&str], figure: &str) -> Result<Value> {
    let found = probe.take(&both_ways(""), 1, what)?;
    let is_green = found.number(figure)? >= THROUGHPUT_MBIT_MIN;
    Ok(found.shown(&format!("throughput, {}", what.join(" ")), is_green))
}

/// What takes measurements.
struct Probe {
    binary: PathBuf,
    folder: PathBuf,
    attempts: usize,
}

/// What a probe prints.
#[derive(Deserialize)]
struct Said {
    measured: Value,
    #[serde(default)]
    emulator: Value,
}

/// One measurement.
struct Found {
    measured: Value,
    emulator: Value,
    is_valid: bool,
    attempts: usize,
}

impl Probe {
    /// Measures until the emulator kept up, or so often as is allowed; the last one counts.
    fn take(&self, profile: &str, seed: u64, what: &[&str]) -> Result<Found> {
        let path = self.folder.join("profile.toml");
        fs::write(&path, profile).with_context(|| format!("cannot write {}", path.display()))?;
        let mut attempts = 1;
        loop {
            eprintln!("==> {BINARY} probe {}", what.join(" "));
            let found = self.once(&path, seed, what, attempts)?;
            if found.is_valid || attempts >= self.attempts {
                return Ok(found);
            }
            attempts += 1;
        }
    }

    fn once(&self, profile: &Path, seed: u64, what: &[&str], attempts: usize) -> Result<Found> {
        let mut command = Command::new(&self.binary);
        command.arg("probe").arg("--profile").arg(profile);
        command.args(["--seed", &seed.to_string(), "--report"]).arg(self.folder.join("report"));
        let output = command.args(what).stderr(Stdio::inherit()).output();
        let output = output.context("cannot run the emulator")?;
        if !output.status.success() {
            bail!("{BINARY} ended with {}; it needs root and /dev/net/tun", output.status);
        }
        read(&String::from_utf8_lossy(&output.stdout), attempts)
    }
}

fn read(text: &str, attempts: usize) -> Result<Found> {
    let Said { measured, emulator } =
        serde_json::from_str(text).context("cannot read what it measured")?;
    let is_valid = emulator.get("is_valid").and_then(Value::as_bool).unwrap_or(false);
    Ok(Found { measured, emulator, is_valid, attempts })
}

impl Found {
    fn number(&self, name: &str) -> Result<u64> {
        let value = self.measured.get(name).and_then(Value::as_u64);
        value.with_context(|| format!("{name} was not measured"))
    }

    fn shown(&self, name: &str, is_green: bool) -> Value {
        json!({
            "name": name,
            "is_green": is_green,
            "attempts": self.attempts,
            "measured": self.measured,
            "emulator": self.emulator,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_prints_is_taken_apart() {
        let text = r#"{"measured":{"mean_error_us":90},"emulator":{"is_valid":true}}"#;

        let found = read(text, 2).unwrap();

        assert!(found.is_valid);
        assert_eq!(found.number("mean_error_us").unwrap(), 90);
        assert!(found.number("p50_us").is_err());
        assert_eq!(found.shown("x", true)["attempts"], 2);
    }

    #[test]
    fn a_measurement_without_the_emulators_word_is_invalid() {
        assert!(!read(r#"{"measured":{}}"#, 1).unwrap().is_valid);
    }

    #[test]
    fn a_profile_is_the_same_both_ways() {
        assert_eq!(
            both_ways("loss = \"1%\""),
            "[to_target]\nloss = \"1%\"\n[from_target]\nloss = \"1%\"\n"
        );
    }
}
