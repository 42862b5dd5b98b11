//! Manifests: the table of who depends on whom (DESIGN §2), and where versions live.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::workspace::Package;

/// What a package may use of ours: always, and only as an optional dependency of a feature.
struct Allowed {
    package: &'static str,
    always: &'static [&'static str],
    optional: &'static [&'static str],
}

const EVENT: &str = "headland-event";
const PLATFORM: &str = "headland-platform";
const STORAGE: &str = "headland-storage";
const DETECTION: &str = "headland-detection";
const REPLICATION: &str = "headland-replication";
const RECONCILE: &str = "headland-reconcile";
const WAN: &str = "headland-wan";

const fn allowed(
    package: &'static str,
    always: &'static [&'static str],
    optional: &'static [&'static str],
) -> Allowed {
    Allowed { package, always, optional }
}

/// The dependency rule. `tests` may use everything and is not listed.
const TABLE: [Allowed; 11] = [
    allowed(EVENT, &[], &[]),
    allowed(PLATFORM, &[EVENT], &[]),
    allowed(STORAGE, &[EVENT], &[PLATFORM]),
    allowed(DETECTION, &[EVENT], &[]),
    allowed(REPLICATION, &[EVENT], &[PLATFORM]),
    allowed(RECONCILE, &[EVENT], &[]),
    allowed(WAN, &[], &[]),
    allowed("edge-agent", &[EVENT, PLATFORM, STORAGE, DETECTION, REPLICATION], &[]),
    // `wan` is there for the quickstart's cut (ADR 0004).
    allowed("region-hub", &[EVENT, PLATFORM, STORAGE, DETECTION, REPLICATION, RECONCILE, WAN], &[]),
    allowed("headland-gauge", &[], &[]),
    allowed("xtask", &[], &[]),
];

/// A dependency as a manifest names it.
struct Dependency<'a> {
    name: &'a str,
    settings: &'a Value,
}

/// Checks one package's manifest.
pub(super) fn check(package: &Package) -> Result<Vec<Finding>> {
    let path = format!("{}/Cargo.toml", package.folder);
    let manifest: Table =
        package.manifest.parse().with_context(|| format!("cannot parse {path}"))?;
    let mut findings = Vec::new();
    if !inherits(manifest.get("lints")) {
        let what = "no `[lints] workspace = true`; the lint table holds for every crate";
        findings.push(Finding::new(&path, 0, what));
    }
    if !inherits(manifest.get("package").and_then(|package| package.get("rust-version"))) {
        let what = "no `rust-version.workspace = true`; cargo could not name the Rust it needs";
        findings.push(Finding::new(&path, 0, what));
    }
    for dependency in dependencies(&manifest) {
        let what = version(&dependency).or_else(|| direction(&package.name, &dependency));
        if let Some(what) = what {
            let line = line_of(&package.manifest, dependency.name);
            findings.push(Finding::new(&path, line, what));
        }
    }
    Ok(findings)
}

/// Finds settings files that would replace those of the root.
pub(super) fn check_place(path: &str) -> Option<Finding> {
    let (folder, name) = path.rsplit_once('/')?;
    let what = format!("{name} in {folder} replaces the root's file, it does not add to it");
    matches!(name, "clippy.toml" | ".clippy.toml" | "rustfmt.toml" | "deny.toml")
        .then(|| Finding::new(path, 0, what))
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// Dependencies of all kinds and targets.
fn dependencies(manifest: &Table) -> Vec<Dependency<'_>> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    std::iter::once(manifest)
        .chain(targets.filter_map(Value::as_table))
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|kind| table.get(kind).and_then(Value::as_table))
        })
        .flatten()
        .map(|(name, settings)| Dependency { name, settings })
        .collect()
}

/// Why a dependency's version does not live in the root manifest.
fn version(dependency: &Dependency<'_>) -> Option<String> {
    let name = dependency.name;
    (!inherits(Some(dependency.settings))).then(|| {
        format!("`{name}` names its own version; write it in [workspace.dependencies] and inherit")
    })
}

/// Why a package may not use one of ours.
fn direction(package: &str, dependency: &Dependency<'_>) -> Option<String> {
    let Dependency { name, settings } = dependency;
    let row = TABLE.iter().find(|row| row.package == package)?;
    let is_ours = TABLE.iter().any(|row| row.package == *name) || *name == "headland-tests";
    let is_optional = settings.get("optional").and_then(Value::as_bool) == Some(true);
    let fits = row.always.contains(name) || (is_optional && row.optional.contains(name));
    (is_ours && !fits).then(|| {
        format!("{package} must not know {name}; {package} may use: {}", row.always.join(", "))
    })
}

/// The line that names a dependency.
fn line_of(manifest: &str, name: &str) -> usize {
    let names =
        |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
    manifest.lines().position(names).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\
[package]
rust-version.workspace = true
[lints]
workspace = true
";

    fn found(name: &str, manifest: &str) -> Vec<String> {
        let package = Package { folder: "x".into(), name: name.into(), manifest: manifest.into() };
        check(&package).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sibling_is_refused_and_the_vocabulary_is_not() {
        let manifest = format!(
            "{HEAD}[dependencies]\nheadland-event.workspace = true\n\
             headland-storage.workspace = true\n"
        );

        assert_eq!(
            found("headland-detection", &manifest),
            ["x/Cargo.toml:7: headland-detection must not know headland-storage; \
             headland-detection may use: headland-event"]
        );
    }

    #[test]
    fn platform_reaches_a_core_only_behind_a_feature() {
        let always = format!("{HEAD}[dependencies]\nheadland-platform.workspace = true\n");
        let optional = format!(
            "{HEAD}[dependencies]\nheadland-platform = {{ workspace = true, optional = true }}\n"
        );

        assert_eq!(found("headland-replication", &always).len(), 1);
        assert_eq!(found("headland-replication", &optional), Vec::<String>::new());
        assert_eq!(found("headland-reconcile", &optional).len(), 1);
    }

    #[test]
    fn the_rule_holds_for_dependencies_of_tests_and_of_targets() {
        let dev = format!("{HEAD}[dev-dependencies]\nregion-hub.workspace = true\n");
        let target = format!("{HEAD}[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n");

        assert_eq!(found("edge-agent", &dev).len(), 1);
        assert_eq!(found("edge-agent", &target).len(), 1);
        assert_eq!(found("headland-tests", &dev), Vec::<String>::new());
    }

    #[test]
    fn a_version_of_its_own_is_found_with_its_line() {
        let manifest = format!("{HEAD}[dependencies]\nbytes = {{ version = \"1\" }}\n");

        assert_eq!(
            found("headland-event", &manifest),
            ["x/Cargo.toml:6: `bytes` names its own version; write it in \
             [workspace.dependencies] and inherit"]
        );
    }

    #[test]
    fn a_manifest_inherits_its_lints_and_its_rust_version() {
        assert_eq!(found("headland-event", "[package]\nrust-version = \"1.95\"\n").len(), 2);
    }

    #[test]
    fn a_settings_file_below_the_root_is_found() {
        assert!(check_place("event/clippy.toml").is_some());
        assert!(check_place("clippy.toml").is_none());
    }
}
