//! What a certificate says, for a person.

use headland_event::EventTime;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names and dates of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its subject alternative names, URIs first, as text; empty for an authority.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: EventTime,
    /// Until when it is valid.
    pub not_after: EventTime,
}

impl CertificateFacts {
    /// Reads the first certificate of a PEM text; `None` when there is none that can be read.
    ///
    /// Nothing is verified: who signed it, and whether it is valid now, is for TLS to say.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let (mut uris, mut hosts) = (Vec::new(), Vec::new());
        if let Ok(Some(names)) = parsed.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
                    _ => {}
                }
            }
        }
        uris.append(&mut hosts);
        let millis = |seconds: i64| EventTime::from_millis(seconds.saturating_mul(1_000));
        Some(Self {
            names: uris,
            not_before: millis(parsed.validity().not_before.timestamp()),
            not_after: millis(parsed.validity().not_after.timestamp()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, SpiffeId};

    #[test]
    fn a_nodes_certificate_names_its_id_and_its_host() {
        let id: SpiffeId = "spiffe://shop/region/eu/hub/hub-1".parse().unwrap();
        let issued = Authority::new("shop").unwrap().issue(&id).unwrap();

        let facts = CertificateFacts::from_pem(&issued.certificate_pem).unwrap();

        assert_eq!(facts.names, ["spiffe://shop/region/eu/hub/hub-1", "hub-1.eu.headland"]);
        assert!(facts.not_before < facts.not_after);
    }

    #[test]
    fn an_authority_has_no_names_and_a_text_without_a_certificate_no_facts() {
        let authority = Authority::new("shop").unwrap();

        let facts = CertificateFacts::from_pem(authority.certificate_pem()).unwrap();

        assert_eq!(facts.names, Vec::<String>::new());
        assert_eq!(CertificateFacts::from_pem("-----BEGIN NONSENSE-----"), None);
        assert_eq!(CertificateFacts::from_pem(authority.key_pem()), None);
    }
}
