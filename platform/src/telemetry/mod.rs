//! Logs, metrics and traces.

/// Structured logs on standard error.
mod logs;
/// Metrics in Prometheus' text format.
mod metrics;
/// Spans, exported by OTLP over HTTP.
mod traces;

pub use logs::{LogsError, log_to_stderr, with_causes};
pub use metrics::{Histogram, Labels, Metrics};
pub use traces::{Span, TraceSink, TraceSinkError};
