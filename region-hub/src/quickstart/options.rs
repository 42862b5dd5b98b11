//! What a user may choose about a run.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The region ids a run takes its regions from, in this order.
pub(super) const REGION_NAMES: [&str; 6] = ["eu", "us", "ap", "sa", "af", "me"];

/// Shorter, and the cut of ten seconds with its planted cases would not fit into the run.
const DURATION_MIN: Duration = Duration::from_secs(25);

/// Longer, and somebody typed the wrong unit.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Starts regions of hubs and agents on this machine, plays recorded streams through them, breaks
/// the network half-way, and shows that every region ends with the same answer.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Recompute the answer from the input files alone and compare every hub with it, key by key.
    #[arg(long)]
    pub check: bool,
    /// How long the recorded streams play, for example 40s or 2m; at least 25s.
    #[arg(long, default_value = "40s", value_name = "TIME", value_parser = duration)]
    pub duration: Duration,
    /// Seconds of opening hours played per second, instead of a duration.
    #[arg(long, value_name = "FACTOR", conflicts_with = "duration")]
    pub speed: Option<Speed>,
    /// How many regions: 3 to 6, of eu, us, ap, sa, af, me. `ap` is the one cut off.
    #[arg(long, default_value = "3", value_name = "N")]
    pub regions: RegionCount,
    /// Decides splits, opening stock, late rows, the moment of the cut and the hub that is killed.
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub seed: Seed,
    /// Work in this directory, which must not exist yet, and leave it there.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// What decides which region an invoice belongs to.
    #[arg(long, value_enum, default_value = "hash")]
    pub by: SplitBy,
}

/// What decides which region an invoice belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SplitBy {
    /// A hash of the invoice number: every region gets its share.
    Hash,
    /// The customer's country: 93 % of the sales are one country's, the first region's.
    Country,
}

/// The number everything random about a run follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// Wraps a seed; any number is one.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How many regions a run has: 3, so that one can be cut off from two that still talk, up to 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionCount(usize);

impl RegionCount {
    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// Seconds of the shop's opening hours played per second, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(u32);

impl Speed {
    /// How long `span` of opening hours takes at this speed.
    #[must_use]
    pub fn play(self, span: Duration) -> Duration {
        (span / self.0).max(DURATION_MIN)
    }
}

/// An option that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} does not fit: {expected}")]
pub struct OptionError {
    /// The text as found.
    pub found: String,
    /// What would fit.
    pub expected: &'static str,
}

impl FromStr for Seed {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let expected = "a number from 0 to 18446744073709551615";
        text.parse().map(Self).map_err(|_| OptionError { found: text.to_owned(), expected })
    }
}

impl FromStr for RegionCount {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let count = text.parse().ok().filter(|count| (3..=REGION_NAMES.len()).contains(count));
        let expected = "a number of regions from 3 to 6";
        count.map(Self).ok_or_else(|| OptionError { found: text.to_owned(), expected })
    }
}

impl FromStr for Speed {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let factor = text.parse().ok().filter(|factor| *factor > 0);
        let expected = "a whole factor above 0";
        factor.map(Self).ok_or_else(|| OptionError { found: text.to_owned(), expected })
    }
}

fn duration(text: &str) -> Result<Duration, OptionError> {
    headland_wan::quantity::duration(text)
        .ok()
        .filter(|found| (DURATION_MIN..=DURATION_MAX).contains(found))
        .ok_or_else(|| OptionError {
            found: text.to_owned(),
            expected: "a duration from 25s to 24h, because the cut alone takes 10s",
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let all = std::iter::once("quickstart").chain(arguments.iter().copied());
        Cli::try_parse_from(all).map(|cli| cli.options)
    }

    #[test]
    fn without_options_three_regions_play_for_forty_seconds() {
        let options = parse(&[]).unwrap();

        assert_eq!(options.duration, Duration::from_secs(40));
        assert_eq!(options.regions.get(), 3);
        assert_eq!(options.seed, Seed::new(1));
        assert_eq!(options.by, SplitBy::Hash);
        assert!(!options.check && options.keep.is_none());
    }

    #[test]
    fn two_regions_are_refused_and_six_are_not() {
        assert!(parse(&["--regions", "2"]).is_err());
        assert_eq!(parse(&["--regions", "6"]).unwrap().regions.get(), 6);
        assert!(parse(&["--regions", "7"]).is_err());
    }

    #[test]
    fn a_duration_too_short_for_the_cut_is_refused_with_the_reason() {
        let error = parse(&["--duration", "24s"]).unwrap_err().to_string();

        assert!(error.contains("because the cut alone takes 10s"), "{error}");
        assert!(parse(&["--duration", "25s"]).is_ok());
    }

    #[test]
    fn a_speed_shortens_the_run_but_not_below_what_the_cut_needs() {
        let speed = |text: &str| parse(&["--speed", text]).unwrap().speed.unwrap();

        assert_eq!(speed("100").play(Duration::from_secs(6_000)), Duration::from_secs(60));
        assert_eq!(speed("100000").play(Duration::from_secs(6_000)), DURATION_MIN);
        assert!(parse(&["--speed", "0"]).is_err());
    }
}
