//! Banned packages and minimum versions in `Cargo.lock`.
//!
//! `deny.toml` bans the same packages; this check runs also where `cargo deny` is not installed.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;

const PATH: &str = "Cargo.lock";

/// Packages with advisories or without maintainers, and what serves instead.
const BANNED: [(&str, &str); 9] = [
    ("bincode", "postcard"),
    ("rustls-pemfile", "rustls-pki-types"),
    ("serde_yaml", "toml"),
    ("paste", "macro_rules"),
    ("derivative", "the standard derives"),
    ("proc-macro-error", "syn's errors"),
    ("backoff", "a delay computed in the core"),
    ("number_prefix", "unit-prefix"),
    ("openssl-sys", "rustls with ring"),
];

/// The lowest versions without a known hole.
const MINIMUM: [(&str, Version); 3] = [
    ("quinn-proto", Version(0, 11, 19)),
    ("rustls-webpki", Version(0, 103, 13)),
    ("h2", Version(0, 4, 16)),
];

/// Where every package that is not ours comes from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

#[derive(Deserialize)]
struct Lockfile {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

/// Checks the lock file's text.
pub(super) fn check(content: &str) -> Result<Vec<Finding>> {
    let lockfile: Lockfile = toml::from_str(content).context("cannot parse Cargo.lock")?;
    let findings = lockfile.package.iter().filter_map(|package| {
        broken(package).map(|what| Finding::new(PATH, line_of(content, package), what))
    });
    Ok(findings.collect())
}

fn broken(package: &Locked) -> Option<String> {
    let Locked { name, version, source } = package;
    if let Some((_, instead)) = BANNED.iter().find(|(banned, _)| banned == name) {
        return Some(format!("{name} is banned; {instead} serves instead"));
    }
    if let Some(source) = source.as_deref().filter(|source| *source != SOURCE) {
        return Some(format!("{name} comes from {source}; only the public registry fits"));
    }
    let (_, Version(major, minor, patch)) = MINIMUM.iter().find(|(known, _)| known == name)?;
    let least = Version(*major, *minor, *patch);
    parse(version).is_none_or(|found| found < least).then(|| {
        format!("{name} {version} has a known hole; {major}.{minor}.{patch} or later fits")
    })
}

/// Reads the three numbers of a version; what follows a `-` or `+` does not matter here.
fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.split(['-', '+']).next()?.split('.').map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some(Version(major, minor, patch)),
        _ => None,
    }
}

fn line_of(content: &str, package: &Locked) -> usize {
    let name = format!("name = \"{}\"", package.name);
    content.lines().position(|line| line == name).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, version: &str, source: &str) -> Vec<String> {
        let content = format!(
            "version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\
             source = \"{source}\"\n"
        );
        check(&content).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_banned_package_is_found_with_its_substitute() {
        assert_eq!(
            found("bincode", "2.0.1", SOURCE),
            ["Cargo.lock:4: bincode is banned; postcard serves instead"]
        );
    }

    #[test]
    fn a_version_below_the_least_is_found_and_the_least_is_not() {
        assert_eq!(found("quinn-proto", "0.11.18", SOURCE).len(), 1);
        assert_eq!(found("quinn-proto", "0.11.19", SOURCE).len(), 0);
        assert_eq!(found("quinn-proto", "0.12.0-rc.1", SOURCE).len(), 0);
        assert_eq!(found("rustls-webpki", "0.102.8", SOURCE).len(), 1);
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        assert_eq!(found("quinn", "0.11.12", "git+https://example.org/quinn").len(), 1);
        assert_eq!(found("quinn", "0.11.12", SOURCE).len(), 0);
    }
}
