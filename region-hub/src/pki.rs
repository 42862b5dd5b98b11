//! `headland pki`: a fleet's private authority and the certificates it signs, as PEM files.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use headland_event::{AgentName, EventTime, HubName, NameError, RegionId};
use headland_platform::tls::{Authority, AuthorityError, CertificateFacts, Role, SpiffeId};

/// What to make.
#[derive(Debug, Clone, Subcommand)]
pub enum PkiCommand {
    /// Make a fleet's authority: ca.pem, which every node gets, and ca.key, which none does.
    Init(Place),
    /// Sign a hub's certificate: `<region>-<name>.pem` and `.key`.
    Hub(Node),
    /// Sign an agent's certificate: `<region>-<name>.pem` and `.key`.
    Agent(Node),
    /// Revoke a certificate: adds it to the authority's list, ca.crl, which nodes with
    /// `crl_file` read again within seconds.
    Revoke(Revoked),
    /// Write the authority's list, ca.crl, without adding to it: what nodes with `crl_file` need
    /// before the first certificate is revoked.
    Revocations(Place),
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

/// What to revoke.
#[derive(Debug, Clone, Args)]
pub struct Revoked {
    /// The fleet and its folder.
    #[command(flatten)]
    pub place: Place,
    /// The certificate's file; the key is not needed.
    #[arg(long)]
    pub certificate: PathBuf,
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
    /// What was asked for exists. Keys are never overwritten: what they signed or proved is lost
    /// with them.
    #[error("{path} exists already{what}; nothing was changed: {instead}")]
    Exists {
        /// The file.
        path: PathBuf,
        /// Whose certificate belongs to it, and until when that is valid, when that can be read.
        what: String,
        /// What to do.
        instead: &'static str,
    },
    /// There is no authority to sign with.
    #[error("there is no authority in {dir}; make it with headland pki init --fleet {fleet}")]
    NoAuthority {
        /// Where it was looked for.
        dir: PathBuf,
        /// The fleet asked for.
        fleet: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A certificate was made.
    Made(Made),
    /// The list of revocations was written.
    Listed {
        /// Its file.
        list: PathBuf,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(made) => made.fmt(f),
            Self::Listed { list } => write!(
                f,
                "wrote {}\n  copy it to where crl_file in [tls] of every node points: \
                 links of what it revokes close within seconds",
                list.display()
            ),
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Its private key's file, mode 0600.
    pub key: PathBuf,
    /// Whom it names, and for how long.
    pub facts: Option<CertificateFacts>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, key, facts } = self;
        write!(f, "wrote {}\nwrote {}", certificate.display(), key.display())?;
        let Some(CertificateFacts { subject: _, names, not_before, not_after }) = facts else {
            return Ok(());
        };
        for name in names {
            write!(f, "\n  name         {name}")?;
        }
        write!(f, "\n  valid from   {}\n  valid until  {}", Day(*not_before), Day(*not_after))
    }
}

/// A time as its day in UTC.
struct Day(EventTime);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.millis()) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%d")),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// Makes what was asked for.
///
/// # Errors
/// [`PkiError`]; a file that exists is never overwritten.
pub fn run(command: &PkiCommand, now: EventTime) -> Result<Done, PkiError> {
    match command {
        PkiCommand::Init(place) => init(place).map(Done::Made),
        PkiCommand::Hub(node) => hub(node).map(Done::Made),
        PkiCommand::Agent(node) => agent(node).map(Done::Made),
        PkiCommand::Revoke(Revoked { place, certificate }) => {
            let revoked = read(certificate)?;
            list(place, |authority, known| authority.revoke(known, &revoked, now))
        }
        PkiCommand::Revocations(place) => {
            list(place, |authority, known| authority.revocations(known, now))
        }
    }
}

/// Signs a hub's certificate.
///
/// # Errors
/// As [`run`].
pub fn hub(node: &Node) -> Result<Made, PkiError> {
    HubName::new(&node.name)?;
    issue(node, Role::Hub(node.name.clone()))
}

/// Signs an agent's certificate.
///
/// # Errors
/// As [`run`].
pub fn agent(node: &Node) -> Result<Made, PkiError> {
    AgentName::new(&node.name)?;
    issue(node, Role::Agent(node.name.clone()))
}

/// Makes a fleet's authority.
///
/// # Errors
/// As [`run`].
pub fn init(Place { fleet, dir }: &Place) -> Result<Made, PkiError> {
    // A fleet is the host of a URI, which has the letters of a region.
    RegionId::new(fleet)?;
    let files = [dir.join("ca.pem"), dir.join("ca.key")];
    let instead = "use it, or choose another --dir; a new authority would not be trusted by nodes \
                   of this one";
    refuse_existing(&files, instead)?;
    std::fs::create_dir_all(dir).map_err(|source| PkiError::File { path: dir.clone(), source })?;
    let authority = Authority::new(fleet)?;
    write_pair(files, authority.certificate_pem(), authority.key_pem(), instead)
}

fn issue(Node { place, region, name }: &Node, role: Role) -> Result<Made, PkiError> {
    let Place { fleet, dir } = place;
    let files =
        [dir.join(format!("{region}-{name}.pem")), dir.join(format!("{region}-{name}.key"))];
    let instead = "choose another --name, or move both files away to issue a new certificate";
    refuse_existing(&files, instead)?;
    let authority = authority(place)?;
    let issued =
        authority.issue(&SpiffeId { fleet: fleet.clone(), region: region.clone(), role })?;
    write_pair(files, &issued.certificate_pem, &issued.key_pem, instead)
}

fn authority(Place { fleet, dir }: &Place) -> Result<Authority, PkiError> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !certificate.exists() && !key.exists() {
        return Err(PkiError::NoAuthority { dir: dir.clone(), fleet: fleet.clone() });
    }
    Ok(Authority::from_pem(fleet, &read(&certificate)?, &read(&key)?)?)
}

/// Replaces the list by the one that `make` makes of it, whole or not at all: nodes may read it at
/// any moment.
fn list(
    place: &Place,
    make: impl FnOnce(&Authority, Option<&str>) -> Result<String, AuthorityError>,
) -> Result<Done, PkiError> {
    let list = place.dir.join("ca.crl");
    let known = if list.exists() { Some(read(&list)?) } else { None };
    let made = make(&authority(place)?, known.as_deref())?;
    let failed = |source| PkiError::File { path: list.clone(), source };
    let draft = list.with_added_extension("draft");
    let mut file = File::create(&draft).map_err(failed)?;
    let written = file.write_all(made.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&draft, &list)).map_err(failed)?;
    sync_folder(&list).map_err(failed)?;
    Ok(Done::Listed { list })
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

/// Says what is there already, before anything is made.
fn refuse_existing(files: &[PathBuf; 2], instead: &'static str) -> Result<(), PkiError> {
    match files.iter().find(|path| path.exists()) {
        Some(path) => Err(existing(path, instead)),
        None => Ok(()),
    }
}

fn existing(path: &Path, instead: &'static str) -> PkiError {
    let certificate = std::fs::read_to_string(path.with_extension("pem")).ok();
    let facts = certificate.and_then(|pem| CertificateFacts::from_pem(pem.as_bytes()).ok());
    let what = facts.map_or_else(String::new, |facts| {
        let whose = facts.names.first().map_or("an authority", String::as_str);
        format!(", of {whose}, valid until {}", Day(facts.not_after))
    });
    PkiError::Exists { path: path.to_owned(), what, instead }
}

/// Writes both files or none.
fn write_pair(
    [certificate, key]: [PathBuf; 2],
    certificate_pem: &str,
    key_pem: &str,
    instead: &'static str,
) -> Result<Made, PkiError> {
    write_new(&key, key_pem, instead)?;
    if let Err(error) = write_new(&certificate, certificate_pem, instead) {
        // The key is ours and of no use without its certificate; the first error says why.
        drop(std::fs::remove_file(&key));
        return Err(error);
    }
    Ok(Made {
        certificate,
        key,
        facts: CertificateFacts::from_pem(certificate_pem.as_bytes()).ok(),
    })
}

/// Writes a new file of mode 0600, whole and on disk or not at all. A link, unlike a renaming,
/// fails when somebody else was faster.
fn write_new(path: &Path, text: &str, instead: &'static str) -> Result<(), PkiError> {
    let failed = |source| PkiError::File { path: path.to_owned(), source };
    let draft = path.with_added_extension("draft");
    // What a former run left when it was killed is no use to anybody.
    drop(std::fs::remove_file(&draft));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let written = file.as_mut().map_err(|error| error.kind().into()).and_then(|file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&draft, path)
    });
    drop(std::fs::remove_file(&draft));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(existing(path, instead)),
        Err(source) => Err(failed(source)),
        Ok(()) => sync_folder(path).map_err(failed),
    }
}

/// Makes the name of a file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use headland_platform::tls::Identity;

    use super::*;

    fn place(dir: &Path) -> Place {
        Place { fleet: "shop".to_owned(), dir: dir.to_owned() }
    }

    fn hub_1(dir: &Path) -> Node {
        let region = RegionId::new("eu").unwrap();
        Node { place: place(dir), region, name: "hub-1".to_owned() }
    }

    /// Every file of a folder with its bytes.
    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    #[test]
    fn a_hub_of_a_new_fleet_can_use_its_files() {
        let folder = tempfile::tempdir().unwrap();

        init(&place(folder.path())).unwrap();
        let made = hub(&hub_1(folder.path())).unwrap();

        let ca = folder.path().join("ca.pem");
        let identity = Identity::load(&ca, &made.certificate, &made.key).unwrap();
        assert_eq!(identity.id().to_string(), "spiffe://shop/region/eu/hub/hub-1");
    }

    #[test]
    fn what_was_made_is_shown_with_names_and_dates() {
        let folder = tempfile::tempdir().unwrap();
        init(&place(folder.path())).unwrap();

        let said = hub(&hub_1(folder.path())).unwrap().to_string();

        let (pem, key) = (folder.path().join("eu-hub-1.pem"), folder.path().join("eu-hub-1.key"));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines,
            [
                format!("wrote {}", pem.display()).as_str(),
                format!("wrote {}", key.display()).as_str(),
                "  name         spiffe://shop/region/eu/hub/hub-1",
                "  name         hub-1.eu.headland",
                "  valid from   1975-01-01",
                "  valid until  4096-01-01",
            ]
        );
    }

    #[test]
    fn a_node_of_another_fleet_than_the_authoritys_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        init(&place(folder.path())).unwrap();
        let before = files(folder.path());
        let node = Node {
            place: Place { fleet: "other".to_owned(), dir: folder.path().to_owned() },
            ..hub_1(folder.path())
        };

        let told = [hub(&node), agent(&node)].map(|made| made.unwrap_err().to_string());

        for told in told {
            let expected = "the authority is of fleet shop, not of fleet other";
            assert!(told.starts_with(expected), "{told}");
        }
        assert_eq!(files(folder.path()), before);
    }

    #[test]
    fn files_are_for_their_owner_only_and_no_draft_is_left() {
        let folder = tempfile::tempdir().unwrap();
        // A run that was killed while it wrote.
        std::fs::write(folder.path().join("ca.key.draft"), "half a k").unwrap();

        init(&place(folder.path())).unwrap();

        let files = files(folder.path());
        let names = files.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["ca.key", "ca.pem"]);
        for (path, _) in &files {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_exists_is_named_with_its_owner_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        init(&place(folder.path())).unwrap();
        hub(&hub_1(folder.path())).unwrap();
        let before = files(folder.path());

        let again = hub(&hub_1(folder.path())).unwrap_err().to_string();
        let authority = init(&place(folder.path())).unwrap_err().to_string();

        let pem = folder.path().join("eu-hub-1.pem");
        assert_eq!(
            again,
            format!(
                "{} exists already, of spiffe://shop/region/eu/hub/hub-1, valid until 4096-01-01; \
                 nothing was changed: choose another --name, or move both files away to issue a \
                 new certificate",
                pem.display()
            )
        );
        assert!(authority.contains("ca.pem exists already, of an authority"), "{authority}");
        assert_eq!(files(folder.path()), before);
    }

    #[test]
    fn a_key_without_its_certificate_is_not_overwritten_either() {
        let folder = tempfile::tempdir().unwrap();
        init(&place(folder.path())).unwrap();
        std::fs::write(folder.path().join("eu-hub-1.key"), "precious").unwrap();

        let error = hub(&hub_1(folder.path())).unwrap_err();

        assert!(
            matches!(error, PkiError::Exists { ref path, .. } if path.ends_with("eu-hub-1.key"))
        );
        assert_eq!(std::fs::read(folder.path().join("eu-hub-1.key")).unwrap(), b"precious");
        assert!(!folder.path().join("eu-hub-1.pem").exists());
    }

    #[test]
    fn a_file_that_appears_meanwhile_wins_and_nothing_of_ours_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let files = [folder.path().join("a.pem"), folder.path().join("a.key")];
        std::fs::write(&files[0], "theirs").unwrap();

        let error = write_pair(files.clone(), "ours", "our key", "look").unwrap_err();

        assert!(matches!(error, PkiError::Exists { ref path, .. } if *path == files[0]));
        assert_eq!(std::fs::read(&files[0]).unwrap(), b"theirs");
        assert!(!files[1].exists());
    }

    #[test]
    fn without_an_authority_the_command_that_makes_one_is_named() {
        let folder = tempfile::tempdir().unwrap();

        let error = hub(&hub_1(folder.path())).unwrap_err();

        let dir = folder.path().display();
        assert_eq!(
            error.to_string(),
            format!("there is no authority in {dir}; make it with headland pki init --fleet shop")
        );
    }

    #[test]
    fn the_list_grows_with_each_revocation_and_one_revoked_again_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        init(&place(folder.path())).unwrap();
        let made = hub(&hub_1(folder.path())).unwrap();
        let revoke = PkiCommand::Revoke(Revoked {
            place: place(folder.path()),
            certificate: made.certificate,
        });
        let lines = |done: Done| done.to_string().lines().next().unwrap_or_default().to_owned();
        let sizes = [
            PkiCommand::Revocations(place(folder.path())),
            revoke.clone(),
            revoke.clone(),
            PkiCommand::Revocations(place(folder.path())),
        ]
        .map(|command| {
            run(&command, EventTime::from_millis(1_800_000_000_000)).unwrap();
            std::fs::read(folder.path().join("ca.crl")).unwrap().len()
        });

        let said = lines(run(&revoke, EventTime::default()).unwrap());

        // An entry is about 50 characters; the length of a signature varies by a few.
        assert!(sizes[1] - sizes[0] > 30, "{sizes:?}");
        assert!(sizes[1].abs_diff(sizes[2]).max(sizes[2].abs_diff(sizes[3])) < 10, "{sizes:?}");
        assert_eq!(said, format!("wrote {}", folder.path().join("ca.crl").display()));
    }

    #[test]
    fn another_authoritys_certificate_is_not_revoked() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mall = Place { fleet: "mall".to_owned(), dir: other.path().to_owned() };
        init(&place(own.path())).unwrap();
        init(&mall).unwrap();
        let foreign = Node { place: mall, ..hub_1(other.path()) };
        let certificate = hub(&foreign).unwrap().certificate;

        let revoke = PkiCommand::Revoke(Revoked { place: place(own.path()), certificate });
        let error = run(&revoke, EventTime::default()).unwrap_err().to_string();

        assert!(error.contains("signed by CN=Headland mall"), "{error}");
        assert!(!own.path().join("ca.crl").exists());
    }
}
