//! What the cores and the default build draw in, as `cargo tree` resolves it.

use anyhow::Result;

use super::Finding;
use crate::step;
use crate::workspace::{Package, Workspace};

/// Cores: without their default features they build with no runtime, socket or disk.
const CORES: [&str; 5] = [
    "headland-event",
    "headland-detection",
    "headland-reconcile",
    "headland-replication",
    "headland-storage",
];

/// What a core must not draw in.
const NOT_IN_A_CORE: [&str; 4] = ["tokio", "quinn", "sled", "rdkafka"];

/// What the default build must not draw in: a second crypto provider, or a C library of the system.
const NOT_BY_DEFAULT: [&str; 4] = ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "rdkafka-sys"];

/// Asks cargo for the trees and checks them.
pub(super) fn check(workspace: &Workspace, packages: &[Package]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| CORES.contains(&package.name.as_str())) {
        let arguments = ["--package", &package.name, "--no-default-features", "--edges", "normal"];
        let path = format!("{}/Cargo.toml", package.folder);
        let tree = tree(workspace, &arguments)?;
        findings.extend(drawn_in(&tree, &NOT_IN_A_CORE).map(|name| {
            let what = format!(
                "{} without default features draws in {name}; a core has neither runtime nor disk \
                 (put it behind a feature)",
                package.name
            );
            Finding::new(&path, 0, what)
        }));
    }
    let tree = tree(workspace, &["--workspace"])?;
    findings.extend(drawn_in(&tree, &NOT_BY_DEFAULT).map(|name| {
        let what = format!(
            "the default build draws in {name} (`cargo tree --invert {name}` says through what); \
             ring is the one crypto provider"
        );
        Finding::new("Cargo.toml", 0, what)
    }));
    Ok(findings)
}

fn tree(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    let format = ["--locked", "--prefix", "none", "--format", "{p}"];
    step::capture(workspace.cargo().arg("tree").args(arguments).args(format))
}

/// The unwanted packages that a tree holds.
fn drawn_in<'a>(tree: &str, unwanted: &'a [&str]) -> impl Iterator<Item = &'a str> {
    unwanted
        .iter()
        .copied()
        .filter(|name| tree.lines().any(|line| line.split_whitespace().next() == Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwanted_package_is_found_by_its_whole_name() {
        let tree = "headland-storage v0.1.0 (storage)\nsled v0.34.7\ntokio-util v0.7.1 (*)\n";

        let found: Vec<&str> = drawn_in(tree, &NOT_IN_A_CORE).collect();

        assert_eq!(found, ["sled"]);
    }
}
