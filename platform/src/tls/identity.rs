//! Identities read from files, and the configurations made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headland_event::{EventTime, RegionId};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::spiffe::{Role, SpiffeId};
use super::trust::{Distrust, PeerEnd, Trust};
use crate::config::TlsConfig;

/// The protocol name both sides of a link agree on.
pub const ALPN: &[u8] = b"headland/2";

/// A certificate, key or authority that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} from {path}")]
    Pem {
        /// What was expected in the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: rustls_pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{path} holds no certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate names no hub and no agent.
    #[error("the certificate in {path} has no URI of the form spiffe://<fleet>/region/<region>/…")]
    NoSpiffeId {
        /// The file.
        path: PathBuf,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}; \
         headland pki writes both, as <region>-<name>.pem and <region>-<name>.key"
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Key, certificate and authority do not make a TLS configuration.
    #[error("cannot use the certificate in {path} with its key and authority")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// An authority whose revocation list is not there.
    #[error(
        "{path} has no revocation list of {authority}, an authority in {ca}; \
         make one with headland pki revocations"
    )]
    NoRevocationList {
        /// The file of lists.
        path: PathBuf,
        /// The authorities' file.
        ca: PathBuf,
        /// The authority's name.
        authority: String,
    },
    /// Two revocation lists of one authority: only one of them would be looked at.
    #[error(
        "{path} has two revocation lists of {authority}; leave the newest, which revokes what the \
         others do"
    )]
    TwoLists {
        /// The file of lists.
        path: PathBuf,
        /// The authority's name.
        authority: String,
    },
    /// Two authorities of one name: a revocation list cannot say whose it is.
    #[error(
        "{ca} has two authorities named {authority}, and with crl_file a name must lead to one \
         key; headland pki init makes one with a name of its own"
    )]
    TwoAuthorities {
        /// The authorities' file.
        ca: PathBuf,
        /// Their name.
        authority: String,
    },
    /// A revocation list with an authority's name and not its signature.
    #[error(
        "the list in {path} was not signed by {authority} as ca_file has it; make one with \
         headland pki revocations in the folder of that authority"
    )]
    ForeignList {
        /// The file of lists.
        path: PathBuf,
        /// The authority's name.
        authority: String,
    },
    /// The authority's certificates or lists cannot verify peers.
    #[error("cannot verify peers by the authority in {path}")]
    Authority {
        /// The authority's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::server::VerifierBuilderError,
    },
}

/// A certificate that is somebody else's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the certificate in {path} is of {found}, the configuration is of {expected}: correct region \
     and name of the configuration, or let certificate_file and key_file name those of {expected}"
)]
pub struct WrongIdentity {
    /// The certificate's file.
    pub path: PathBuf,
    /// Who it names.
    pub found: SpiffeId,
    /// Who the configuration names.
    pub expected: SpiffeId,
}

/// Why the configured identity cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfiguredError {
    /// The files do not make an identity.
    #[error(transparent)]
    Files(#[from] IdentityError),
    /// The identity is another node's.
    #[error(transparent)]
    Wrong(#[from] Box<WrongIdentity>),
    /// The files do not accept the node's own certificate, so they would hardly accept a peer's.
    #[error("the certificate in {path} does not pass by ca_file and crl_file: {why}")]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        why: Distrust,
    },
}

/// Who this process is on the network, and whom it trusts.
#[derive(Debug, Clone)]
pub struct Identity {
    id: SpiffeId,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    chain: Vec<CertificateDer<'static>>,
    trust: Trust,
    secret: Prk,
}

/// Salt of what is derived from private keys: it keeps our keys apart from anybody else's.
const DERIVATION_SALT: &[u8] = b"headland v1";

impl Identity {
    /// Reads certificate chain, private key and trusted authority, all PEM, and believes whatever
    /// the authority has signed.
    ///
    /// # Errors
    /// [`IdentityError`] naming the file when one is absent, is not what was expected, or does
    /// not fit the others.
    pub fn load(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::read(Trust::read(ca, None)?, certificate, key)
    }

    fn read(trust: Trust, certificate: &Path, key_file: &Path) -> Result<Self, IdentityError> {
        let chain = read_certificates("certificates", certificate)?;
        let id = chain
            .first()
            .and_then(peer_id)
            .ok_or_else(|| IdentityError::NoSpiffeId { path: certificate.to_owned() })?;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(|source| IdentityError::Pem {
            what: "a private key",
            path: key_file.to_owned(),
            source,
        })?;
        let secret = Salt::new(HKDF_SHA256, DERIVATION_SALT).extract(key.secret_der());
        let mismatch = |error| match error {
            IdentityError::Unusable { path, source: rustls::Error::InconsistentKeys(_) } => {
                IdentityError::KeyMismatch { certificate: path, key: key_file.to_owned() }
            }
            other => other,
        };
        let server = server_config(certificate, &trust, (chain.clone(), key.clone_key()));
        let server = server.map_err(mismatch)?;
        let client = client_config(certificate, &trust, (chain.clone(), key))?;
        let (server, client) = (Arc::new(server), Arc::new(client));
        Ok(Self { id, server, client, chain, trust, secret })
    }

    /// Reads what a configuration names, and checks that it is the node the configuration is of.
    ///
    /// # Errors
    /// [`ConfiguredError`] naming the file.
    pub fn configured(
        tls: &TlsConfig,
        region: &RegionId,
        role: Role,
    ) -> Result<Self, ConfiguredError> {
        let TlsConfig { ca_file, certificate_file, key_file, crl_file } = tls;
        let trust = Trust::read(ca_file, crl_file.as_deref())?;
        let identity = Self::read(trust, certificate_file, key_file)?;
        identity.require(region, role, &tls.certificate_file)?;
        Ok(identity)
    }

    /// Who this process is.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Checks that the certificate, read from `path`, is of who the configuration names.
    ///
    /// # Errors
    /// [`WrongIdentity`] when it is not.
    fn require(
        &self,
        region: &RegionId,
        role: Role,
        path: &Path,
    ) -> Result<(), Box<WrongIdentity>> {
        let expected = SpiffeId { fleet: self.id.fleet.clone(), region: region.clone(), role };
        if self.id == expected {
            return Ok(());
        }
        Err(Box::new(WrongIdentity { path: path.to_owned(), found: self.id.clone(), expected }))
    }

    /// A secret of 32 bytes that follows from the private key: the same in every run, another one
    /// for every key and every purpose.
    ///
    /// # Panics
    /// Never: one block of HKDF's output is always there.
    ///
    /// # Source
    /// HKDF, RFC 5869, with SHA-256 and the purpose as its info.
    #[must_use]
    pub fn derived_key(&self, purpose: &'static str) -> [u8; 32] {
        let mut key = [0; 32];
        let info = [purpose.as_bytes()];
        let filled = self.secret.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
        #[expect(clippy::expect_used, reason = "the length asked for is the algorithm's own")]
        filled.expect("one block of output is always there");
        key
    }

    /// Judges a peer again with which there is a link already, by the chain it has shown.
    ///
    /// A certificate that has expired meanwhile is no reason to end a link: its owner shows the
    /// next one with its next link.
    ///
    /// # Errors
    /// [`Distrust`]: the link must end.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        end: PeerEnd,
        now: EventTime,
    ) -> Result<(), Distrust> {
        self.trust.judge(chain, end, now)
    }

    /// Judges the node's own certificate as a peer would that has the same authorities and lists.
    ///
    /// Revoked, or of an authority that is not in `ca_file`, is none of its business: an authority
    /// is exchanged node by node, and peers say what they think of it.
    ///
    /// # Errors
    /// [`ConfiguredError::Unfit`] with `path`, from which it was read.
    pub(super) fn check_own(&self, path: &Path, now: EventTime) -> Result<(), ConfiguredError> {
        let end = match self.id.role {
            Role::Hub(_) => PeerEnd::Server,
            Role::Agent(_) => PeerEnd::Client,
        };
        match self.judge(&self.chain, end, now) {
            Ok(()) | Err(Distrust::Revoked | Distrust::Authority) => Ok(()),
            Err(why @ Distrust::Unfit { .. }) => {
                Err(ConfiguredError::Unfit { path: path.to_owned(), why })
            }
        }
    }

    /// TLS 1.3 for accepting peers: both sides show certificates. No session is ever resumed,
    /// because a resumed one would not look at the certificate again.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// TLS 1.3 for dialling peers: both sides show certificates.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// Who a peer's certificate says it is; `None` when it has no SPIFFE id of our form.
#[must_use]
pub fn peer_id(certificate: &CertificateDer<'_>) -> Option<SpiffeId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(uri.parse().ok()),
        _ => None,
    });
    // A SPIFFE certificate has exactly one URI; with two nobody could say who it is.
    match (uris.next(), uris.next()) {
        (Some(id), None) => id,
        _ => None,
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn read_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let failed = |source| IdentityError::Pem { what, path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server_config(
    certificate: &Path,
    trust: &Trust,
    (chain, key): ChainAndKey,
) -> Result<ServerConfig, IdentityError> {
    let unusable = |source| IdentityError::Unusable { path: certificate.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(trust.clients())
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    certificate: &Path,
    trust: &Trust,
    (chain, key): ChainAndKey,
) -> Result<ClientConfig, IdentityError> {
    let unusable = |source| IdentityError::Unusable { path: certificate.to_owned(), source };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_webpki_verifier(trust.servers())
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    fn write(folder: &Path, authority: &Authority, id: &str) -> [PathBuf; 3] {
        let issued = authority.issue(&id.parse().unwrap()).unwrap();
        let paths = ["ca.pem", "node.pem", "node.key"].map(|name| folder.join(name));
        let contents =
            [authority.certificate_pem().to_owned(), issued.certificate_pem, issued.key_pem];
        for (path, content) in paths.iter().zip(contents) {
            std::fs::write(path, content).unwrap();
        }
        paths
    }

    #[test]
    fn an_identity_knows_who_it_is_from_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("shop").unwrap();
        let id = "spiffe://shop/region/eu/hub/hub-1";

        let [ca, certificate, key] = write(folder.path(), &authority, id);
        let identity = Identity::load(&ca, &certificate, &key).unwrap();

        assert_eq!(identity.id().to_string(), id);
        assert_eq!(identity.server().alpn_protocols, [ALPN.to_vec()]);
    }

    #[test]
    fn a_derived_key_follows_from_the_private_key_and_the_purpose_alone() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("shop").unwrap();
        let load = || {
            let [ca, certificate, key] =
                write(folder.path(), &authority, "spiffe://shop/region/eu/hub/hub-1");
            move || Identity::load(&ca, &certificate, &key).unwrap()
        };

        let first = load();
        let key = first().derived_key("resets");

        assert_eq!(first().derived_key("resets"), key);
        assert_ne!(first().derived_key("else"), key);
        assert_ne!(load()().derived_key("resets"), key);
    }

    #[test]
    fn a_certificate_of_another_node_is_refused_with_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("shop").unwrap();
        let [ca, certificate, key] =
            write(folder.path(), &authority, "spiffe://shop/region/us/agent/us-1");
        let identity = Identity::load(&ca, &certificate, &key).unwrap();

        let region = RegionId::new("eu").unwrap();
        let role = Role::Agent("us-1".to_owned());
        let error = identity.require(&region, role, Path::new("us-1.pem")).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the certificate in us-1.pem is of spiffe://shop/region/us/agent/us-1, \
             the configuration is of spiffe://shop/region/eu/agent/us-1: correct region and name \
             of the configuration, or let certificate_file and key_file name those of \
             spiffe://shop/region/eu/agent/us-1"
        );
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_named_with_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("shop").unwrap();
        let [ca, certificate, key] =
            write(folder.path(), &authority, "spiffe://shop/region/eu/hub/hub-1");
        let other = authority.issue(&"spiffe://shop/region/eu/agent/a".parse().unwrap()).unwrap();
        std::fs::write(&key, other.key_pem).unwrap();

        let error = Identity::load(&ca, &certificate, &key).unwrap_err();

        let (path, key) = (certificate.display(), key.display());
        assert_eq!(
            error.to_string(),
            format!(
                "the key in {key} does not belong to the certificate in {path}; headland pki \
                 writes both, as <region>-<name>.pem and <region>-<name>.key"
            )
        );
    }

    #[test]
    fn an_absent_file_is_named() {
        let error =
            Identity::load(Path::new("no/ca.pem"), Path::new("c"), Path::new("k")).unwrap_err();

        assert_eq!(error.to_string(), "cannot read the authority's certificates from no/ca.pem");
    }
}
