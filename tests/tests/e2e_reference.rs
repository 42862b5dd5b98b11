//! Pages for operators say what the programs do.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use headland_event::NodeRule;
use headland_tests::binaries;

/// Writes the page instead of comparing it.
const WRITE: &str = "HEADLAND_WRITE_REFERENCE";

const HEAD: &str = "# Commands\n\
    What the programs say of themselves; `PROGRAM COMMAND --help` says the same. A command that \
    asks a running hub takes the path of\nits socket, `api.socket` of its configuration. Each ends \
    with 0 when it did what it says, and with another status and the reason on\nstandard error \
    when not.\n";

#[test]
fn the_page_of_commands_is_what_the_programs_say() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/commands.md");
    let binaries = binaries::built()?;
    let mut page = HEAD.to_owned();
    for (program, name) in [(&binaries.hub, "headland"), (&binaries.agent, "headland-agent")] {
        describe(program, name, &mut Vec::new(), &mut page)?;
    }

    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).context("cannot write the page")?;
    }

    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == there,
        "docs/reference/commands.md is not what the programs say; write it with `{WRITE}=1 cargo \
         test -p headland-tests --test e2e_reference`"
    );
    Ok(())
}

#[test]
fn each_alert_that_nodes_raise_about_themselves_has_its_entry_in_the_runbook() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
    let runbook = std::fs::read_to_string(path)?;

    for rule in NodeRule::ALL.map(NodeRule::as_str) {
        let entry = format!("| `{rule}` | ");
        let found = runbook.lines().filter(|line| line.starts_with(&entry)).count();
        assert_eq!(found, 1, "entries of {rule} among the alerts of docs/runbook.md");
    }
    Ok(())
}

/// A command and those below it, as headings with what `--help` says.
fn describe(program: &Path, name: &str, below: &mut Vec<String>, page: &mut String) -> Result<()> {
    let output = Command::new(program).args(&*below).arg("--help").output()?;
    if !output.status.success() {
        bail!("{name} {below:?} --help: {}", String::from_utf8_lossy(&output.stderr));
    }
    let help = String::from_utf8(output.stdout)?;
    let title = std::iter::once(name).chain(below.iter().map(String::as_str));
    let level = if below.is_empty() { "##" } else { "###" };
    write!(page, "\n{level} {}\n```text\n", title.collect::<Vec<_>>().join(" "))?;
    for line in help.trim_end().lines() {
        writeln!(page, "{}", line.trim_end())?;
    }
    page.push_str("```\n");
    for command in commands(&help) {
        below.push(command.to_owned());
        describe(program, name, below, page)?;
        below.pop();
    }
    Ok(())
}

/// The names below `Commands:`, without `help` itself.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = section.take_while(|line| !line.is_empty());
    // A name is two columns in; what is further in goes on with the line before.
    let names = names.filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
}
