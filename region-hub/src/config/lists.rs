//! Files that a configuration names and a hub decides by: known skus and registered schemas.

use std::collections::BTreeMap;

use headland_platform::config::{self, ConfigError, Loaded};
use headland_reconcile::{KnownSkus, Sku, UnitName};

use super::HubConfig;
use crate::schemas;

/// Reads them into the configuration.
///
/// # Errors
/// [`ConfigError`] in the list of skus itself, and for schemas where the configuration names them.
pub(super) fn read(loaded: &mut Loaded<HubConfig>) -> Result<(), ConfigError> {
    if let Some(file) = &loaded.value.reconcile.skus_file {
        let listed: BTreeMap<Sku, UnitName> = config::load(&loaded.resolve(file))?.value;
        loaded.value.known_skus = KnownSkus::Listed(listed);
    }
    if let Some(configured) = &loaded.value.schemas {
        let folder = loaded.resolve(configured.directory.get_ref());
        let sets = schemas::load(&folder)
            .map_err(|error| loaded.error_at(&configured.directory, said(&error)))?;
        let ids = sets.into_iter().map(|(topic, set)| {
            (topic, set.iter().map(|(_, definition)| definition.id()).collect())
        });
        loaded.value.registered = ids.collect();
    }
    Ok(())
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::load;
    use super::*;

    const HEAD: &str = r#"region = "eu"
name = "hub-1"
data_dir = "d"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "a", certificate_file = "b", key_file = "c" }
api = { socket = "s" }
"#;

    fn folder(more: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hub.toml"), format!("{HEAD}{more}")).unwrap();
        folder
    }

    fn loaded(folder: &tempfile::TempDir) -> Result<HubConfig, String> {
        let loaded = load(&folder.path().join("hub.toml")).map_err(|error| error.to_string());
        let at = format!("{}/", folder.path().display());
        loaded.map(|loaded| loaded.value).map_err(|text| text.replace(&at, ""))
    }

    #[test]
    fn known_skus_are_read_from_beside_the_configuration_and_a_wrong_one_is_pointed_at() {
        let folder = folder("[reconcile]\nskus_file = \"skus.toml\"\n");
        let list = |text: &str| fs::write(folder.path().join("skus.toml"), text).unwrap();

        list("\"85123A\" = \"each\"\n");
        let known = loaded(&folder).unwrap().known_skus;
        list("\"85123A\" = \"each\"\n\"a|b\" = \"each\"\n");
        let error = loaded(&folder).unwrap_err();

        let listed = [(Sku::new("85123A").unwrap(), UnitName::new("each").unwrap())];
        assert_eq!(known, KnownSkus::Listed(listed.into()));
        assert!(error.starts_with("skus.toml:2:1: sku contains '|'"), "{error}");
    }

    #[test]
    fn schemas_are_known_by_their_ids_and_a_wrong_one_is_named_where_it_is_configured() {
        let folder = folder("[schemas]\ndirectory = \"schemas\"\n");
        let topic = folder.path().join("schemas/air");
        fs::create_dir_all(&topic).unwrap();

        fs::write(topic.join("v1.avsc"), "\"int\"").unwrap();
        let registered = loaded(&folder).unwrap().registered;
        fs::write(topic.join("v2.avsc"), "\"boolean\"").unwrap();
        let error = loaded(&folder).unwrap_err();

        let ids: Vec<String> = registered.values().flatten().map(ToString::to_string).collect();
        assert_eq!(ids, ["7275d51a3f395c8f"]);
        let expected = "hub.toml:8:13: schemas/air/v2.avsc:1: not BACKWARD: v2 cannot read";
        assert!(error.starts_with(expected), "{error}");
    }
}
