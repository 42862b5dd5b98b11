//! Whom a node believes: the fleet's authorities, and what they have revoked.

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
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => Distrust::Authority,
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
    let issuers: Vec<Vec<u8>> = lists.iter().filter_map(issuer).collect();
    for authority in authorities {
        let Ok((_, parsed)) = X509Certificate::from_der(authority) else { continue };
        if !issuers.iter().any(|issuer| issuer == parsed.subject().as_raw()) {
            return Err(IdentityError::NoRevocationList {
                path: path.to_owned(),
                ca: ca.to_owned(),
                authority: parsed.subject().to_string(),
            });
        }
    }
    Ok(lists)
}

fn issuer(list: &CertificateRevocationListDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    Some(parsed.issuer().as_raw().to_vec())
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
        let folder = tempfile::tempdir().unwrap();
        let (ca, crl) = (folder.path().join("ca.pem"), folder.path().join("ca.crl"));
        std::fs::write(&ca, authority.certificate_pem()).unwrap();
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
        let (old, new) = (Authority::new("shop").unwrap(), Authority::new("shop").unwrap());
        let agent = issue(&old, AGENT);

        let judged = trust(&new, None).unwrap().judge(&der(&agent), PeerEnd::Client, now());

        // Both authorities have one name, so the signature is what tells them apart.
        assert!(matches!(judged, Err(Distrust::Unfit { .. } | Distrust::Authority)), "{judged:?}");
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
    fn a_list_with_another_authoritys_signature_revokes_nothing_and_admits_nobody() {
        let (own, forger) = (Authority::new("shop").unwrap(), Authority::new("shop").unwrap());
        let agent = issue(&own, AGENT);
        let forged = forger.revocations(None, now()).unwrap();

        let judged =
            trust(&own, Some(&forged)).unwrap().judge(&der(&agent), PeerEnd::Client, now());

        assert!(matches!(judged, Err(Distrust::Unfit { .. })), "{judged:?}");
    }
}
