//! What a store writes that has nothing to do: nothing, once it is sealed and marked.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_event::{Monotonic, SeededRandom};
use headland_storage::{CommitWriter, Composer, DiskStore, LogStore};
use serde_json::json;

use super::batches::{Shape, Spread, encoded};
use super::store::{hub_options, partition};
use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::{self as gauge, Written};

/// Appends before it gets quiet.
const APPENDS: u64 = 100;

/// Appends through the writer's thread, waits until it has come to rest, and watches.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?.join("idle");
    // A state mark is due 30 s after a write, a seal after one.
    let settle = Duration::from_secs(arguments.take("settle-seconds", 35)?);
    let watch = Duration::from_secs(arguments.take("watch-seconds", 10)?);
    arguments.finish()?;
    let store = DiskStore::open(&directory, hub_options())?;
    let reader = store.reader();
    let mut composer = Composer::new(store.incarnation(), &reader, &store)?;
    let clock = || Monotonic::from_nanos(u64::try_from(gauge::now().as_nanos()).unwrap_or(0));
    let (sender, reports) = mpsc::channel();
    let writer = CommitWriter::start(store, clock, move |report| drop(sender.send(report)))?;
    let mut random = SeededRandom::new(1);
    let shape = Shape { records: 100, spread: Spread::One };
    for _ in 0..APPENDS {
        for batch in encoded(shape, &mut random)? {
            composer.born(&partition(0)?, None, batch, &mut random);
        }
        writer.commit(composer.take().context("something was born")?);
    }
    // Nothing more is reported once all is durable, so waiting for a report is only waiting.
    while reports.recv_timeout(settle).is_ok() {}
    let before = Written::by_this()?;
    ensure!(reports.recv_timeout(watch).is_err(), "a report without a commit");
    let Written { calls, pages } = Written::by_this()?.since(before);
    let (store, written) = writer.close();
    written?;
    store.close()?;
    std::fs::remove_dir_all(&directory).context("cannot remove the store")?;
    let result = json!({
        "watched_seconds": watch.as_secs(),
        "written_bytes": calls,
        "pages_written_bytes": pages,
    });
    Ok(Report { is_green: calls == 0 && pages == 0, result })
}
