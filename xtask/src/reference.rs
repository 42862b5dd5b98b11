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
    let configuration = |package: &str| -> Result<Vec<syn::File>> {
        let shared = "platform/src/config.rs".to_owned();
        let own = [format!("{package}/src/config.rs"), shared];
        let parts = files_of(workspace, &format!("{package}/src/config"))?;
        own.iter().chain(&parts).map(|path| parsed(path)).collect()
    };
    let hub = configuration("region-hub")?;
    let agent = configuration("edge-agent")?;
    let hub_metrics = parsed("region-hub/src/metrics.rs")?;
    let agent_metrics = parsed("edge-agent/src/metrics.rs")?;
    let settings = format!(
        "{}{}{}",
        settings::HEAD,
        settings::section("hub.toml", "HubConfig", &hub),
        settings::section("agent.toml", "AgentConfig", &agent),
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

/// The sources of a folder, from the root, by name: so none that is added is left out of a page.
fn files_of(workspace: &Workspace, folder: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in workspace.root().join(folder).read_dir().with_context(|| folder.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            files.push(format!("{folder}/{name}"));
        }
    }
    files.sort();
    Ok(files)
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
