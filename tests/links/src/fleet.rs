//! Who may speak to whom: two hubs of one fleet.

use std::path::Path;

use anyhow::{Context, Result};
use headland_event::{HubName, RegionId};
use headland_platform::tls::{self, Authority, Role, SpiffeId};
use headland_replication::Identity;
use headland_replication::quic::TlsConfigs;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Sink,
}

impl Side {
    const fn region(self) -> &'static str {
        match self {
            Self::Source => "eu",
            Self::Sink => "us",
        }
    }

    /// The other end.
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Source => Self::Sink,
            Self::Sink => Self::Source,
        }
    }

    fn id(self) -> Result<SpiffeId> {
        let region = RegionId::new(self.region())?;
        let role = Role::Hub("hub-1".to_owned());
        Ok(SpiffeId { fleet: "proof".to_owned(), region, role })
    }

    /// The name in its certificate.
    pub(crate) fn server_name(self) -> Result<String> {
        Ok(self.id()?.server_name())
    }

    /// What it says in its hello.
    pub(crate) fn identity(self) -> Result<Identity> {
        Ok(Identity::Hub { region: RegionId::new(self.region())?, name: HubName::new("hub-1")? })
    }
}

/// Writes the certificates of both ends below `directory`.
pub(crate) fn issue(directory: &Path) -> Result<()> {
    let authority = Authority::new("proof")?;
    let write = |name: String, text: &str| {
        std::fs::write(directory.join(&name), text).with_context(|| format!("cannot write {name}"))
    };
    write("ca.pem".to_owned(), authority.certificate_pem())?;
    for side in [Side::Source, Side::Sink] {
        let issued = authority.issue(&side.id()?)?;
        write(format!("{}.pem", side.region()), &issued.certificate_pem)?;
        write(format!("{}.key", side.region()), &issued.key_pem)?;
    }
    Ok(())
}

/// Reads an end's certificates.
pub(crate) fn load(directory: &Path, side: Side) -> Result<TlsConfigs> {
    let file = |name: String| directory.join(name);
    let identity = tls::Identity::load(
        &file("ca.pem".to_owned()),
        &file(format!("{}.pem", side.region())),
        &file(format!("{}.key", side.region())),
    )?;
    Ok(TlsConfigs {
        server: Some((*identity.server()).clone()),
        client: Some((*identity.client()).clone()),
    })
}
