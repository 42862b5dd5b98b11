//! The recorded files.
//!
//! A folder holds `online_retail*.csv.zst` (the rows), `arrivals.csv.zst` (when each arrives where)
//! and `truth_net_units_region_day_sku.csv.zst`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use csv_core::{ReadFieldResult, Reader};

use super::{Net, Split};

/// Rows, arrivals and truth.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) rows: Vec<Row>,
    /// By rising time.
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) regions: Vec<String>,
    truth: Net,
}

/// One line of an invoice.
#[derive(Debug)]
pub(crate) struct Row {
    /// A leading `C` marks a cancellation.
    pub(crate) invoice: String,
    pub(crate) sku: String,
    /// Units sold; below 0 for what came back or was written off.
    pub(crate) quantity: i64,
    /// As RFC 3339.
    pub(crate) time: String,
    pub(crate) time_ms: i64,
}

/// One arrival of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) row: usize,
    pub(crate) region: usize,
    pub(crate) at_ms: i64,
}

impl Source {
    /// Reads the files of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let rows = table(&find(folder, "online_retail")?)?;
        let rows = rows.iter().map(|row| Row::read(row)).collect::<Result<Vec<_>>>()?;
        let mut regions: Vec<String> = Vec::new();
        let mut arrivals = Vec::new();
        for row in table(&find(folder, "arrivals")?)? {
            let [number, region, at_ms, _] = &*row else { bail!("an arrival of {row:?}") };
            let index = regions.iter().position(|known| known == region);
            let region = index.unwrap_or_else(|| {
                regions.push(region.clone());
                regions.len() - 1
            });
            let at_ms = at_ms.parse().context("a time of arrival")?;
            arrivals.push(Arrival { row: number.parse().context("a row")?, region, at_ms });
        }
        arrivals.sort_by_key(|arrival| arrival.at_ms);
        let mut truth = Net::new();
        for row in table(&find(folder, "truth_net_units")?)? {
            let [region, day, sku, units] = &*row else { bail!("a truth of {row:?}") };
            let key = (region.clone(), day.clone(), sku.clone());
            truth.insert(key, units.parse().context("units")?);
        }
        Ok(Self { rows, arrivals, regions, truth })
    }

    /// The truth, as the split shows it.
    pub(crate) fn truth(&self, split: Split) -> Net {
        match split {
            Split::Country => self.truth.clone(),
            Split::Hash => {
                let mut sum: BTreeMap<_, i64> = BTreeMap::new();
                for ((_, day, sku), units) in &self.truth {
                    *sum.entry((String::new(), day.clone(), sku.clone())).or_default() += units;
                }
                sum
            }
        }
    }
}

impl Row {
    fn read(row: &[String]) -> Result<Self> {
        let [invoice, sku, _, quantity, time, ..] = row else { bail!("a row of {row:?}") };
        let time = format!("{}Z", time.replace(' ', "T"));
        let at: jiff::Timestamp = time.parse().context("a time of a row")?;
        Ok(Self {
            invoice: invoice.clone(),
            sku: sku.clone(),
            quantity: quantity.parse().with_context(|| format!("a quantity of {quantity}"))?,
            time,
            time_ms: at.as_millisecond(),
        })
    }
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = paths.filter(|path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.starts_with(name) && file.ends_with(".csv.zst")
    });
    found.next().with_context(|| format!("no {name}*.csv.zst in {}", folder.display()))
}

/// The fields of every line but the first.
fn table(path: &Path) -> Result<Vec<Vec<String>>> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let text = zstd::decode_all(file).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut reader, mut rest) = (Reader::new(), &*text);
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    let (mut field, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let (result, read, written) = reader.read_field(rest, &mut buffer);
        rest = rest.get(read..).unwrap_or_default();
        field.extend_from_slice(buffer.get(..written).unwrap_or_default());
        match result {
            ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
            ReadFieldResult::Field { record_end } => {
                row.push(String::from_utf8_lossy(&field).into_owned());
                field.clear();
                if record_end {
                    rows.push(std::mem::take(&mut row));
                }
            }
            ReadFieldResult::End => break,
        }
    }
    Ok(rows.split_off(1.min(rows.len())))
}
