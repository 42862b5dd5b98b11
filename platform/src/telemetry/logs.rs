//! Structured logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// The filter is not of the form `info,headland=debug`.
    #[error("log filter {filter:?} is not of the form \"info\" or \"info,region_hub=debug\"")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the library said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another logger was set up before.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Writes logs that pass `filter` (such as `info` or `info,region_hub=debug`) to standard error.
///
/// # Errors
/// [`LogsError`] when the filter does not parse or logging is set up already.
pub fn log_to_stderr(filter: &str) -> Result<(), LogsError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| LogsError::Filter { filter: filter.to_owned(), source })?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(parsed).with(layer).try_init()?;
    Ok(())
}

/// An error with what caused it, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_shown() {
        let error = log_to_stderr("hub=loud").unwrap_err();

        assert_eq!(
            error.to_string(),
            "log filter \"hub=loud\" is not of the form \"info\" or \"info,region_hub=debug\""
        );
    }
}
