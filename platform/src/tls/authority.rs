//! A fleet's private certificate authority.

use headland_event::EventTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, SubjectPublicKeyInfo, X509Certificate, X509Name,
};

use super::spiffe::{Role, SpiffeId};

/// The authority could not make a key or sign a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The library refused a key, a name or a signature.
    #[error("cannot issue a certificate for {subject}")]
    Issue {
        /// Who it was for.
        subject: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The id belongs to another fleet.
    #[error("{id} is not of fleet {fleet}")]
    ForeignFleet {
        /// The id asked for.
        id: SpiffeId,
        /// The fleet this authority signs for.
        fleet: String,
    },
    /// The authority is that of another fleet.
    #[error(
        "the authority is of fleet {found}, not of fleet {asked}: what it signs for {asked} no \
         node there would trust; ask for fleet {found}, or use the authority of {asked}"
    )]
    OtherFleet {
        /// The fleet in the authority's name.
        found: String,
        /// The fleet asked for.
        asked: String,
    },
    /// What should be revoked, or the list it should be added to, cannot be read.
    #[error("cannot revoke {what}: {text}")]
    Revoke {
        /// The certificate or the list.
        what: &'static str,
        /// What is wrong with it.
        text: String,
    },
}

/// What the name of every authority that is made here begins with; its fleet follows.
const NAME_PREFIX: &str = "Headland ";

/// A certificate with its private key, both PEM. The key is secret: write it with mode 0600.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A fleet's private authority: it signs hubs and agents, with ECDSA P-256 keys.
pub struct Authority {
    fleet: String,
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority with a new key. Its name is `Headland <fleet> <fingerprint>`: two
    /// authorities of a fleet have two names, so that lists of both can be told apart while one
    /// takes the other's place.
    ///
    /// # Errors
    /// [`AuthorityError::Issue`] when the machine gives no key.
    pub fn new(fleet: &str) -> Result<Self, AuthorityError> {
        let subject = format!("the authority of {fleet}");
        let failed = |source| AuthorityError::Issue { subject: subject.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let name = format!("{NAME_PREFIX}{fleet} {}", fingerprint(&key));
        Self::from_key(fleet, name, key).map_err(failed)
    }

    /// An authority whose name says nothing of its key, as those of other makers may be.
    #[cfg(test)]
    pub(super) fn without_fingerprint(fleet: &str) -> Self {
        Self::from_key(fleet, format!("Headland {fleet}"), KeyPair::generate().unwrap()).unwrap()
    }

    fn from_key(fleet: &str, name: String, key: KeyPair) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key_pem = key.serialize_pem();
        let certificate_pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { fleet: fleet.to_owned(), issuer, certificate_pem, key_pem })
    }

    /// Takes up an authority from its certificate and private key, both PEM.
    ///
    /// # Errors
    /// [`AuthorityError`] when either is not PEM of its kind, or the certificate names another
    /// fleet. One of another maker names none, and is believed.
    pub fn from_pem(
        fleet: &str,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, AuthorityError> {
        if let Some(found) = fleet_of(certificate_pem).filter(|found| found != fleet) {
            return Err(AuthorityError::OtherFleet { found, asked: fleet.to_owned() });
        }
        let subject = format!("the authority of {fleet}");
        let failed = |source| AuthorityError::Issue { subject: subject.clone(), source };
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(failed)?;
        let (certificate_pem, key_pem) = (certificate_pem.to_owned(), key_pem.to_owned());
        Ok(Self { fleet: fleet.to_owned(), issuer, certificate_pem, key_pem })
    }

    /// The authority's own certificate, PEM: what every node trusts.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, PEM. Keep it away from hubs and agents.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Signs a new key for a hub or an agent.
    ///
    /// A hub may serve and dial; an agent may only dial.
    ///
    /// # Errors
    /// [`AuthorityError`] when the id is of another fleet or the library refuses it.
    pub fn issue(&self, id: &SpiffeId) -> Result<Issued, AuthorityError> {
        if id.fleet != self.fleet {
            let fleet = self.fleet.clone();
            return Err(AuthorityError::ForeignFleet { id: id.clone(), fleet });
        }
        self.sign(id).map_err(|source| AuthorityError::Issue { subject: id.to_string(), source })
    }

    /// The authority's revocation list, PEM, with what `known` revokes and nothing new.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn revocations(
        &self,
        known: Option<&str>,
        now: EventTime,
    ) -> Result<String, AuthorityError> {
        self.list(self.known_serials(known)?, now)
    }

    /// The authority's revocation list, with what `known` revokes and a certificate more, all PEM.
    /// Revoking again changes nothing.
    ///
    /// # Errors
    /// [`AuthorityError`] when the certificate or the known list cannot be read, either was not
    /// signed by this authority, or there is more than one list.
    ///
    /// # Source
    /// RFC 5280, §5, "CRL and CRL Extensions Profile".
    pub fn revoke(
        &self,
        known: Option<&str>,
        certificate: &str,
        now: EventTime,
    ) -> Result<String, AuthorityError> {
        let refused = |text: String| AuthorityError::Revoke { what: "the certificate", text };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| refused(error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|error| refused(error.to_string()))?;
        let issuer = parsed.issuer();
        self.check_own(issuer, |own| parsed.verify_signature(Some(own)).is_ok())
            .map_err(refused)?;
        let mut revoked = self.known_serials(known)?;
        let serial = parsed.raw_serial().to_vec();
        if !revoked.contains(&serial) {
            revoked.push(serial);
        }
        self.list(revoked, now)
    }

    /// Checks that something with this issuer was signed by the authority's own key; names alone
    /// prove nothing, as two authorities may have one.
    fn check_own(
        &self,
        issuer: &X509Name<'_>,
        is_signed_by: impl FnOnce(&SubjectPublicKeyInfo<'_>) -> bool,
    ) -> Result<(), String> {
        let own = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .map_err(|error| format!("the authority cannot be read: {error}"))?;
        let (_, own) = X509Certificate::from_der(&own)
            .map_err(|error| format!("the authority cannot be read: {error}"))?;
        let subject = own.subject();
        if issuer != subject {
            return Err(format!("it is signed by {issuer}, this authority is {subject}"));
        }
        if !is_signed_by(own.public_key()) {
            return Err(format!("it is signed by another authority named {subject}"));
        }
        Ok(())
    }

    /// Serial numbers that a list of this authority, PEM, revokes.
    fn known_serials(&self, list: Option<&str>) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let refused = |text: String| AuthorityError::Revoke { what: "by the known list", text };
        let Some(pem) = list else { return Ok(Vec::new()) };
        let lists = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused(error.to_string()))?;
        let [der] = lists.as_slice() else {
            let found = lists.len();
            let text = format!("it holds {found} lists, and only one of this authority fits");
            return Err(refused(text));
        };
        let (_, parsed) =
            CertificateRevocationList::from_der(der).map_err(|error| refused(error.to_string()))?;
        self.check_own(parsed.issuer(), |own| parsed.verify_signature(own).is_ok())
            .map_err(refused)?;
        Ok(parsed.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect())
    }

    fn list(&self, serials: Vec<Vec<u8>>, now: EventTime) -> Result<String, AuthorityError> {
        let subject = format!("revocations of {}", self.fleet);
        let failed = |source| AuthorityError::Issue { subject: subject.clone(), source };
        let time = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
        let day = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        // Month and day of a calendar fit in a byte and are positive.
        let (month, day_of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        let today = date_time_ymd(i32::from(day.year()), month, day_of_month);
        let number = u64::try_from(serials.len()).unwrap_or(u64::MAX);
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: today,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: today,
            // Nodes read the file again when it changes; a date on which all links end would only
            // turn a forgotten errand into an outage.
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed)
    }

    fn sign(&self, id: &SpiffeId) -> Result<Issued, rcgen::Error> {
        let usages = match id.role {
            Role::Hub(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Role::Agent(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        self.sign_for(id, usages)
    }

    /// A certificate with which nobody can be served, whoever it is of.
    #[cfg(test)]
    pub(super) fn issue_for_dialling(&self, id: &SpiffeId) -> Issued {
        self.sign_for(id, vec![ExtendedKeyUsagePurpose::ClientAuth]).unwrap()
    }

    fn sign_for(
        &self,
        id: &SpiffeId,
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![id.server_name()])?;
        params.subject_alt_names.push(SanType::URI(id.to_string().try_into()?));
        params.distinguished_name.push(DnType::CommonName, id.server_name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// The fleet in the name of an authority that was made here; `None` of any other.
fn fleet_of(certificate_pem: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let fleet = name.strip_prefix(NAME_PREFIX)?.split(' ').next()?;
    Some(fleet.to_owned())
}

/// The first 8 bytes of SHA-256 over the public key, as 16 hexadecimal digits.
fn fingerprint(key: &KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_taken_up_from_files_signs_for_the_same_trust() {
        let first = Authority::new("shop").unwrap();

        let again = Authority::from_pem("shop", first.certificate_pem(), first.key_pem()).unwrap();

        let id: SpiffeId = "spiffe://shop/region/eu/agent/a".parse().unwrap();
        assert!(again.issue(&id).unwrap().certificate_pem.starts_with("-----BEGIN CERTIFICATE"));
        assert_eq!(again.certificate_pem(), first.certificate_pem());
    }

    #[test]
    fn an_authority_of_another_fleet_is_refused_with_both_fleets() {
        let first = Authority::new("shop").unwrap();

        let refused = Authority::from_pem("other", first.certificate_pem(), first.key_pem());

        let told = refused.unwrap_err().to_string();
        let expected = "the authority is of fleet shop, not of fleet other";
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn an_id_of_another_fleet_is_refused() {
        let authority = Authority::new("shop").unwrap();
        let id: SpiffeId = "spiffe://other/region/eu/agent/a".parse().unwrap();

        assert_eq!(
            authority.issue(&id).unwrap_err().to_string(),
            "spiffe://other/region/eu/agent/a is not of fleet shop"
        );
    }

    fn refusal(result: Result<String, AuthorityError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_certificate_of_another_authority_of_the_same_name_is_not_revoked() {
        let [own, other] = [(); 2].map(|()| Authority::without_fingerprint("shop"));
        let foreign = other.issue(&"spiffe://shop/region/eu/agent/a".parse().unwrap()).unwrap();

        let refused = refusal(own.revoke(None, &foreign.certificate_pem, EventTime::default()));

        assert_eq!(
            refused,
            "cannot revoke the certificate: it is signed by another authority named \
             CN=Headland shop"
        );
    }

    #[test]
    fn a_known_list_of_another_authority_and_two_lists_are_refused() {
        let [own, other] = [(); 2].map(|()| Authority::without_fingerprint("shop"));
        let mall = Authority::without_fingerprint("mall");
        let now = EventTime::default();
        let list = |authority: &Authority| authority.revocations(None, now).unwrap();

        let refused = [list(&other), list(&mall), list(&own) + &list(&own), String::new()]
            .map(|known| refusal(own.revocations(Some(&known), now)));

        let by = |what: &str| format!("cannot revoke by the known list: {what}");
        let two = |found| format!("it holds {found} lists, and only one of this authority fits");
        let expected = [
            by("it is signed by another authority named CN=Headland shop"),
            by("it is signed by CN=Headland mall, this authority is CN=Headland shop"),
            by(&two(2)),
            by(&two(0)),
        ];
        assert_eq!(refused, expected);
        assert!(own.revocations(Some(&list(&own)), now).is_ok());
    }
}
