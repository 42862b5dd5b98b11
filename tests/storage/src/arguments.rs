//! The command line: `COMMAND --name value …`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What followed the command, each option at most once.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    values: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads pairs of `--name` and value.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut values = BTreeMap::new();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("{} has no value", pair.concat()) };
            let Some(name) = name.strip_prefix("--") else { bail!("{name} is not an option") };
            if values.insert(name.to_owned(), value.clone()).is_some() {
                bail!("--{name} is given twice");
            }
        }
        Ok(Self { values })
    }

    /// Takes an option out, or its default.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        let Some(value) = self.values.remove(name) else { return Ok(default) };
        value.parse().ok().with_context(|| format!("--{name} cannot be {value}"))
    }

    /// Takes a path out that has no default.
    pub(crate) fn take_path(&mut self, name: &str) -> Result<PathBuf> {
        self.values.remove(name).map(PathBuf::from).with_context(|| format!("--{name} is missing"))
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<()> {
        match self.values.into_keys().next() {
            Some(name) => bail!("--{name} means nothing here"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_option_is_taken_once_or_has_its_default() {
        let mut arguments = parse("--kills 3 --directory /d").unwrap();

        assert_eq!(arguments.take("kills", 200_u64).unwrap(), 3);
        assert_eq!(arguments.take("kills", 200_u64).unwrap(), 200);
        assert_eq!(arguments.take_path("directory").unwrap(), PathBuf::from("/d"));
        arguments.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        assert_eq!(parse("--kills").unwrap_err().to_string(), "--kills has no value");
        assert_eq!(parse("a b").unwrap_err().to_string(), "a is not an option");
        assert_eq!(parse("--a 1 --a 2").unwrap_err().to_string(), "--a is given twice");
        let mut arguments = parse("--kills many").unwrap();
        assert_eq!(
            arguments.take("kills", 1_u64).unwrap_err().to_string(),
            "--kills cannot be many"
        );
        let error = parse("--unknown 1").unwrap().finish().unwrap_err();
        assert_eq!(error.to_string(), "--unknown means nothing here");
    }
}
