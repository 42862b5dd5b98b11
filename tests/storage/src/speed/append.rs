//! Rounds of appends, in turns, and what their medians say.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::bare::{BareFile, Growth};
use super::batches::{Shape, Spread};
use super::store::{Encoding, Journal};
use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::{self as gauge, Resident, Written, float, median};

/// Least share of the bare file's rate, by records of an append.
const SHARE_AT_1: f64 = 0.7;
const SHARE_FROM_100: f64 = 0.8;
/// How long one kind appends before it is the next one's turn.
const TURN: Duration = Duration::from_millis(20);
/// Most processor time of a record in appends of 1,000 encoded before.
const CPU_MICROS_PER_RECORD: f64 = 0.4;
/// Most bytes written for a byte of records in batches of 100 and more.
const WRITTEN_PER_BYTE: f64 = 1.1;

/// What records are appended to.
pub(super) trait Subject {
    /// Makes append number `number` durable; returns its bytes of records.
    fn append(&mut self, number: u64) -> Result<u64>;

    /// Takes away what was written.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bare(Growth),
    Store(Encoding),
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Bare(Growth::Written),
        Self::Bare(Growth::Allocated),
        Self::Store(Encoding::Before),
        Self::Store(Encoding::Within),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare(Growth::Written) => "bare_file",
            Self::Bare(Growth::Allocated) => "bare_file_allocated_ahead",
            Self::Store(Encoding::Before) => "store",
            Self::Store(Encoding::Within) => "store_and_encoding",
        }
    }

    fn create(self, directory: &Path, shape: Shape) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Bare(growth) => Box::new(BareFile::create(directory, shape, growth)?),
            Self::Store(encoding) => Box::new(Journal::create(directory, shape, encoding)?),
        })
    }
}

/// What the rounds of one kind and shape gave.
#[derive(Debug, Default)]
struct Samples {
    records_per_second: Vec<f64>,
    cpu_micros_per_record: Vec<f64>,
    written_per_byte: Vec<f64>,
    pages_per_byte: Vec<f64>,
}

/// One kind in one round, and what its turns amount to.
struct Runner {
    subject: Box<dyn Subject>,
    appends: u64,
    bytes: u64,
    took: Duration,
    cpu: Duration,
    written: Written,
}

/// Measures every shape and compares.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let rounds: usize = arguments.take("rounds", 5)?;
    let each = Duration::from_millis(arguments.take("millis", 1_000)?);
    arguments.finish()?;
    std::fs::create_dir_all(&directory).context("cannot create the directory")?;
    let (mut is_green, mut rows) = (true, Vec::new());
    for shape in Shape::ALL {
        let samples = sample(&directory, shape, rounds, each)?;
        let (row, is_met) = row(shape, &samples);
        eprintln!("{row}");
        is_green &= is_met;
        rows.push(row);
    }
    let Resident { now, peak } = Resident::of_this()?;
    let result = json!({
        "record_bytes": 200,
        "barrier": "one fdatasync an append",
        "rounds": rounds,
        "millis_each": each.as_millis(),
        "millis_a_turn": TURN.as_millis(),
        "appends": rows,
        "resident_bytes": now,
        "resident_peak_bytes": peak,
    });
    Ok(Report { is_green, result })
}

/// Measures all kinds in short turns, so that what else the machine does strikes all of them;
/// each round starts with another of them.
fn sample(
    directory: &Path,
    shape: Shape,
    rounds: usize,
    each: Duration,
) -> Result<[(Kind, Samples); 4]> {
    let mut all = Kind::ALL.map(|kind| (kind, Samples::default()));
    for round in 0..rounds {
        all.rotate_left(round % 2 + 1);
        let mut runners = Vec::new();
        for (kind, _) in &all {
            runners.push(Runner::start(kind.create(directory, shape)?)?);
        }
        while runners.iter().any(|runner| runner.took < each) {
            for runner in &mut runners {
                runner.turn()?;
            }
        }
        for ((_, samples), runner) in all.iter_mut().zip(runners) {
            samples.add(shape, &runner)?;
            runner.subject.finish()?;
        }
    }
    Ok(all)
}

impl Runner {
    fn start(mut subject: Box<dyn Subject>) -> Result<Self> {
        // The first append pays for the file; a journal goes on for hours after it.
        subject.append(0)?;
        let (took, cpu, written) = (Duration::ZERO, Duration::ZERO, Written::default());
        Ok(Self { subject, appends: 0, bytes: 0, took, cpu, written })
    }

    fn turn(&mut self) -> Result<()> {
        let (written, cpu, start) = (Written::by_this()?, gauge::cpu(), gauge::now());
        while gauge::now() - start < TURN {
            self.appends += 1;
            self.bytes += self.subject.append(self.appends)?;
        }
        self.took += gauge::now() - start;
        self.cpu += gauge::cpu() - cpu;
        self.written = self.written.plus(Written::by_this()?.since(written));
        Ok(())
    }
}

impl Samples {
    fn add(&mut self, shape: Shape, runner: &Runner) -> Result<()> {
        let Runner { subject: _, appends, bytes, took, cpu, written } = runner;
        let records = float(appends * u64::try_from(shape.records)?);
        self.records_per_second.push(records / took.as_secs_f64());
        self.cpu_micros_per_record.push(cpu.as_secs_f64() * 1e6 / records);
        self.written_per_byte.push(float(written.calls) / float(*bytes));
        self.pages_per_byte.push(float(written.pages) / float(*bytes));
        Ok(())
    }

    fn report(&self) -> Value {
        json!({
            "records_per_second": median(&self.records_per_second).round(),
            "cpu_micros_per_record": rounded(median(&self.cpu_micros_per_record)),
            "written_per_record_byte": rounded(median(&self.written_per_byte)),
            "pages_written_per_record_byte": rounded(median(&self.pages_per_byte)),
        })
    }
}

/// Three decimals: nothing here is known better.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// One shape's figures and bars; whether all bars are met.
fn row(shape: Shape, samples: &[(Kind, Samples); 4]) -> (Value, bool) {
    let of = |wanted: Kind| samples.iter().find(|(kind, _)| *kind == wanted).map(|(_, s)| s);
    let rate = |kind| of(kind).map_or(0.0, |samples| median(&samples.records_per_second));
    let bare = rate(Kind::Bare(Growth::Written)).max(rate(Kind::Bare(Growth::Allocated)));
    let store = Kind::Store(Encoding::Before);
    let share = rate(store) / bare;
    let least = if shape.records == 1 { SHARE_AT_1 } else { SHARE_FROM_100 };
    let cpu = of(store).map_or(0.0, |samples| median(&samples.cpu_micros_per_record));
    let written = of(store).map_or(0.0, |samples| median(&samples.written_per_byte));
    let is_met = share >= least
        && (shape.records < 1_000 || cpu <= CPU_MICROS_PER_RECORD)
        && (shape.batches().iter().any(|batch| *batch < 100) || written <= WRITTEN_PER_BYTE);
    let mut row = json!({
        "records_an_append": shape.records,
        "partitions": match shape.spread { Spread::One => 1, Spread::Eight | Spread::Turns => 8 },
        "share_of_the_faster_bare_file": rounded(share),
        "share_at_least": least,
        "is_met": is_met,
    });
    for (kind, samples) in samples {
        if let Some(object) = row.as_object_mut() {
            object.insert(kind.name().to_owned(), samples.report());
        }
    }
    (row, is_met)
}
