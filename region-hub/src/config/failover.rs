//! When a region is left without an operator.

use std::time::Duration;

use headland_event::RegionId;
use headland_platform::config::DurationText;
use serde::Deserialize;

/// `[failover]`: regions that look after each other. Their hubs link to each other, and all have
/// the same list; one that has another is told so and does not count. A region that is not heard
/// is left for another one as by `headland failover`, if it is `automatic` itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverConfig {
    /// The regions, this one among them, 3 to 16; the first that is in use takes over. What a
    /// majority of them says holds, so that an odd number bears most.
    pub regions: Vec<RegionId>,
    /// Whether this region may be left without an operator (default no). It is in use then only
    /// while a majority of the list is reached: cut off from it, it acknowledges nothing, its
    /// agents go on at their next hub or wait, and its groups neither read nor commit. Without it
    /// the region goes on in any cut, and only votes about others. Switch it on last, when all
    /// hubs of the list have this section and are linked; switched off, the region is in use
    /// again, and its hub starts without this section, once a majority has confirmed that it
    /// knows.
    #[serde(default)]
    pub automatic: bool,
    /// How long another region is not heard before it is left (default `"5s"`, at least `"4s"`:
    /// its lease has to be over first). Shorter leaves a region whose hub is only restarted,
    /// longer keeps its agents and groups waiting.
    #[serde(default = "five_seconds")]
    pub after: DurationText,
    /// How a region that was left for this one by votes is returned to: `"manual"` (default), by
    /// `headland failback`, or `"automatic"`, once its hub is linked, has answered, and neither has
    /// lacked anything of the other for more than moments for `failback_after`. One that an
    /// operator has left, an operator returns to.
    #[serde(default)]
    pub failback: Failback,
    /// How long both have to be in order before a region is returned to (default `"60s"`). Shorter
    /// moves agents and groups to and fro where a link comes and goes.
    #[serde(default = "a_minute")]
    pub failback_after: DurationText,
}

/// How a region that was left is returned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// By an operator.
    #[default]
    Manual,
    /// Once all is in order.
    Automatic,
}

const fn five_seconds() -> DurationText {
    DurationText::new(Duration::from_secs(5))
}

const fn a_minute() -> DurationText {
    DurationText::new(Duration::from_secs(60))
}
