//! `cargo xtask ci`: the areas beyond `check`, each timed against a limit that is only reported.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use toml::Table;

use crate::skips;
use crate::step::{self, Outcome};
use crate::workspace::{Package, Workspace};

/// What an area may take once everything is built.
const AREA_LIMIT: Duration = Duration::from_secs(60);

/// The integration tests that are an area of their own: they run no process and use all cores.
const APART: &str = "simulation";

/// Runs every area, also after one failed, and says which did and what was skipped.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let packages = workspace.packages()?;
    let mut outcomes = vec![build(workspace)?];
    for package in &packages {
        outcomes.extend(integration(workspace, package)?);
    }
    outcomes.push(step::run_kept(
        "doc tests",
        workspace.cargo().args(["test", "--workspace", "--doc", "--locked"]),
    )?);
    for package in &packages {
        for features in features(&package.manifest)? {
            outcomes.push(feature_check(workspace, package, &features)?);
        }
    }
    outcomes.extend(deny(workspace)?);
    let log: String = outcomes.iter().map(|outcome| outcome.output.as_str()).collect();
    let skipped = skips::check(workspace, &log);
    step::conclude(&outcomes, AREA_LIMIT)?;
    skipped
}

/// Building is an area of its own, so that the others show what their tests take.
fn build(workspace: &Workspace) -> Result<Outcome> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--no-run", "--locked"]);
    step::run("build of all tests", &mut cargo)
}

/// The integration tests of a package, in one area or two, or nothing if it has none.
///
/// They are named out of the whole workspace: `--package` would choose features for that package
/// alone, and so build all of its dependencies once more.
fn integration(workspace: &Workspace, package: &Package) -> Result<Vec<Outcome>> {
    let tests = integration_tests(&workspace.root().join(&package.folder).join("tests"))?;
    let mut outcomes = Vec::new();
    for (area, tests) in areas(&package.name, tests) {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
        for test in &tests {
            cargo.args(["--test", test]);
        }
        outcomes.push(step::run_kept(&area, &mut cargo)?);
    }
    Ok(outcomes)
}

/// The areas that a package's integration tests are, by name.
fn areas(package: &str, tests: Vec<String>) -> Vec<(String, Vec<String>)> {
    let (apart, rest): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| test == APART);
    let named = [(format!("integration {package}"), rest), (format!("{APART} {package}"), apart)];
    named.into_iter().filter(|(_, tests)| !tests.is_empty()).collect()
}

/// The names of the tests in a folder, sorted.
fn integration_tests(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    // A package without such a folder has no integration tests.
    let Ok(entries) = folder.read_dir() else { return Ok(names) };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Each way of building a package that the default build does not show: without its default
/// features, and with each feature alone.
fn features(manifest: &str) -> Result<Vec<String>> {
    let manifest: Table = manifest.parse().context("cannot parse a manifest")?;
    let Some(table) = manifest.get("features").and_then(toml::Value::as_table) else {
        return Ok(Vec::new());
    };
    let named = table.keys().filter(|name| *name != "default").cloned();
    Ok(std::iter::once(String::new()).chain(named).collect())
}

fn feature_check(workspace: &Workspace, package: &Package, feature: &str) -> Result<Outcome> {
    let name = match feature {
        "" => format!("{} without features", package.name),
        feature => format!("{} with {feature} only", package.name),
    };
    let mut cargo = workspace.cargo();
    cargo.args(["check", "--package", &package.name, "--no-default-features", "--locked"]);
    if !feature.is_empty() {
        cargo.args(["--features", feature]);
    }
    step::run(&name, &mut cargo)
}

/// `cargo deny`, or nothing but a word when it is not installed.
///
/// Its advisory database comes over the network, so that check may be out of reach while the
/// others are not: they are run apart, and an unreachable database fails nothing.
fn deny(workspace: &Workspace) -> Result<Vec<Outcome>> {
    if !is_installed(workspace, "deny") {
        eprintln!("==> cargo deny is not installed: licences, bans and advisories not checked");
        return Ok(Vec::new());
    }
    let local = ["bans", "licenses", "sources"];
    let mut outcomes = vec![step::run_kept(
        "deny: bans, licences, sources",
        workspace.cargo().args(["deny", "check"]).args(local),
    )?];
    let mut advisories = step::run_kept(
        "deny: advisories",
        workspace.cargo().args(["deny", "check", "advisories"]),
    )?;
    if !advisories.is_success && is_out_of_reach(&advisories.output) {
        advisories.name = "deny: advisories not checked, their database is out of reach".into();
        advisories.is_success = true;
    }
    outcomes.push(advisories);
    Ok(outcomes)
}

fn is_installed(workspace: &Workspace, subcommand: &str) -> bool {
    let output = workspace.cargo().args([subcommand, "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn is_out_of_reach(output: &str) -> bool {
    output.contains("failed to fetch advisory database")
        || output.contains("failed to load advisory database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_but_the_default_is_built_alone() {
        let manifest = "[features]\ndefault = [\"disk\"]\nconformance = []\ndisk = []\n";

        assert_eq!(features(manifest).unwrap(), ["", "conformance", "disk"]);
    }

    #[test]
    fn a_package_without_features_has_nothing_more_to_build() {
        assert_eq!(features("[package]\nname = \"x\"\n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_folder_names_its_tests_and_one_that_is_not_there_has_none() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));

        let tests = integration_tests(&here.join("../storage/tests")).unwrap();

        assert!(tests.contains(&"damage".to_owned()), "{tests:?}");
        assert!(tests.is_sorted());
        assert_eq!(integration_tests(&here.join("no such folder")).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_simulation_is_an_area_of_its_own() {
        let areas = |tests: &[&str]| areas("x", tests.iter().copied().map(str::to_owned).collect());
        let area = |name: &str, tests: &[&str]| {
            (name.to_owned(), tests.iter().copied().map(str::to_owned).collect::<Vec<_>>())
        };

        let both = [area("integration x", &["e2e_a", "e2e_b"]), area("simulation x", &[APART])];
        assert_eq!(areas(&["e2e_a", "e2e_b", APART]), both);
        assert_eq!(areas(&["e2e_a"]), [area("integration x", &["e2e_a"])]);
        assert!(areas(&[]).is_empty());
    }

    #[test]
    fn an_unreachable_advisory_database_is_told_from_an_advisory() {
        assert!(is_out_of_reach("error: failed to fetch advisory database https://…"));
        assert!(!is_out_of_reach("error[unmaintained]: bincode is unmaintained"));
    }
}
