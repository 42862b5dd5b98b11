//! The binaries under test, built once a process by the one helper that does so.
//!
//! cargo builds a test's own package and not the binaries of another one, so the first test of a
//! process that needs them runs `cargo build` with the profile and target folder it was built
//! with. When they are up to date that takes a fraction of a second.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Where the built binaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// `headland`: the hub.
    pub hub: PathBuf,
    /// `headland-agent`.
    pub agent: PathBuf,
}

/// The binaries, built by the first caller of this process while the others wait.
///
/// # Errors
/// When cargo cannot build them; the text ends with what cargo said.
pub fn built() -> Result<&'static Binaries> {
    static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(binaries) => Ok(binaries),
        Err(why) => bail!("{why}"),
    }
}

fn build() -> Result<Binaries> {
    let test = std::env::current_exe().context("cannot find the running test")?;
    let place = Place::of_test(&test)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_test(name)) {
        cargo.env_remove(name);
    }
    let output = cargo
        .current_dir(root)
        .args(["build", "--locked", "--package", "region-hub", "--package", "edge-agent"])
        .args(["--bins", "--profile", place.profile, "--target-dir"])
        .arg(place.target)
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot build the binaries under test:\n{said}");
    }
    let folder = place.folder;
    Ok(Binaries { hub: folder.join("headland"), agent: folder.join("headland-agent") })
}

/// Whether cargo set a variable for the test it runs. Build scripts ask for some of them, so they
/// would run again, and all that depends on them would be built again, each time that a test and
/// a person take turns.
fn is_of_test(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let names = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_MANIFEST_LINKS"];
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_")
        || names.contains(&&*name)
        || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH"].contains(&&*name)
}

/// Where a test was built, `<target>/<folder of the profile>/deps/<test>`, or a program without
/// `deps`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    /// What `--target-dir` takes; with `--target` it includes the triple, which serves as well.
    target: &'a Path,
    /// What `--profile` takes.
    profile: &'a str,
    /// Where the profile's binaries are.
    folder: &'a Path,
}

impl<'a> Place<'a> {
    fn of_test(test: &'a Path) -> Result<Self> {
        let beside = test.parent();
        let is_program = beside.is_some_and(|folder| !folder.ends_with("deps"));
        let folder = if is_program { beside } else { beside.and_then(Path::parent) };
        let found = folder.and_then(|folder| {
            let name = folder.file_name()?.to_str()?;
            let profile = if name == "debug" { "dev" } else { name };
            Some(Self { target: folder.parent()?, profile, folder })
        });
        found.with_context(|| format!("{} does not lie in a target folder", test.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_names_the_target_folder_and_profile_it_was_built_with() {
        let tests = ["/t/debug/deps/e2e-1", "/t/release/deps/e2e-1", "/t/agent/deps/e2e-1"];
        let program = "/t/release/restock-proof";
        let places = [tests[0], tests[1], tests[2], program]
            .map(|path| Place::of_test(Path::new(path)).unwrap());

        let profiles = places.map(|place| place.profile);
        assert_eq!(profiles, ["dev", "release", "agent", "release"]);
        let debug = Place::of_test(Path::new("/t/debug/deps/e2e-1")).unwrap();
        assert_eq!((debug.target, debug.folder), (Path::new("/t"), Path::new("/t/debug")));
    }

    #[test]
    fn what_cargo_tells_a_test_is_not_told_on_and_what_a_person_sets_is() {
        let of_test = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_HOME", "CARGO_NET_OFFLINE"]
            .map(|name| is_of_test(OsStr::new(name)));

        assert_eq!(of_test, [true, true, false, false]);
    }

    #[test]
    fn a_test_outside_a_target_folder_is_named() {
        let error = Place::of_test(Path::new("e2e")).unwrap_err();

        assert_eq!(error.to_string(), "e2e does not lie in a target folder");
    }
}
