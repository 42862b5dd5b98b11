//! SPIFFE ids: who a certificate belongs to.

use std::fmt;
use std::str::FromStr;

use headland_event::RegionId;

/// What a certificate's owner is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A region's hub, by name.
    Hub(String),
    /// An agent, by name.
    Agent(String),
}

impl Role {
    /// The hub's or the agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Hub(name) | Self::Agent(name) => name,
        }
    }
}

/// `spiffe://<fleet>/region/<region>/hub/<name>` or `…/agent/<name>`.
///
/// # Source
/// The SPIFFE ID standard, §2; the path is ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The trust domain: all that one authority signs.
    pub fleet: String,
    /// The owner's region.
    pub region: RegionId,
    /// What the owner is.
    pub role: Role,
}

/// A URI that names no hub and no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not spiffe://<fleet>/region/<region>/hub/<name> or \
     spiffe://<fleet>/region/<region>/agent/<name>"
)]
pub struct SpiffeIdError {
    /// The URI as found.
    pub found: String,
}

impl SpiffeId {
    /// The name a TLS client asks for when it dials the owner: `<name>.<region>.headland`.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{}.headland", self.role.name(), self.region)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match &self.role {
            Role::Hub(name) => ("hub", name),
            Role::Agent(name) => ("agent", name),
        };
        write!(f, "spiffe://{}/region/{}/{kind}/{name}", self.fleet, self.region)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        parse(text).ok_or_else(|| SpiffeIdError { found: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<SpiffeId> {
    let parts: Vec<&str> = text.strip_prefix("spiffe://")?.split('/').collect();
    let [fleet, "region", region, kind, name] = parts.as_slice() else { return None };
    // A name is checked like a region: the same letters, so that it can stand in a file's name.
    RegionId::new(fleet).ok()?;
    RegionId::new(name).ok()?;
    let role = match *kind {
        "hub" => Role::Hub((*name).to_owned()),
        "agent" => Role::Agent((*name).to_owned()),
        _ => return None,
    };
    Some(SpiffeId { fleet: (*fleet).to_owned(), region: RegionId::new(region).ok()?, role })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_gives_its_server_name() {
        let text = "spiffe://shop/region/eu/hub/hub-1";

        let id: SpiffeId = text.parse().unwrap();

        assert_eq!(id.to_string(), text);
        assert_eq!(id.server_name(), "hub-1.eu.headland");
        assert_eq!(id.role, Role::Hub("hub-1".to_owned()));
    }

    #[test]
    fn other_uris_are_refused() {
        for text in [
            "https://shop/region/eu/hub/a",
            "spiffe://shop/region/eu/router/a",
            "spiffe://shop/region/eu/hub/",
            "spiffe://shop/region/eu/hub/a/b",
            "spiffe://shop/region/../hub/a",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap_err().found, text);
        }
    }
}
