//! Configuration fields carry their documentation: the operator's reference is made from it.

use super::Finding;
use super::source::Source;

/// Checks one file, when it is named `config.rs`.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.path.ends_with("/config.rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let (mut in_struct, mut depth, mut is_documented) = (false, 0_usize, false);
    let mut is_read = false;
    for line in source.lines.iter().filter(|line| !line.is_test) {
        let code = line.code.trim();
        if depth == 0 && line.has_word("struct") && code.ends_with('{') {
            in_struct = is_read;
            is_read = false;
        }
        // Only what is read from a file is a setting; a loader may hold fields of its own.
        is_read |= depth == 0 && line.has_word("Deserialize") && !line.has_word("use");
        if let Some(field) = field(code).filter(|_| in_struct && depth == 1 && !is_documented) {
            let what = format!(
                "`{field}` has no documentation; say meaning, unit, default, and what too small \
                 and too large cost"
            );
            findings.push(Finding::new(&source.path, line.number, what));
        }
        is_documented = line.raw.trim_start().starts_with("///")
            || (is_documented && (code.starts_with('#') || code.is_empty()));
        depth += code.matches('{').count();
        depth = depth.saturating_sub(code.matches('}').count());
        in_struct &= depth > 0 || code.ends_with('{');
        is_read &= depth > 0 || !code.ends_with('}');
    }
    findings
}

/// The name of the field that a line declares.
fn field(code: &str) -> Option<&str> {
    let (left, _) = code.split_once(':')?;
    let name = left.split_whitespace().last()?;
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (is_name && !code.starts_with('#')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
/// A hub's settings.
#[derive(Debug, Deserialize)]
pub struct HubConfig {
    /// Where it listens.
    #[serde(default)]
    pub address: String,
    pub region: String,
    name: String,
}

#[derive(
    Debug, Deserialize,
)]
enum Lane {
    Alerts,
}

struct Loader {
    path: PathBuf,
}

impl HubConfig {
    fn name(&self) -> Name {
        Name { text: 1 }
    }
}
";

    #[test]
    fn fields_without_documentation_are_found_in_config_files() {
        let found = check(&Source::parse("region-hub/src/config.rs", CONFIG));

        let what = |field| {
            format!(
                "`{field}` has no documentation; say meaning, unit, default, and what too small \
                 and too large cost"
            )
        };
        assert_eq!(
            found,
            [
                Finding::new("region-hub/src/config.rs", 7, what("region")),
                Finding::new("region-hub/src/config.rs", 8, what("name")),
            ]
        );
    }

    #[test]
    fn other_files_are_left_to_the_compiler() {
        assert_eq!(check(&Source::parse("region-hub/src/node.rs", CONFIG)), []);
    }
}
