//! Who may have a link at all, as certificate files and configuration say now.
//!
//! The node decides what a peer may publish; this only takes links away from those whom the files
//! on disk do not admit any more. Whoever is added, or granted other topics, is admitted by the
//! next start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headland_event::EventTime;
use headland_platform::config::{ConfigError, Loaded};
use headland_platform::files::{Complaint, WatchedFiles};
use headland_platform::task::{self, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{Distrust, Identity, PeerEnd, Role, SpiffeId};
use headland_replication::quic::{CloseCode, Connection};
use headland_replication::{Dialled, RefusalCode};
use tokio::sync::watch;

use crate::config::{self, HubConfig};

/// How often the configuration is looked at: a look at a file's times, so that what is changed
/// there is in force within a second, in other regions as well.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Agents and hubs that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    peers: BTreeSet<SpiffeId>,
    at_start: Arc<BTreeSet<SpiffeId>>,
}

impl Admitted {
    /// Those of the configuration that the hub starts with.
    pub(crate) fn at_start(config: &HubConfig, own: &SpiffeId) -> Self {
        let peers = Self::named(config, own);
        Self { at_start: Arc::new(peers.clone()), peers }
    }

    /// Whether the peer was named when the hub started and is not any more. Whoever was not named
    /// then is the node's to refuse, which can say what has to be added.
    fn has_taken_out(&self, peer: &SpiffeId) -> bool {
        self.at_start.contains(peer) && !self.peers.contains(peer)
    }

    /// Those of a configuration, in the fleet of the hub's own certificate.
    fn named(config: &HubConfig, own: &SpiffeId) -> BTreeSet<SpiffeId> {
        let id = |region, role| SpiffeId { fleet: own.fleet.clone(), region, role };
        let agents = config.agents.iter().map(|agent| {
            let region = agent.region.as_ref().unwrap_or(&config.region).clone();
            id(region, Role::Agent(agent.name.to_string()))
        });
        let hubs = config
            .peers
            .iter()
            .map(|peer| id(peer.region.clone(), Role::Hub(peer.name.to_string())));
        agents.chain(hubs).collect()
    }

    /// Reads the configuration again whenever it changes, in a task of its own: whom it names, and
    /// all of it. One that cannot be used, such as one that is just being written, changes nothing.
    pub(crate) fn follow(
        config: &Loaded<HubConfig>,
        own: &SpiffeId,
        token: &Token,
    ) -> (watch::Receiver<Self>, watch::Receiver<Arc<HubConfig>>) {
        let (current, receiver) = watch::channel(Self::at_start(&config.value, own));
        let (read, configured) = watch::channel(Arc::new(config.value.clone()));
        let file = ConfigFile::of(config, own);
        drop(task::spawn("configuration", token, file.look_again_and_again(current, read)));
        (receiver, configured)
    }
}

struct ConfigFile {
    path: PathBuf,
    watched: WatchedFiles,
    own: SpiffeId,
}

impl ConfigFile {
    /// The file of a configuration that was read some time ago: opening a log takes its time, and
    /// the file may be another one by now.
    fn of(config: &Loaded<HubConfig>, own: &SpiffeId) -> Self {
        let path = config.path().to_owned();
        Self { watched: WatchedFiles::unread([path.clone()]), path, own: own.clone() }
    }

    async fn look_again_and_again(
        mut self,
        current: watch::Sender<Admitted>,
        read: watch::Sender<Arc<HubConfig>>,
    ) {
        let mut complaint = Complaint::default();
        // The first look is to find out whether the file is still the one the hub started with.
        let mut is_first = true;
        // A file may be read while it is written: what lets records go has to stand unchanged from
        // one look to the next.
        let mut settling = None;
        while !current.is_closed() {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let looking = task::spawn_blocking("configuration", move || {
                let found = self.look();
                (self, found)
            });
            let Some((file, found)) = looking.join().await else { return };
            self = file;
            match found {
                None => {
                    complaint.settle();
                    if let Some(config) = settling.take() {
                        read.send_replace(Arc::new(config));
                    }
                }
                Some(Ok(config)) => {
                    complaint.settle();
                    let peers = Admitted::named(&config, &self.own);
                    if current.borrow().peers != peers || !is_first {
                        tracing::info!(
                            "the configuration has changed: whom it does not name any more is \
                             closed, topics are kept as it says; all else takes effect at the \
                             next start"
                        );
                    }
                    current.send_modify(|admitted| admitted.peers = peers);
                    settling = Some(config);
                    is_first = false;
                }
                Some(Err(error)) => {
                    settling = None;
                    let error = with_causes(&error);
                    if complaint.is_new(&error) {
                        let what = "the configuration has changed and cannot be used; the one \
                                    before stays in use until it can";
                        tracing::error!(error, "{what}");
                    }
                }
            }
        }
    }

    /// What the file says, if it has changed since it was last read with success.
    fn look(&mut self) -> Option<Result<HubConfig, ConfigError>> {
        let seen = self.watched.changed()?;
        let config = match config::load(&self.path) {
            Ok(config) => config,
            Err(error) => return Some(Err(error)),
        };
        self.watched.note(seen);
        Some(Ok(config.value))
    }
}

/// Why a link must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Objection {
    /// The certificate is believed no more.
    #[error(transparent)]
    Certificate(#[from] Distrust),
    /// The configuration does not name the peer any more.
    #[error("{peer} was taken out of this hub's configuration; add it and restart to admit it")]
    TakenOut {
        /// Who it is.
        peer: SpiffeId,
    },
}

impl Objection {
    fn code(&self) -> CloseCode {
        match self {
            Self::Certificate(Distrust::Revoked | Distrust::Authority) => CloseCode::Revoked,
            Self::Certificate(_) => CloseCode::Identity,
            Self::TakenOut { .. } => CloseCode::Refused(RefusalCode::NotAuthorised),
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
        let is_taken_out = self.admitted.borrow_and_update().has_taken_out(peer);
        let judged = judged.map_err(Objection::from).and_then(|()| {
            if is_taken_out { Err(Objection::TakenOut { peer: peer.clone() }) } else { Ok(()) }
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
    use std::path::Path;

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
        let admitted = Admitted::at_start(&config.unwrap().value, &own());

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
        let unchanged = file.look().is_none();

        std::fs::write(&path, HUB.replace("till-1", "till-22")).unwrap();
        let changed = Admitted::named(&file.look().unwrap().unwrap(), &own());
        std::fs::write(&path, "region = ").unwrap();
        let broken = [(); 2].map(|()| file.look().unwrap());
        std::fs::write(&path, HUB).unwrap();
        let mended = Admitted::named(&file.look().unwrap().unwrap(), &own());

        assert!(unchanged);
        let till_22 = "spiffe://shop/region/eu/agent/till-22".parse().unwrap();
        assert!(changed.contains(&till_22));
        assert_eq!(changed.len(), 2);
        assert!(broken.iter().all(Result::is_err), "{broken:?}");
        assert!(!mended.contains(&till_22));
    }

    #[test]
    fn a_configuration_that_changed_while_the_hub_started_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        std::fs::write(&path, HUB).unwrap();
        let config = config::load(&path).unwrap();

        std::fs::write(&path, HUB.replace("till-1", "till-22")).unwrap();
        let mut file = ConfigFile::of(&config, &own());
        let changed = Admitted::named(&file.look().unwrap().unwrap(), &own());

        assert!(changed.contains(&"spiffe://shop/region/eu/agent/till-22".parse().unwrap()));
        assert!(file.look().is_none());
    }

    #[test]
    fn only_who_was_named_at_the_start_can_be_taken_out() {
        let parse = |text: String| {
            headland_platform::config::parse::<HubConfig>(Path::new("hub.toml"), text).unwrap()
        };
        let later = parse(HUB.replace("till-1", "till-2"));
        let mut admitted = Admitted::at_start(&parse(HUB.to_owned()).value, &own());
        admitted.peers = Admitted::named(&later.value, &own());

        let found = ["agent/till-1", "agent/till-2", "agent/stranger"].map(|node| {
            let id = format!("spiffe://shop/region/eu/{node}").parse().unwrap();
            admitted.has_taken_out(&id)
        });

        assert_eq!(found, [true, false, false]);
    }
}
