//! What a certificate says, for a person.

use std::path::{Path, PathBuf};

use headland_event::EventTime;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::SpiffeId;

/// Names and dates of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is, as its issuer named them.
    pub subject: String,
    /// Its subject alternative names, URIs first, as text; empty for an authority.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: EventTime,
    /// Until when it is valid.
    pub not_after: EventTime,
}

impl CertificateFacts {
    /// Reads the first certificate of a PEM text.
    ///
    /// Nothing is verified: who signed it is for TLS to say, whether it is valid now for
    /// [`Self::check`].
    ///
    /// # Errors
    /// [`CertificateError`] when there is none that can be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoPem,
            error => CertificateError::Unreadable(error.to_string()),
        })?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
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
        Ok(Self {
            subject: parsed.subject().to_string(),
            names: uris,
            not_before: millis(parsed.validity().not_before.timestamp()),
            not_after: millis(parsed.validity().not_after.timestamp()),
        })
    }

    /// Checks that the certificate is valid at `now`, to the second.
    ///
    /// # Errors
    /// [`CertificateError::Expired`] and [`CertificateError::NotYetValid`].
    pub fn check(&self, now: EventTime) -> Result<(), CertificateError> {
        let second = |time: EventTime| time.millis().div_euclid(1_000);
        if second(now) > second(self.not_after) {
            return Err(CertificateError::Expired { at: self.not_after });
        }
        if second(now) < second(self.not_before) {
            return Err(CertificateError::NotYetValid { from: self.not_before });
        }
        Ok(())
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Its file cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The file holds something else.
    #[error("it holds no PEM")]
    NoPem,
    /// What it holds is no certificate.
    #[error("{0}")]
    Unreadable(String),
    /// Its time is over.
    #[error("it expired at {}", Instant(*at))]
    Expired {
        /// Until when it was valid.
        at: EventTime,
    },
    /// Its time has not come.
    #[error("it holds from {} on", Instant(*from))]
    NotYetValid {
        /// From when it is valid.
        from: EventTime,
    },
}

/// A certificate's file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificate in {path} cannot be used: {why}")]
pub struct UnusableCertificate {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: CertificateError,
}

/// Whose the first certificate of a file is, and until when it holds: a line for whoever checks a
/// configuration. `what` is what the certificate is for, `id` whose name is shown instead of the
/// subject.
///
/// # Errors
/// [`UnusableCertificate`] when it cannot be read or is not valid at `now`.
pub fn certificate_line(
    what: &str,
    path: &Path,
    id: Option<&SpiffeId>,
    now: EventTime,
) -> Result<String, UnusableCertificate> {
    let unusable = |why| UnusableCertificate { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|error| unusable(error.into()))?;
    let facts = CertificateFacts::from_pem(&text).map_err(unusable)?;
    facts.check(now).map_err(unusable)?;
    let whose = id.map_or(facts.subject, ToString::to_string);
    Ok(format!("{what} {}: of {whose}, expires {}", path.display(), Instant(facts.not_after)))
}

/// A time in UTC, as RFC 3339 writes it.
struct Instant(EventTime);

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.millis()) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}", self.0),
        }
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

        let facts = CertificateFacts::from_pem(issued.certificate_pem.as_bytes()).unwrap();

        assert_eq!(facts.names, ["spiffe://shop/region/eu/hub/hub-1", "hub-1.eu.headland"]);
        assert!(facts.not_before < facts.not_after);
    }

    #[test]
    fn an_authority_has_no_names_and_a_text_without_a_certificate_no_facts() {
        let authority = Authority::new("shop").unwrap();

        let facts = CertificateFacts::from_pem(authority.certificate_pem().as_bytes()).unwrap();
        let [nonsense, key] = ["-----BEGIN NONSENSE-----", authority.key_pem()]
            .map(|text| CertificateFacts::from_pem(text.as_bytes()).unwrap_err().to_string());

        assert_eq!(facts.names, Vec::<String>::new());
        assert!(!nonsense.is_empty());
        assert_eq!(key, "it holds no PEM");
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_to_its_last_second() {
        let facts = CertificateFacts {
            subject: String::new(),
            names: Vec::new(),
            not_before: EventTime::from_millis(60_000),
            not_after: EventTime::from_millis(90_000),
        };

        let found = [59_999, 60_000, 90_999, 91_000].map(|millis| {
            let error = facts.check(EventTime::from_millis(millis)).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        });

        let early = "it holds from 1970-01-01T00:01:00Z on";
        assert_eq!(found, [early, "", "", "it expired at 1970-01-01T00:01:30Z"]);
    }

    #[test]
    fn a_file_without_a_certificate_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();

        let error = certificate_line("authority", &path, None, EventTime::default()).unwrap_err();

        let expected =
            format!("the certificate in {} cannot be used: it holds no PEM", path.display());
        assert_eq!(error.to_string(), expected);
    }
}
