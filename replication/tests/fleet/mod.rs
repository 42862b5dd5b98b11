//! A fleet of one hub and one agent with certificates of one authority.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const ALPN: &[u8] = b"headland/2";

pub(crate) struct Node {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
}

impl Node {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

pub(crate) struct Fleet {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) hub: Node,
    pub(crate) agent: Node,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::valid(2_000, 4_000)
    }

    /// A fleet whose agent has a certificate from the start of one year to that of another.
    pub(crate) fn valid(from: i32, to: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str, from, to| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let certificate = params.signed_by(&key, &ca).unwrap();
            Node { certificate: certificate.der().clone(), key: key.serialize_der() }
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let (hub, agent) = (issue("hub-1", 2_000, 4_000), issue("eu-1", from, to));
        Self { roots: Arc::new(roots), hub, agent }
    }

    pub(crate) fn server(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .build()
                .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.hub.certificate.clone()], self.hub.key())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(vec![self.agent.certificate.clone()], self.agent.key())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }
}
