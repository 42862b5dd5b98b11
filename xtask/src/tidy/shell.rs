//! tokio only where the shells are: a core must run without a runtime, socket or timer.

use super::Finding;
use super::source::Source;

/// Folders and files of shells, as starts of paths. A binary's shells are named one by one, so
/// that what decides there stays free of the runtime as well.
const SHELLS: [&str; 5] =
    ["platform/", "replication/src/quic", "storage/src/disk", "wan/src/relay", "tests/"];

/// The modules of the binaries that run tasks, read sockets or wait.
const BINARY_SHELLS: [(&str, &[&str]); 3] = [
    ("edge-agent/src/", &["main", "pipeline", "source", "connection", "api"]),
    ("region-hub/src/", &["main", "pipeline", "connections", "api", "client", "quickstart"]),
    ("wan/src/", &["command"]),
];

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if is_shell(&source.path) {
        return Vec::new();
    }
    let what = "tokio outside a shell; return the work to the caller (CONVENTIONS §3), or add the \
                module to the shells in xtask/src/tidy/shell.rs";
    source
        .lines
        .iter()
        .filter(|line| line.has_word("tokio"))
        .map(|line| Finding::new(&source.path, line.number, what))
        .collect()
}

fn is_shell(path: &str) -> bool {
    let is_listed = SHELLS.iter().any(|shell| path.starts_with(shell));
    let in_binary = BINARY_SHELLS.iter().any(|(folder, modules)| {
        path.strip_prefix(folder)
            .and_then(|rest| rest.split(['/', '.']).next())
            .is_some_and(|module| modules.contains(&module))
    });
    is_listed || in_binary || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str) -> usize {
        check(&Source::parse(path, "use tokio::sync::mpsc;\n// tokio\n")).len()
    }

    #[test]
    fn tokio_is_found_in_a_core() {
        assert_eq!(count("replication/src/sender.rs"), 1);
        assert_eq!(count("region-hub/src/node.rs"), 1);
        assert_eq!(count("wan/src/path.rs"), 1);
    }

    #[test]
    fn tokio_may_be_in_a_shell() {
        for path in [
            "replication/src/quic/driver.rs",
            "wan/src/relay.rs",
            "wan/tests/relay.rs",
            "region-hub/src/pipeline.rs",
            "region-hub/src/quickstart/child.rs",
        ] {
            assert_eq!(count(path), 0, "{path}");
        }
    }
}
