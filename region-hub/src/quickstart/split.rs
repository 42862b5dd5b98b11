//! Which site an invoice was written at.

use std::collections::BTreeMap;

use headland_event::{Random, SeededRandom};

use super::excerpt::Sale;
use super::fleet::{Fleet, Site};
use super::options::SplitBy;

/// Chosen so that of this excerpt each of three regions gets a quarter of the rows or more: some
/// invoices are so long that a hash alone would not see to it. A test holds it to that.
const SPLIT_SALT: u64 = 11;

/// Assigns sales to sites; an invoice lies wholly at one site.
#[derive(Debug)]
pub(super) struct Split<'a> {
    fleet: &'a Fleet,
    /// Index of the region of each country; empty when the hash decides.
    countries: BTreeMap<&'static str, usize>,
}

impl<'a> Split<'a> {
    /// A split of `sales` over the fleet. O(rows).
    pub(super) fn new(fleet: &'a Fleet, by: SplitBy, sales: &[Sale]) -> Self {
        let countries = match by {
            SplitBy::Hash => BTreeMap::new(),
            SplitBy::Country => deal_countries(sales, fleet.regions().len()),
        };
        Self { fleet, countries }
    }

    /// The site of a sale's invoice; `None` only for a fleet without sites.
    pub(super) fn site(&self, sale: &Sale) -> Option<&'a Site> {
        let regions = self.fleet.regions();
        // Invoice numbers differ in their last digits only, which FNV leaves in its lower bits.
        let mut mixed = SeededRandom::new(fnv1a(sale.invoice) ^ SPLIT_SALT);
        let hashed = index_below(&mut mixed, regions.len());
        let region = self.countries.get(sale.country).copied().unwrap_or(hashed);
        let sites = self.fleet.sites_of(regions.get(region)?);
        sites.get(index_below(&mut mixed, sites.len())).copied()
    }
}

/// The country with most sales gets the first region for itself, as in the data; the others go,
/// largest first, to whichever other region has least.
fn deal_countries(sales: &[Sale], regions: usize) -> BTreeMap<&'static str, usize> {
    let mut rows: BTreeMap<&'static str, usize> = BTreeMap::new();
    for sale in sales {
        *rows.entry(sale.country).or_default() += 1;
    }
    let mut largest: Vec<(&'static str, usize)> = rows.into_iter().collect();
    largest.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let mut dealt = BTreeMap::new();
    let mut loads: Vec<(usize, usize)> = (1..regions).map(|region| (0, region)).collect();
    for (country, rows) in largest {
        if dealt.is_empty() {
            dealt.insert(country, 0);
        } else if let Some(least) = loads.iter_mut().min() {
            least.0 += rows;
            dealt.insert(country, least.1);
        }
    }
    debug_assert!(dealt.values().all(|region| *region < regions), "only regions that exist");
    dealt
}

/// # Source
/// FNV-1a, 64 bits: Fowler, Noll, Vo, RFC 9923.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn index_below(mixed: &mut SeededRandom, bound: usize) -> usize {
    usize::try_from(mixed.below(bound as u64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::excerpt::sales;
    use super::*;

    fn shares(by: SplitBy) -> BTreeMap<String, usize> {
        let sales = sales().unwrap();
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let split = Split::new(&fleet, by, &sales);
        let mut shares = BTreeMap::new();
        for sale in &sales {
            *shares.entry(split.site(sale).unwrap().name.to_string()).or_default() += 1;
        }
        shares
    }

    #[test]
    fn by_hash_every_region_gets_a_quarter_of_the_rows_and_every_site_some() {
        let shares = shares(SplitBy::Hash);

        for region in ["eu", "us", "ap"] {
            let of = |site: u8| shares[&format!("{region}-{site}")];
            assert!(of(1) + of(2) >= 3_000, "{region}: {shares:?}");
            assert!(of(1).min(of(2)) >= 1_000, "{region}: {shares:?}");
        }
    }

    #[test]
    fn by_country_the_first_region_has_nine_tenths_and_the_others_share_the_rest() {
        let shares = shares(SplitBy::Country);

        let of = |region: &str| shares[&format!("{region}-1")] + shares[&format!("{region}-2")];
        assert_eq!(of("eu"), 11_380);
        assert!(of("us").abs_diff(of("ap")) < 50, "{shares:?}");
    }

    #[test]
    fn an_invoice_lies_at_one_site() {
        let sales = sales().unwrap();
        let fleet = Fleet::new("5".parse().unwrap(), &[]).unwrap();
        let split = Split::new(&fleet, SplitBy::Hash, &sales);
        let mut sites = BTreeMap::new();

        for sale in &sales {
            let site = split.site(sale).unwrap();
            assert_eq!(sites.entry(sale.invoice).or_insert(&site.name), &&site.name);
        }
    }
}
