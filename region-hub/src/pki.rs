//! `headland pki`: a fleet's private authority and the certificates it signs, as PEM files.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use headland_event::{AgentName, HubName, NameError, RegionId};
use headland_platform::tls::{Authority, AuthorityError, Role, SpiffeId};

/// What to make.
#[derive(Debug, Clone, Subcommand)]
pub enum PkiCommand {
    /// Make a fleet's authority: ca.pem, which every node gets, and ca.key, which none does.
    Init(Place),
    /// Sign a hub's certificate: `<region>-<name>.pem` and `.key`.
    Hub(Node),
    /// Sign an agent's certificate: `<region>-<name>.pem` and `.key`.
    Agent(Node),
}

/// Which fleet, and where its files are.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The fleet: all nodes that trust each other.
    #[arg(long)]
    pub fleet: String,
    /// The folder of the files.
    #[arg(long, default_value = "pki")]
    pub dir: PathBuf,
}

/// Which node.
#[derive(Debug, Clone, Args)]
pub struct Node {
    /// The fleet and its folder.
    #[command(flatten)]
    pub place: Place,
    /// The node's region.
    #[arg(long)]
    pub region: RegionId,
    /// The node's name.
    #[arg(long)]
    pub name: String,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A name does not fit.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be read, or exists already: nothing is overwritten.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
}

/// Makes what was asked for; returns the files made.
///
/// # Errors
/// [`PkiError`]; a file that exists is never overwritten.
pub fn run(command: &PkiCommand) -> Result<Vec<PathBuf>, PkiError> {
    match command {
        PkiCommand::Init(place) => init(place),
        PkiCommand::Hub(node) => {
            HubName::new(&node.name)?;
            issue(node, Role::Hub(node.name.clone()))
        }
        PkiCommand::Agent(node) => {
            AgentName::new(&node.name)?;
            issue(node, Role::Agent(node.name.clone()))
        }
    }
}

fn init(Place { fleet, dir }: &Place) -> Result<Vec<PathBuf>, PkiError> {
    // A fleet is the host of a URI, which has the letters of a region.
    RegionId::new(fleet)?;
    std::fs::create_dir_all(dir).map_err(|source| PkiError::File { path: dir.clone(), source })?;
    let authority = Authority::new(fleet)?;
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    write(&key, authority.key_pem())?;
    write(&certificate, authority.certificate_pem())?;
    Ok(vec![certificate, key])
}

fn issue(Node { place, region, name }: &Node, role: Role) -> Result<Vec<PathBuf>, PkiError> {
    let Place { fleet, dir } = place;
    let (certificate, key) = (read(&dir.join("ca.pem"))?, read(&dir.join("ca.key"))?);
    let authority = Authority::from_pem(fleet, &certificate, &key)?;
    let id = SpiffeId { fleet: fleet.clone(), region: region.clone(), role };
    let issued = authority.issue(&id)?;
    let certificate = dir.join(format!("{region}-{name}.pem"));
    let key = dir.join(format!("{region}-{name}.key"));
    write(&key, &issued.key_pem)?;
    write(&certificate, &issued.certificate_pem)?;
    Ok(vec![certificate, key])
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

/// Writes a new file of mode 0600.
fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let failed = |source| PkiError::File { path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use headland_platform::tls::Identity;

    use super::*;

    fn place(dir: &Path) -> Place {
        Place { fleet: "shop".to_owned(), dir: dir.to_owned() }
    }

    #[test]
    fn a_hub_of_a_new_fleet_can_use_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let region = RegionId::new("eu").unwrap();
        let node = Node { place: place(folder.path()), region, name: "hub-1".to_owned() };

        run(&PkiCommand::Init(place(folder.path()))).unwrap();
        let files = run(&PkiCommand::Hub(node)).unwrap();

        let identity = Identity::load(&folder.path().join("ca.pem"), &files[0], &files[1]).unwrap();
        assert_eq!(identity.id().to_string(), "spiffe://shop/region/eu/hub/hub-1");
    }

    #[test]
    fn an_authority_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        run(&PkiCommand::Init(place(folder.path()))).unwrap();

        let error = run(&PkiCommand::Init(place(folder.path()))).unwrap_err();

        let path = folder.path().join("ca.key");
        assert_eq!(error.to_string(), format!("cannot use {}", path.display()));
    }
}
