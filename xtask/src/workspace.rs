//! The workspace: where it lies, which packages it has, where it builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The workspace this program was built from.
pub(crate) struct Workspace {
    root: PathBuf,
}

/// One package, as its manifest says.
pub(crate) struct Package {
    /// The folder from the root, for example `event`.
    pub(crate) folder: String,
    /// The name, for example `headland-event`.
    pub(crate) name: String,
    /// The manifest's text.
    pub(crate) manifest: String,
}

#[derive(Deserialize)]
struct RootManifest {
    workspace: WorkspaceTable,
}

#[derive(Deserialize)]
struct WorkspaceTable {
    members: Vec<String>,
}

#[derive(Deserialize)]
struct MemberManifest {
    package: PackageTable,
}

#[derive(Deserialize)]
struct PackageTable {
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

impl Workspace {
    /// The workspace above this package's folder.
    pub(crate) fn find() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: package.parent().unwrap_or(package).to_owned() }
    }

    /// The folder of the root manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file's text, by its path from the root.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// Every package, in the order the root manifest lists them.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        let root: RootManifest =
            toml::from_str(&self.read("Cargo.toml")?).context("cannot parse Cargo.toml")?;
        root.workspace.members.into_iter().map(|folder| self.package(folder)).collect()
    }

    fn package(&self, folder: String) -> Result<Package> {
        let manifest = self.read(&format!("{folder}/Cargo.toml"))?;
        let member: MemberManifest = toml::from_str(&manifest)
            .with_context(|| format!("cannot parse {folder}/Cargo.toml"))?;
        Ok(Package { folder, name: member.package.name, manifest })
    }

    /// Files that are committed or would be: tracked and untracked, but not ignored.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let output = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .context("cannot run git to list the files")?;
        ensure!(output.status.success(), "git could not list the files");
        let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|path| self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Cargo, in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_run(name)) {
            cargo.env_remove(name);
        }
        cargo.current_dir(&self.root);
        cargo
    }

    /// Where cargo builds, whether that was set by the environment or a configuration file.
    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        let output = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot parse cargo metadata")?;
        Ok(metadata.target_directory)
    }
}

/// Whether cargo set a variable for the program it runs. Build scripts ask for some of them, so
/// they and all that depends on them would be built again each time that cargo is called from here.
fn is_of_this_run(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH"].contains(&&*name)
}
