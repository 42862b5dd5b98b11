//! Settings of `hub.toml` and `agent.toml`, from the structures they are read into.

use std::collections::BTreeMap;

use syn::{Attribute, Expr, Fields, GenericArgument, ItemStruct, Meta, PathArguments, Type};

use super::text;

/// What stands above the settings.
pub(super) const HEAD: &str = "\
# Settings
Made from the sources by `cargo xtask reference`. A key that is not named here is refused with the
nearest one that is. Durations are written `\"5s\"`, sizes `\"4MiB\"`; a relative path starts at the
folder of the file it stands in.
";

/// One structure and the place it has in the file.
struct Table<'a> {
    /// `[a.b]`, `[[a]]`, or nothing for the file itself.
    header: String,
    /// The keys before a further one.
    prefix: String,
    item: &'a ItemStruct,
}

/// One file's settings: those of the structure `root`, then those of the tables in it.
pub(super) fn section(file: &str, root: &str, sources: &[syn::File]) -> String {
    let mut known = BTreeMap::new();
    for source in sources.iter().rev() {
        for item in &source.items {
            if let syn::Item::Struct(item) = item {
                known.insert(item.ident.to_string(), item);
            }
        }
    }
    let mut text = format!("\n## `{file}`\n");
    let mut tables: Vec<Table<'_>> = Vec::new();
    tables.extend(known.get(root).map(|item| Table {
        header: String::new(),
        prefix: String::new(),
        item,
    }));
    while !tables.is_empty() {
        let table = tables.remove(0);
        if !table.header.is_empty() {
            text += &format!("\n### `{}`\n", table.header);
            text += &about(&docs(&table.item.attrs));
        }
        text += "\n";
        let is_optional = serde(&table.item.attrs).contains_key("default");
        let Fields::Named(fields) = &table.item.fields else { continue };
        let mut inside = Vec::new();
        for field in &fields.named {
            let settings = serde(&field.attrs);
            let Some(name) = &field.ident else { continue };
            if settings.contains_key("skip") {
                continue;
            }
            let name = settings.get("rename").cloned().unwrap_or_else(|| name.to_string());
            let is_required = !is_optional && !settings.contains_key("default");
            let need = if is_required { " (required)" } else { "" };
            text += &format!("- **`{name}`**{need}: {}\n", docs(&field.attrs));
            let (inner, is_list) = inner(&field.ty);
            let Some(item) = known.get(&inner).filter(|item| is_table(item)) else { continue };
            let path = format!("{}{name}", table.prefix);
            let header = if is_list { format!("[[{path}]]") } else { format!("[{path}]") };
            let prefix = format!("{path}.");
            inside.push(Table { header, prefix, item });
        }
        tables.splice(..0, inside);
    }
    text
}

/// What a structure says of itself beyond where it stands: `[a]`: …
fn about(docs: &str) -> String {
    let place = docs.strip_prefix("`[").and_then(|rest| rest.split_once("]`"));
    let text = place.map_or(docs, |(_, text)| text.trim_start_matches([']', '`', ':', '.', ' ']));
    let mut letters = text.chars();
    match letters.next() {
        None => String::new(),
        Some(first) => {
            let end = if text.ends_with('.') { "" } else { "." };
            format!("{}{}{end}\n", first.to_uppercase(), letters.as_str())
        }
    }
}

/// Whether a structure is written as a table; one with a single unnamed field is a text.
fn is_table(item: &ItemStruct) -> bool {
    matches!(item.fields, Fields::Named(_)) && !serde(&item.attrs).contains_key("from")
}

/// The type inside options, lists and places, and whether there may be several.
fn inner(of: &Type) -> (String, bool) {
    let Type::Path(path) = of else { return (String::new(), false) };
    let Some(last) = path.path.segments.last() else { return (String::new(), false) };
    let name = last.ident.to_string();
    if let PathArguments::AngleBracketed(arguments) = &last.arguments
        && ["Option", "Vec", "Spanned"].contains(&name.as_str())
        && let Some(GenericArgument::Type(argument)) = arguments.args.first()
    {
        let (inner, is_list) = inner(argument);
        return (inner, is_list || name == "Vec");
    }
    (name, false)
}

/// The documentation in one line, without links between items.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => text(&pair.value),
        _ => None,
    });
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    let lines = lines.into_iter().filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`").trim().to_owned()
}

/// What `serde` is told of an item, by its words.
fn serde(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let read = attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let value = meta.value().and_then(|value| value.parse::<Expr>());
            found.insert(name, value.ok().as_ref().and_then(text).unwrap_or_default());
            Ok(())
        });
        debug_assert!(read.is_ok(), "what cannot be read here does not compile");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        /// `hub.toml`.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct HubConfig {
            /// The hub's region,
            /// see [`load`].
            pub region: Spanned<RegionId>,
            /// Topics.
            #[serde(default, rename = "topic")]
            pub topics: Vec<TopicConfig>,
            /// Filled in later.
            #[serde(skip)]
            pub known: Known,
        }

        /// `[[topic]]`: a topic, on the `lane`.
        #[serde(default)]
        pub struct TopicConfig {
            /// What is kept (default all).
            pub retention: Option<RetentionConfig>,
            /// How many (default 8).
            pub size: SizeText,
        }

        /// What is kept.
        pub struct RetentionConfig {
            /// For how long (default any).
            #[serde(default = "any")]
            pub time: DurationText,
        }

        /// A size.
        pub struct SizeText(u64);
    "#;

    #[test]
    fn settings_stand_by_table_with_what_is_required() {
        let file = syn::parse_file(CONFIG).unwrap();

        assert_eq!(
            section("hub.toml", "HubConfig", &[file]),
            "\n## `hub.toml`\n\
             \n- **`region`** (required): The hub's region, see `load`.\
             \n- **`topic`**: Topics.\n\
             \n### `[[topic]]`\nA topic, on the `lane`.\n\
             \n- **`retention`**: What is kept (default all).\
             \n- **`size`**: How many (default 8).\n\
             \n### `[topic.retention]`\nWhat is kept.\n\
             \n- **`time`**: For how long (default any).\n"
        );
    }
}
