//! The store behind a local socket: checks batches, commits each request and answers once it is
//! durable, as a hub does with what an agent sends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headland_event::{Batch, Dot, Incarnation, Monotonic, Sequence, StreamId};
use headland_storage::{CommitWriter, Composer, DiskStore, LogStore, Report, Ticket};

use super::protocol;
use crate::arguments::Arguments;
use crate::speed::store::{hub_options, partition};
use headland_gauge as gauge;

/// Longest request that is read.
const REQUEST_LIMIT: usize = 4 << 20;

type Waiting = Arc<Mutex<BTreeMap<Ticket, Sender<()>>>>;

/// What gives commits their order.
struct Front {
    composer: Composer,
    writer: CommitWriter<DiskStore>,
    waiting: Waiting,
}

/// Serves until it is killed; writes the port to its standard output first.
pub(crate) fn run(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    arguments.finish()?;
    let store = DiskStore::open(&directory, hub_options())?;
    let composer = Composer::new(store.incarnation(), &store.reader(), &store)?;
    let waiting = Waiting::default();
    let clock = || Monotonic::from_nanos(u64::try_from(gauge::now().as_nanos()).unwrap_or(0));
    let durable = Arc::clone(&waiting);
    let writer = CommitWriter::start(store, clock, move |report| on_report(report, &durable))?;
    let front = Mutex::new(Front { composer, writer, waiting });
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?.port()).context("nobody listens")?;
    out.flush().context("nobody listens")?;
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let (stream, front) = (stream.context("cannot accept")?, &front);
            scope.spawn(move || {
                if let Err(error) = serve(stream, front) {
                    eprintln!("{error:#}");
                }
            });
        }
        Ok(())
    })
}

fn on_report(report: Report, waiting: &Waiting) {
    match report {
        Report::Durable { ticket, .. } => {
            let waits = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
            if let Some(Err(error)) = waits.map(|waits| waits.send(())) {
                eprintln!("a producer is gone before its answer: {error}");
            }
        }
        other => eprintln!("{other:?}"),
    }
}

/// Answers one producer until it goes.
fn serve(mut stream: TcpStream, front: &Mutex<Front>) -> Result<()> {
    stream.set_nodelay(true).context("cannot set up a connection")?;
    let (sender, durable) = mpsc::channel();
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(length <= REQUEST_LIMIT, "a request of {length} bytes");
        let mut request = vec![0; length];
        stream.read_exact(&mut request).context("a request ends early")?;
        let batches = protocol::read_produce(Bytes::from(request))?;
        let bases = commit(front, batches, sender.clone())?;
        durable.recv().context("the store is gone")?;
        stream.write_all(&protocol::produced("t", &bases)?).context("cannot answer")?;
    }
    Ok(())
}

/// Composes one commit of a request and hands it to the writer; returns the bases.
fn commit(
    front: &Mutex<Front>,
    batches: Vec<(u32, Batch)>,
    durable: Sender<()>,
) -> Result<Vec<(u32, u64)>> {
    let mut front = front.lock().unwrap_or_else(PoisonError::into_inner);
    let Front { composer, writer, waiting } = &mut *front;
    let mut bases = Vec::with_capacity(batches.len());
    for (index, batch) in batches {
        let partition = partition(index)?;
        let sequence = Sequence::new(composer.end(&partition).get() + 1);
        let (stream, incarnation) = (StreamId::new([7; 16]), Incarnation::new(1, 1));
        let dot = Dot { stream, incarnation, sequence };
        bases.push((index, composer.copied(&partition, dot, None, batch).get()));
    }
    let composed = composer.take().context("a request without batches")?;
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.insert(composed.ticket, durable);
    drop(waiting);
    writer.commit(composed);
    Ok(bases)
}
