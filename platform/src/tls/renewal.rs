//! Identities that follow their files.

use std::path::Path;
use std::time::Duration;

use headland_event::RegionId;
use tokio::sync::watch;

use super::identity::{ConfiguredError, Identity};
use super::spiffe::Role;
use crate::clock::Clock;
use crate::config::TlsConfig;
use crate::files::{Complaint, WatchedFiles};
use crate::task::{self, Token};
use crate::telemetry::with_causes;

/// How often files are looked at: a fifth of the time within which a revocation has to take
/// effect, for the price of four `stat` calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Reads a node's certificate, key, authorities and revocation lists again when they change.
///
/// Files that do not fit each other, such as a new certificate whose key has not been written
/// yet, change nothing: the identity of before stays until they do.
#[derive(Debug)]
pub struct Renewal {
    tls: TlsConfig,
    region: RegionId,
    role: Role,
    files: WatchedFiles,
}

impl Renewal {
    /// Reads the identity, and takes note of the files it came from.
    ///
    /// # Errors
    /// As [`Identity::configured`].
    pub fn begin(
        tls: &TlsConfig,
        region: &RegionId,
        role: Role,
    ) -> Result<(Self, Identity), ConfiguredError> {
        let files = WatchedFiles::new(tls.paths().map(Path::to_owned));
        let identity = Identity::configured(tls, region, role.clone())?;
        Ok((Self { tls: tls.clone(), region: region.clone(), role, files }, identity))
    }

    /// The identity that the files make now, if they have changed since they were last read with
    /// success.
    ///
    /// # Errors
    /// As [`Identity::configured`], and when the files do not accept the node's own certificate;
    /// what was in use stays so.
    pub fn look(&mut self) -> Result<Option<Identity>, ConfiguredError> {
        let Some(seen) = self.files.changed() else { return Ok(None) };
        let identity = Identity::configured(&self.tls, &self.region, self.role.clone())?;
        // Links are judged by what was read: files that would close them all are refused.
        identity.check_own(&self.tls.certificate_file, Clock::start().wall())?;
        self.files.note(seen);
        Ok(Some(identity))
    }

    /// Looks every 2 s in a task of its own; the receiver always holds the identity to use.
    #[must_use]
    pub fn follow(self, identity: Identity, token: &Token) -> watch::Receiver<Identity> {
        let (current, receiver) = watch::channel(identity);
        drop(task::spawn("certificates", token, self.look_again_and_again(current)));
        receiver
    }

    async fn look_again_and_again(mut self, current: watch::Sender<Identity>) {
        let mut complaint = Complaint::default();
        while !current.is_closed() {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let looking = task::spawn_blocking("certificates", move || {
                let found = self.look();
                (self, found)
            });
            let Some((renewal, found)) = looking.join().await else { return };
            self = renewal;
            match found {
                Ok(None) => complaint.settle(),
                Ok(Some(identity)) => {
                    complaint.settle();
                    tracing::info!(id = %identity.id(), "certificate files were read again");
                    current.send_replace(identity);
                }
                Err(error) => {
                    let error = with_causes(&error);
                    if complaint.is_new(&error) {
                        let what = "certificate files have changed and cannot be used; those \
                                    before stay in use until they can";
                        tracing::error!(error, "{what}");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use headland_event::EventTime;

    use super::*;
    use crate::tls::{Authority, IdentityError};

    fn write(folder: &Path, authority: &Authority) -> [String; 2] {
        let issued = authority.issue(&"spiffe://shop/region/eu/hub/hub-1".parse().unwrap());
        let issued = issued.unwrap();
        std::fs::write(folder.join("ca.pem"), authority.certificate_pem()).unwrap();
        [issued.certificate_pem, issued.key_pem]
    }

    fn begin(folder: &Path) -> Renewal {
        let file = |name: &str| -> PathBuf { folder.join(name) };
        let tls = TlsConfig {
            ca_file: file("ca.pem"),
            certificate_file: file("hub.pem"),
            key_file: file("hub.key"),
            crl_file: folder.join("ca.crl").exists().then(|| file("ca.crl")),
        };
        let (region, role) = (RegionId::new("eu").unwrap(), Role::Hub("hub-1".to_owned()));
        Renewal::begin(&tls, &region, role).unwrap().0
    }

    #[test]
    fn a_pair_that_is_half_written_changes_nothing_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("shop").unwrap();
        let [first, next] = [(); 2].map(|()| write(folder.path(), &authority));
        std::fs::write(folder.path().join("hub.pem"), &first[0]).unwrap();
        std::fs::write(folder.path().join("hub.key"), &first[1]).unwrap();
        let mut renewal = begin(folder.path());
        let unchanged = renewal.look().unwrap().is_none();

        std::fs::remove_file(folder.path().join("hub.pem")).unwrap();
        std::fs::write(folder.path().join("hub.pem"), &next[0]).unwrap();
        let [half, again] = [(); 2].map(|()| renewal.look());
        std::fs::remove_file(folder.path().join("hub.key")).unwrap();
        std::fs::write(folder.path().join("hub.key"), &next[1]).unwrap();
        let whole = renewal.look().unwrap();

        assert!(unchanged);
        assert!(matches!(half, Err(ConfiguredError::Files(_))), "{half:?}");
        // Nothing has changed since, and it still counts as unread.
        assert!(matches!(again, Err(ConfiguredError::Files(_))), "{again:?}");
        assert_eq!(whole.unwrap().id().to_string(), "spiffe://shop/region/eu/hub/hub-1");
        assert!(renewal.look().unwrap().is_none());
    }

    /// A hub of an authority with a list; whatever is written replaces a file as a whole.
    fn with_list(authority: &Authority) -> (tempfile::TempDir, Renewal) {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = write(folder.path(), authority);
        let list = authority.revocations(None, EventTime::default()).unwrap();
        for (name, text) in [("hub.pem", certificate), ("hub.key", key), ("ca.crl", list)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let renewal = begin(folder.path());
        (folder, renewal)
    }

    #[test]
    fn a_list_that_its_authority_has_not_signed_changes_nothing() {
        let [own, forger] = [(); 2].map(|()| Authority::without_fingerprint("shop"));
        let (folder, mut renewal) = with_list(&own);
        let [forged, next] =
            [&forger, &own].map(|by| by.revocations(None, EventTime::default()).unwrap());

        std::fs::write(folder.path().join("ca.crl"), forged).unwrap();
        let refused = renewal.look();
        std::fs::write(folder.path().join("ca.crl"), next).unwrap();
        let accepted = renewal.look();

        let foreign = ConfiguredError::Files(IdentityError::ForeignList {
            path: folder.path().join("ca.crl"),
            authority: "CN=Headland shop".to_owned(),
        });
        assert_eq!(refused.unwrap_err().to_string(), foreign.to_string());
        assert!(accepted.unwrap().is_some());
    }

    #[test]
    fn a_certificate_that_no_peer_would_accept_changes_nothing() {
        let authority = Authority::new("shop").unwrap();
        let (folder, mut renewal) = with_list(&authority);
        let id = "spiffe://shop/region/eu/hub/hub-1".parse().unwrap();
        let unfit = authority.issue_for_dialling(&id);

        std::fs::write(folder.path().join("hub.pem"), unfit.certificate_pem).unwrap();
        std::fs::write(folder.path().join("hub.key"), unfit.key_pem).unwrap();
        let refused = renewal.look();

        assert!(matches!(refused, Err(ConfiguredError::Unfit { .. })), "{refused:?}");
    }

    #[test]
    fn an_authority_may_be_exchanged_before_the_certificate_is() {
        let (folder, mut renewal) = with_list(&Authority::new("shop").unwrap());
        let next = Authority::new("shop").unwrap();
        let list = next.revocations(None, EventTime::default()).unwrap();

        std::fs::write(folder.path().join("ca.pem"), next.certificate_pem()).unwrap();
        std::fs::write(folder.path().join("ca.crl"), list).unwrap();

        assert!(renewal.look().unwrap().is_some());
    }
}
