//! Who may have a link at all, as certificate files and configuration say now.
//!
//! The node decides what a peer may publish; this only takes links away from those whom the files
//! on disk do not admit any more. Whoever is added, or granted other topics, is admitted by the
//! next start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headland_event::EventTime;
use headland_platform::config::{ConfigError, Loaded};
use headland_platform::files::WatchedFiles;
use headland_platform::task::{self, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{Distrust, Identity, PeerEnd, Role, SpiffeId};
use headland_replication::quic::{CloseCode, Connection};
use headland_replication::{Dialled, RefusalCode};
use tokio::sync::watch;

use crate::config::{self, HubConfig};

/// How often the configuration is looked at; with the time to read it, a fifth of the 10 s within
/// which an agent that was taken out has to be gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Agents and hubs that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    peers: BTreeSet<SpiffeId>,
}

impl Admitted {
    /// Those of a configuration, in the fleet of the hub's own certificate.
    pub(crate) fn of(config: &HubConfig, own: &SpiffeId) -> Self {
        let id = |region, role| SpiffeId { fleet: own.fleet.clone(), region, role };
        let agents = config
            .agents
            .iter()
            .map(|agent| id(config.region.clone(), Role::Agent(agent.name.to_string())));
        let hubs = config
            .peers
            .iter()
            .map(|peer| id(peer.region.clone(), Role::Hub(peer.name.to_string())));
        Self { peers: agents.chain(hubs).collect() }
    }

    /// Reads the configuration again whenever it changes, in a task of its own. One that cannot be
    /// used, such as one that is just being written, changes nothing.
    pub(crate) fn follow(
        config: &Loaded<HubConfig>,
        own: &SpiffeId,
        token: &Token,
    ) -> watch::Receiver<Self> {
        let (current, receiver) = watch::channel(Self::of(&config.value, own));
        let file = ConfigFile {
            path: config.path().to_owned(),
            watched: WatchedFiles::new([config.path().to_owned()]),
            own: own.clone(),
        };
        drop(task::spawn("configuration", token, file.look_again_and_again(current)));
        receiver
    }
}

struct ConfigFile {
    path: PathBuf,
    watched: WatchedFiles,
    own: SpiffeId,
}

impl ConfigFile {
    async fn look_again_and_again(mut self, current: watch::Sender<Admitted>) {
        while !current.is_closed() {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let looking = task::spawn_blocking("configuration", move || {
                let found = self.look();
                (self, found)
            });
            let Some((file, found)) = looking.join().await else { return };
            self = file;
            match found {
                None => {}
                Some(Ok(admitted)) => {
                    tracing::info!(
                        "the configuration has changed: whom it does not name any more is closed; \
                         all else takes effect at the next start"
                    );
                    current.send_replace(admitted);
                }
                Some(Err(error)) => tracing::error!(
                    error = with_causes(&error),
                    "the configuration has changed and cannot be used; the one before stays in use"
                ),
            }
        }
    }

    fn look(&mut self) -> Option<Result<Admitted, ConfigError>> {
        let path: &Path = &self.path;
        let has_changed = self.watched.has_changed();
        has_changed.then(|| {
            let config = config::load(path)?;
            Ok(Admitted::of(&config.value, &self.own))
        })
    }
}

/// Why a link must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Objection {
    /// The certificate is believed no more.
    #[error(transparent)]
    Certificate(#[from] Distrust),
    /// The configuration does not name the peer.
    #[error("{peer} was taken out of this hub's configuration; add it and restart to admit it")]
    NotNamed {
        /// Who it is.
        peer: SpiffeId,
    },
}

impl Objection {
    fn code(&self) -> CloseCode {
        match self {
            Self::Certificate(Distrust::Revoked | Distrust::Authority) => CloseCode::Revoked,
            Self::Certificate(_) => CloseCode::Identity,
            Self::NotNamed { .. } => CloseCode::Refused(RefusalCode::NotAuthorised),
        }
    }
}

/// What links are judged by; the receivers always hold what the files say now.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) identity: watch::Receiver<Identity>,
    pub(crate) admitted: watch::Receiver<Admitted>,
}

impl Admission {
    /// Waits until certificate files or configuration have changed; for ever once nobody looks.
    ///
    /// # Cancel safety
    /// Nothing is lost: a change stays one until it was returned.
    pub(crate) async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.identity.changed() => changed,
            changed = self.admitted.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends a link that was good when it was made and is not any more.
    pub(crate) fn review(
        &mut self,
        connection: &Connection,
        peer: &SpiffeId,
        dialled: Dialled,
        now: EventTime,
    ) {
        let end = match dialled {
            Dialled::Here => PeerEnd::Server,
            Dialled::There => PeerEnd::Client,
        };
        let chain = connection.peer_certificates();
        let judged = self.identity.borrow_and_update().judge(&chain, end, now);
        let is_named = self.admitted.borrow_and_update().peers.contains(peer);
        let judged = judged.map_err(Objection::from).and_then(|()| {
            if is_named { Ok(()) } else { Err(Objection::NotNamed { peer: peer.clone() }) }
        });
        if let Err(objection) = judged {
            let why = objection.to_string();
            tracing::warn!(%peer, why, "a link was closed");
            connection.close(objection.code(), &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = r#"
region = "eu"
name = "hub-1"
data_dir = "none"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
[[peer]]
region = "us"
name = "hub-1"
[[agent]]
name = "till-1"
topics = []
devices = []
"#;

    fn own() -> SpiffeId {
        "spiffe://shop/region/eu/hub/hub-1".parse().unwrap()
    }

    #[test]
    fn a_configuration_admits_its_agents_and_peers_of_its_own_fleet_alone() {
        let config = headland_platform::config::parse(Path::new("hub.toml"), HUB.to_owned());
        let admitted = Admitted::of(&config.unwrap().value, &own());

        let found = [
            "spiffe://shop/region/eu/agent/till-1",
            "spiffe://shop/region/us/hub/hub-1",
            "spiffe://shop/region/us/agent/till-1",
            "spiffe://shop/region/eu/hub/till-1",
            "spiffe://mall/region/eu/agent/till-1",
        ]
        .map(|id| admitted.peers.contains(&id.parse::<SpiffeId>().unwrap()));

        assert_eq!(found, [true, true, false, false, false]);
    }

    #[test]
    fn a_configuration_is_read_again_once_it_has_changed_and_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        std::fs::write(&path, HUB).unwrap();
        let watched = WatchedFiles::new([path.clone()]);
        let mut file = ConfigFile { path: path.clone(), watched, own: own() };
        let unchanged = file.look();

        std::fs::write(&path, HUB.replace("till-1", "till-22")).unwrap();
        let changed = file.look().unwrap().unwrap();
        std::fs::write(&path, "region = ").unwrap();
        let broken = file.look().unwrap();

        assert!(unchanged.is_none());
        let till_22 = "spiffe://shop/region/eu/agent/till-22".parse().unwrap();
        assert!(changed.peers.contains(&till_22));
        assert_eq!(changed.peers.len(), 2);
        assert!(broken.is_err());
    }
}
