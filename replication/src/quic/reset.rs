//! How a node that starts again tells its peers that their connections are gone.

use std::fmt;
use std::sync::Arc;

use quinn::EndpointConfig;
use quinn_proto::{ConnectionIdGenerator, HashedConnectionIdGenerator};
use ring::hmac;

/// A secret from which an endpoint derives the tokens of its stateless resets.
///
/// With the same one after a restart, a packet of a connection that the former process had is
/// answered by a reset that the peer believes, and the peer dials again at once. With a random one
/// the peer has to wait until it has been silent for too long. It has to be secret, and no other
/// node may have it: who knows it can end this node's connections.
///
/// # Source
/// RFC 9000, §10.3.2, "Calculating a Stateless Reset Token".
#[derive(Clone)]
pub struct ResetKey([u8; 32]);

impl ResetKey {
    /// Takes 32 secret bytes that a node keeps over restarts, such as bytes derived from its
    /// private key for this purpose.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Settings of an endpoint which answers for connections of an earlier process.
    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        // Connection ids carry a short checksum: a reset answers only ids that this key has made.
        let signed = hmac::sign(&key, b"headland connection ids v1");
        let id_key = signed.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let mut config = EndpointConfig::new(Arc::new(key));
        config.cid_generator(move || -> Box<dyn ConnectionIdGenerator> {
            Box::new(HashedConnectionIdGenerator::from_key(id_key))
        });
        config
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey(secret)")
    }
}
