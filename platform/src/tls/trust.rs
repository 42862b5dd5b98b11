//! Whom a node believes: the fleet's authorities, and what they have revoked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headland_event::EventTime;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::identity::{IdentityError, peer_id, provider, read_certificates};

/// Why a peer, whose certificate was once good, is believed no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// Its authority has revoked the certificate.
    #[error("the certificate is revoked; issue a new one with headland pki")]
    Revoked,
    /// No authority in `ca_file` stands behind the certificate any more.
    #[error("the certificate is not signed by an authority in ca_file any more")]
    Authority,
    /// Anything else that the library found.
    #[error("the certificate is not accepted: {text}")]
    Unfit {
        /// What it found.
        text: String,
    },
}

/// Which end of a connection a peer is, as its certificate has to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEnd {
    /// It has dialled.
    Client,
    /// It was dialled.
    Server,
}

/// Verifiers of both kinds of peers, over the same authorities and lists.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Trust {
    /// Reads authorities and, if there is a file of them, their revocation lists.
    pub(super) fn read(ca: &Path, lists: Option<&Path>) -> Result<Self, IdentityError> {
        let authorities = read_certificates("the authority's certificates", ca)?;
        let revoked = match lists {
            Some(path) => read_lists(path, ca, &authorities)?,
            None => Vec::new(),
        };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|source| IdentityError::Unusable { path: ca.to_owned(), source })?;
        }
        let roots = Arc::new(roots);
        let failed = |source| IdentityError::Authority { path: ca.to_owned(), source };
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .with_crls(revoked.clone())
            .build()
            .map_err(failed)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .with_crls(revoked)
            .build()
            .map_err(failed)?;
        Ok(Self { clients, servers })
    }

    pub(super) fn clients(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.clients)
    }

    pub(super) fn servers(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.servers)
    }

    /// Judges a chain again that was good when its link was made.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        end: PeerEnd,
        now: EventTime,
    ) -> Result<(), Distrust> {
        let unfit = |text: &str| Distrust::Unfit { text: text.to_owned() };
        let (own, others) = chain.split_first().ok_or_else(|| unfit("there is none"))?;
        let now = within_validity(own, now);
        let judged = match end {
            PeerEnd::Client => self.clients.verify_client_cert(own, others, now).map(drop),
            PeerEnd::Server => {
                let name = peer_id(own).ok_or_else(|| unfit("it names no hub and no agent"))?;
                let name = ServerName::try_from(name.server_name());
                let name = name.map_err(|error| unfit(&error.to_string()))?;
                self.servers.verify_server_cert(own, others, &name, &[], now).map(drop)
            }
        };
        judged.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::Revoked) => Distrust::Revoked,
            // An authority of the same name with another key shows by its signature.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Distrust::Authority,
            error => Distrust::Unfit { text: error.to_string() },
        })
    }
}

/// The moment of the certificate's validity that is nearest to `now`: a link that was made while
/// its certificate held goes on after that, because the peer shows a new one with its next link.
/// Asking with `now` would also hide a revocation behind an expiry.
fn within_validity(certificate: &CertificateDer<'_>, now: EventTime) -> UnixTime {
    let now = now.millis().div_euclid(1_000);
    let seconds = X509Certificate::from_der(certificate).map_or(now, |(_, parsed)| {
        let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
        now.min(to.timestamp()).max(from.timestamp())
    });
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Reads revocation lists; every authority needs one, because a certificate whose authority has
/// none would be refused at its first handshake with a much poorer message.
///
/// The library takes the first list whose issuer has the name it looks for, and no other. Names
/// that do not lead to one key and one list are refused here for that reason: a list that is never
/// looked at leaves in whom it revokes, and one of another key closes every link.
fn read_lists(
    path: &Path,
    ca: &Path,
    authorities: &[CertificateDer<'_>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, IdentityError> {
    let failed =
        |source| IdentityError::Pem { what: "revocation lists", path: path.to_owned(), source };
    let lists = CertificateRevocationListDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let mut by_issuer = BTreeMap::new();
    for list in &lists {
        // One that cannot be parsed is refused by the library, in its own words.
        let Ok((_, parsed)) = CertificateRevocationList::from_der(list) else { continue };
        let authority = parsed.issuer().to_string();
        if by_issuer.insert(parsed.issuer().as_raw().to_vec(), parsed).is_some() {
            return Err(IdentityError::TwoLists { path: path.to_owned(), authority });
        }
    }
    let mut keys = BTreeMap::new();
    for authority in authorities {
        let Ok((_, parsed)) = X509Certificate::from_der(authority) else { continue };
        let name = parsed.subject().to_string();
        let (subject, key) = (parsed.subject().as_raw().to_vec(), parsed.public_key());
        let Some(list) = by_issuer.get(&subject) else {
            let (path, ca) = (path.to_owned(), ca.to_owned());
            return Err(IdentityError::NoRevocationList { path, ca, authority: name });
        };
        // One certificate twice, or a new one of the same key, is the same authority.
        let known = keys.insert(subject, key.raw.to_vec());
        if known.is_some_and(|known| known != key.raw) {
            return Err(IdentityError::TwoAuthorities { ca: ca.to_owned(), authority: name });
        }
        if list.verify_signature(key).is_err() {
            return Err(IdentityError::ForeignList { path: path.to_owned(), authority: name });
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    const AGENT: &str = "spiffe://shop/region/eu/agent/till-1";
    const HUB: &str = "spiffe://shop/region/eu/hub/hub-1";

    fn issue(authority: &Authority, id: &str) -> String {
        authority.issue(&id.parse().unwrap()).unwrap().certificate_pem
    }

    fn der(pem: &str) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()]
    }

    fn now() -> EventTime {
        EventTime::from_millis(1_800_000_000_000)
    }

    /// What a node with these files thinks.
    fn trust(authority: &Authority, list: Option<&str>) -> Result<Trust, IdentityError> {
        trust_all(&[authority], list)
    }

    fn trust_all(authorities: &[&Authority], list: Option<&str>) -> Result<Trust, IdentityError> {
        let folder = tempfile::tempdir().unwrap();
        let (ca, crl) = (folder.path().join("ca.pem"), folder.path().join("ca.crl"));
        let pems = authorities.iter().map(|authority| authority.certificate_pem());
        std::fs::write(&ca, pems.collect::<String>()).unwrap();
        let crl = list.map(|list| {
            std::fs::write(&crl, list).unwrap();
            crl
        });
        Trust::read(&ca, crl.as_deref())
    }

    #[test]
    fn a_revoked_certificate_is_told_from_one_that_is_not_at_both_ends() {
        let authority = Authority::new("shop").unwrap();
        let (agent, hub) = (issue(&authority, AGENT), issue(&authority, HUB));
        let other = issue(&authority, AGENT);
        let none = authority.revocations(None, now()).unwrap();
        let one = authority.revoke(None, &agent, now()).unwrap();
        let both = authority.revoke(Some(&one), &hub, now()).unwrap();

        let judge = |list: &str| {
            let trust = trust(&authority, Some(list)).unwrap();
            [
                trust.judge(&der(&agent), PeerEnd::Client, now()),
                trust.judge(&der(&hub), PeerEnd::Server, now()),
                trust.judge(&der(&other), PeerEnd::Client, now()),
            ]
        };

        let revoked = Err(Distrust::Revoked);
        assert_eq!(judge(&none), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(judge(&one), [revoked.clone(), Ok(()), Ok(())]);
        assert_eq!(judge(&both), [revoked.clone(), revoked, Ok(())]);
    }

    #[test]
    fn an_expired_certificate_keeps_its_link_and_is_still_found_when_revoked() {
        let authority = Authority::new("shop").unwrap();
        let agent = issue(&authority, AGENT);
        let list = authority.revoke(None, &agent, now()).unwrap();
        // The year 5000: certificates of this authority hold until 4096.
        let late = EventTime::from_millis(95_617_584_000_000);

        let judge = |list: Option<&str>| {
            trust(&authority, list).unwrap().judge(&der(&agent), PeerEnd::Client, late)
        };

        assert_eq!(judge(None), Ok(()));
        assert_eq!(judge(Some(&list)), Err(Distrust::Revoked));
    }

    #[test]
    fn an_authority_that_was_taken_out_of_its_file_is_believed_no_more() {
        let named = [(); 2].map(|()| Authority::new("shop").unwrap());
        let nameless = [(); 2].map(|()| Authority::without_fingerprint("shop"));

        let judged = [named, nameless].map(|[old, new]| {
            let chain = der(&issue(&old, AGENT));
            trust(&new, None).unwrap().judge(&chain, PeerEnd::Client, now())
        });

        // Whether its name or its signature gives it away.
        assert_eq!(judged, [Err(Distrust::Authority), Err(Distrust::Authority)]);
    }

    #[test]
    fn two_authorities_of_a_fleet_stand_side_by_side_each_with_its_list() {
        let [old, new] = [(); 2].map(|()| Authority::new("shop").unwrap());
        let [at_old, at_new, revoked] = [&old, &new, &new].map(|authority| issue(authority, AGENT));
        let lists =
            old.revocations(None, now()).unwrap() + &new.revoke(None, &revoked, now()).unwrap();

        let trust = trust_all(&[&old, &new], Some(&lists)).unwrap();
        let judged =
            [at_old, at_new, revoked].map(|pem| trust.judge(&der(&pem), PeerEnd::Client, now()));

        assert_eq!(judged, [Ok(()), Ok(()), Err(Distrust::Revoked)]);
    }

    #[test]
    fn two_authorities_of_one_name_are_refused_where_there_are_lists() {
        let [old, new] = [(); 2].map(|()| Authority::without_fingerprint("shop"));
        let list = old.revocations(None, now()).unwrap();

        let without = trust_all(&[&old, &new], None);
        let same = trust_all(&[&old, &old], Some(&list));
        let error = trust_all(&[&old, &new], Some(&list)).unwrap_err().to_string();

        assert!(without.is_ok() && same.is_ok(), "{without:?} {same:?}");
        assert!(error.contains("ca.pem has two authorities named CN=Headland shop"), "{error}");
    }

    #[test]
    fn a_second_list_of_an_authority_is_refused_instead_of_ignored() {
        let authority = Authority::new("shop").unwrap();
        let older = authority.revocations(None, now()).unwrap();
        let newer = authority.revoke(None, &issue(&authority, AGENT), now()).unwrap();

        let error = trust(&authority, Some(&(older + &newer))).unwrap_err().to_string();

        assert!(error.contains("ca.crl has two revocation lists of CN=Headland shop"), "{error}");
    }

    #[test]
    fn an_authority_without_a_list_is_named() {
        let (own, other) = (Authority::new("shop").unwrap(), Authority::new("mall").unwrap());
        let foreign = other.revocations(None, now()).unwrap();

        let error = trust(&own, Some(&foreign)).unwrap_err().to_string();

        assert!(
            error.contains("has no list of Headland shop, CN") || error.contains("Headland shop"),
            "{error}"
        );
    }

    #[test]
    fn a_list_with_another_authoritys_signature_is_refused() {
        let [own, forger] = [(); 2].map(|()| Authority::without_fingerprint("shop"));
        let forged = forger.revocations(None, now()).unwrap();

        let error = trust(&own, Some(&forged)).unwrap_err().to_string();

        assert!(error.contains("ca.crl was not signed by CN=Headland shop as"), "{error}");
    }
}
