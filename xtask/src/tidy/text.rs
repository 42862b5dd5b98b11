//! Texts that name a machine: a clone must build on any other.

use super::Finding;

/// Folders of somebody's machine. They stand apart so that this file does not name them itself.
const FOLDERS: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("C:\\Us", "ers"),
];

/// Hosts of package registries; which one serves is the builder's setting.
const REGISTRIES: [&str; 5] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("pypi", ".org"),
    concat!("proxy.golang", ".org"),
];

/// What lies beside the repository and is not part of it.
const BESIDE: &str = concat!("../sha", "red");

/// Checks one file's text.
pub(super) fn check(path: &str, content: &str) -> Vec<Finding> {
    content
        .lines()
        .enumerate()
        .filter_map(|(index, line)| broken(line).map(|what| Finding::new(path, index + 1, what)))
        .collect()
}

fn broken(line: &str) -> Option<String> {
    if let Some(folder) = FOLDERS.iter().find(|folder| starts_a_path(line, folder)) {
        return Some(format!(
            "a path of one machine, {folder}; write it from the repository's root"
        ));
    }
    if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
        return Some(format!("the registry host {host}; leave it to cargo's configuration"));
    }
    line.contains(BESIDE)
        .then(|| "a folder beside the repository; copy what is needed, with its source".to_owned())
}

/// Whether a path starts with `folder` in this line: what stands before it is no part of a path.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|letter| !letter.is_alphanumeric() && !"-_.*".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(line: &str) -> usize {
        check("README.md", line).len()
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        assert_eq!(count(concat!("see /ho", "me/ada/headland")), 1);
        assert_eq!(count(concat!("(/wo", "rk/main)")), 1);
    }

    #[test]
    fn a_folder_of_the_same_name_inside_a_path_is_no_finding() {
        assert_eq!(count(concat!("src/wo", "rk/queue.rs")), 0);
    }

    #[test]
    fn a_registry_host_and_a_folder_beside_are_found() {
        assert_eq!(count(concat!("https://static.crates", ".io/x")), 1);
        assert_eq!(count(concat!("cat ../sha", "red/DESIGN.md")), 1);
    }
}
