//! Copies of nodes, as `cp -a` makes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Fleet, Node, free_address};
use crate::http::Api;

/// What every node of a fleet reads.
const SHARED: [&str; 2] = ["ca.pem", "rules.sql"];

impl Fleet {
    /// A copy of a node that does not run: its configuration, certificate, data directory and the
    /// files of its sources, under the same names in a folder of their own.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn copy_of(&self, node: &Node, folder: &str) -> Result<Node> {
        let into = self.path(folder);
        fs::create_dir_all(&into).context("no folder for a copy")?;
        for entry in fs::read_dir(self.folder.path()).context("no folder of the fleet")? {
            let entry = entry.context("no entry")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_its = name.strip_prefix(&node.name).is_some_and(|rest| rest.starts_with('.'));
            let is_copied = is_its && !name.ends_with(".sock");
            if is_copied || SHARED.contains(&name.as_str()) {
                copy(&entry.path(), &into)?;
            }
        }
        let Node { address, kind, ref name, .. } = *node;
        let config = into.join(format!("{name}.toml"));
        let api = Api::new(&into.join(format!("{name}.sock")));
        Ok(Node { config, api, address, kind, name: name.clone(), process: None })
    }
}

impl Fleet {
    /// Takes the data directory of a node that does not run back to what a copy of it holds, in
    /// place: the lock stays the file that it is.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn take_back(&self, node: &Node, folder: &str) -> Result<()> {
        let data = format!("{}.data", node.name);
        let (data, copied) = (self.path(&data), self.path(folder).join(&data));
        for entry in fs::read_dir(&data).context("no data directory")? {
            let entry = entry.context("no entry")?;
            let path = entry.path();
            if entry.file_type().context("no type")?.is_dir() {
                fs::remove_dir_all(&path).context("cannot remove a folder")?;
            } else if !path.ends_with("lock") {
                fs::remove_file(&path).context("cannot remove a file")?;
            }
        }
        copy(&copied.join("."), &data)
    }
}

impl Node {
    /// Lets a hub listen where nobody does.
    ///
    /// # Errors
    /// When no port is free or the configuration cannot be changed.
    pub fn listen_elsewhere(&mut self) -> Result<()> {
        let address = free_address()?;
        let line = |address| format!("[listen]\naddress = \"{address}\"");
        self.reconfigure(&line(self.address), &line(address))?;
        self.address = address;
        Ok(())
    }
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    let ended = Command::new("cp").arg("-a").args([from, into]).status().context("no cp")?;
    if ended.success() {
        return Ok(());
    }
    bail!("cp -a {} {}: {ended}", from.display(), into.display())
}
