//! TLS identities, the private authority, and the one crypto provider.
//!
//! Every socket of ours speaks TLS 1.3 with certificates on both sides. Who a peer is, is the URI
//! in its certificate; what it may publish follows from that and the hub's configuration, never
//! from a payload.

/// SPIFFE ids: who a certificate belongs to.
mod spiffe;
/// A fleet's private certificate authority.
mod authority;
/// What a certificate says, for a person.
mod facts;
/// Whom a node believes: authorities, and what they have revoked.
mod trust;
/// Identities read from files, and the configurations made of them.
mod identity;
/// Identities that follow their files.
mod renewal;

pub use authority::{Authority, AuthorityError, Issued};
pub use facts::{CertificateError, CertificateFacts, UnusableCertificate, certificate_line};
pub use identity::{ALPN, ConfiguredError, Identity, IdentityError, WrongIdentity, peer_id};
pub use renewal::Renewal;
pub use spiffe::{Role, SpiffeId, SpiffeIdError};
pub use trust::{Distrust, PeerEnd};
