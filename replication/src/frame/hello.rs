//! Who speaks: the first frame in each direction.

use std::fmt;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AgentName, ByteCount, HubName, Incarnation, RegionId};

use super::unknown_code;

/// Which node is at one end of a link, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// An agent, which offers what it wrote and detected.
    Agent {
        /// The region it belongs to.
        region: RegionId,
        /// Its name there.
        name: AgentName,
    },
    /// A hub.
    Hub {
        /// The region it serves.
        region: RegionId,
        /// Its name there.
        name: HubName,
    },
}

impl Identity {
    /// The node's region.
    #[must_use]
    pub const fn region(&self) -> &RegionId {
        match self {
            Self::Agent { region, .. } | Self::Hub { region, .. } => region,
        }
    }

    fn write(&self, writer: &mut Writer) {
        let (role, name) = match self {
            Self::Agent { name, .. } => (0, name.as_str()),
            Self::Hub { name, .. } => (1, name.as_str()),
        };
        writer.u8(role);
        writer.name(self.region().as_str());
        writer.name(name);
    }

    fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        let role = reader.u8("role")?;
        let region = reader.name("region")?;
        match role {
            0 => Ok(Self::Agent { region, name: reader.name("agent")? }),
            1 => Ok(Self::Hub { region, name: reader.name("hub")? }),
            unknown => Err(unknown_code("role", at, unknown, "0 (agent) or 1 (hub)")),
        }
    }
}

impl fmt::Display for Identity {
    /// The path of the certificate's SPIFFE id: `region/eu/agent/eu-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { region, name } => write!(f, "region/{region}/agent/{name}"),
            Self::Hub { region, name } => write!(f, "region/{region}/hub/{name}"),
        }
    }
}

/// The first frame in each direction: who speaks, in which life, and how much it takes at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The speaker; refused when its certificate says otherwise.
    pub identity: Identity,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// Credit: most bytes of data frames it takes before it has stored the first of them.
    pub window: ByteCount,
}

impl Hello {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { identity, incarnation, window } = self;
        identity.write(writer);
        writer.incarnation(*incarnation);
        writer.u64(window.get());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self {
            identity: Identity::read(reader)?,
            incarnation: reader.incarnation("incarnation")?,
            window: ByteCount::new(reader.u64("window")?),
        })
    }
}
