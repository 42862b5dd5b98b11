//! `cargo xtask reference`: the operator's pages that are made from the sources, so that they say
//! what the program does.

/// Settings of `hub.toml` and `agent.toml`, from the structures they are read into.
mod settings;
/// Metrics, from the calls that set them.
mod metrics;

use anyhow::{Context, Result};
use syn::{Expr, Lit};

use crate::workspace::Workspace;

/// A page of the reference.
pub(crate) struct Page {
    /// Where it lies, from the root.
    pub(crate) path: &'static str,
    /// What it has to say.
    pub(crate) text: String,
}

/// Writes every page.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    for Page { path, text } in pages(workspace)? {
        std::fs::write(workspace.root().join(path), text)
            .with_context(|| format!("cannot write {path}"))?;
        eprintln!("wrote {path}");
    }
    Ok(())
}

/// Every page as it has to be.
pub(crate) fn pages(workspace: &Workspace) -> Result<Vec<Page>> {
    let parsed = |path: &str| -> Result<syn::File> {
        syn::parse_file(&workspace.read(path)?).with_context(|| format!("cannot parse {path}"))
    };
    let shared = parsed("platform/src/config.rs")?;
    let hub = parsed("region-hub/src/config.rs")?;
    let agent = parsed("edge-agent/src/config.rs")?;
    let hub_metrics = parsed("region-hub/src/metrics.rs")?;
    let agent_metrics = parsed("edge-agent/src/api.rs")?;
    let settings = format!(
        "{}{}{}",
        settings::HEAD,
        settings::section("hub.toml", "HubConfig", &[&hub, &shared]),
        settings::section("agent.toml", "AgentConfig", &[&agent, &shared]),
    );
    let metrics = format!(
        "{}{}{}",
        metrics::HEAD,
        metrics::section("Hub", &hub_metrics),
        metrics::section("Agent", &agent_metrics),
    );
    Ok(vec![
        Page { path: "docs/reference/settings.md", text: settings },
        Page { path: "docs/reference/metrics.md", text: metrics },
    ])
}

/// The text an expression is.
fn text(of: &Expr) -> Option<String> {
    match of {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
