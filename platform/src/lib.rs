//! What a node's shell needs from the machine, and nothing of what a node decides.
//!
//! The only reader of the clock, named tasks that stop with the process, configuration with errors
//! that point at file, line and column, logs, metrics and traces, and TLS identities with the one
//! crypto provider. It does *not* know what a rule, a link or a stock level is.
//!
//! Main types: [`clock::Clock`], [`task::Token`], [`config::ConfigError`],
//! [`tls::Identity`], [`tls::Authority`], [`telemetry::TraceSink`].
//!
//! ```
//! use headland_platform::tls::{Authority, SpiffeId};
//!
//! let authority = Authority::new("shop").unwrap();
//! let id: SpiffeId = "spiffe://shop/region/eu/agent/till-3".parse().unwrap();
//! let issued = authority.issue(&id).unwrap();
//! assert!(issued.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
//! ```

/// The only reader of the clock and of the machine's randomness.
pub mod clock;
/// Named tasks, tied to the process's shutdown.
pub mod task;
/// What every process of ours does around its own work: logs, signals, the last word.
pub mod process;
/// Configuration files, with errors that point at what is wrong.
pub mod config;
/// Whether files have changed since they were looked at.
pub mod files;
/// TLS identities, the private authority, and the one crypto provider.
pub mod tls;
/// Unix sockets that only their owner may open.
pub mod socket;
/// Logs, metrics and traces.
pub mod telemetry;
