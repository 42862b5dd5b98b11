//! Which regions and agents a run has, and which streams each agent reads.

use headland_event::{AgentName, NameError, RegionId};

use super::options::{REGION_NAMES, RegionCount};

/// Agents of each region.
const SITES_PER_REGION: usize = 2;

/// The region that is cut off half-way; [`RegionCount`] makes sure that every run has it.
pub(super) const CUT_REGION: &str = "ap";

/// One agent: a shop with a till, which is a stock location of its own, and some air stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    /// Its region.
    pub(super) region: RegionId,
    /// Its agent's name, which is its stock location too.
    pub(super) name: AgentName,
    /// The stations it reads.
    pub(super) stations: Vec<&'static str>,
}

impl Site {
    /// The device that reports the shop's inventory.
    pub(super) fn till(&self) -> String {
        format!("{}-till", self.name)
    }
}

/// All regions and their sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fleet {
    regions: Vec<RegionId>,
    sites: Vec<Site>,
}

impl Fleet {
    /// `count` regions of two sites each; the stations are dealt to the sites in turn.
    ///
    /// # Errors
    /// [`NameError`] when a built-in name did not fit, which a test excludes.
    pub(super) fn new(count: RegionCount, stations: &[&'static str]) -> Result<Self, NameError> {
        let names = REGION_NAMES.iter().take(count.get());
        let regions = names.map(|name| RegionId::new(name)).collect::<Result<Vec<_>, _>>()?;
        let mut sites = Vec::new();
        for number in 1..=SITES_PER_REGION {
            for region in &regions {
                let name = AgentName::new(&format!("{region}-{number}"))?;
                sites.push(Site { region: region.clone(), name, stations: Vec::new() });
            }
        }
        let every = sites.len();
        for (index, site) in sites.iter_mut().enumerate() {
            site.stations = stations.iter().copied().skip(index).step_by(every).collect();
        }
        sites.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { regions, sites })
    }

    /// The regions, the cut one among them.
    pub(super) fn regions(&self) -> &[RegionId] {
        &self.regions
    }

    /// All sites, ordered by name.
    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The sites of one region, ordered by name.
    pub(super) fn sites_of(&self, region: &RegionId) -> Vec<&Site> {
        self.sites.iter().filter(|site| site.region == *region).collect()
    }

    /// The region that is cut off.
    pub(super) fn cut_region(&self) -> Option<&RegionId> {
        self.regions.iter().find(|region| region.as_str() == CUT_REGION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: &str) -> Fleet {
        let stations = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        Fleet::new(count.parse().unwrap(), &stations).unwrap()
    }

    #[test]
    fn three_regions_have_two_sites_with_two_stations_each() {
        let fleet = fleet("3");

        let names: Vec<&str> = fleet.sites().iter().map(|site| site.name.as_str()).collect();
        assert_eq!(names, ["ap-1", "ap-2", "eu-1", "eu-2", "us-1", "us-2"]);
        assert!(fleet.sites().iter().all(|site| site.stations.len() == 2));
    }

    #[test]
    fn every_station_belongs_to_one_site_and_every_region_has_one_for_any_count() {
        for count in ["3", "4", "5", "6"] {
            let fleet = fleet(count);

            let mut dealt: Vec<&str> =
                fleet.sites().iter().flat_map(|site| site.stations.clone()).collect();
            dealt.sort_unstable();
            assert_eq!(dealt, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
            assert!(fleet.sites().iter().all(|site| !site.stations.is_empty()));
            assert_eq!(fleet.cut_region().unwrap().as_str(), "ap");
        }
    }
}
