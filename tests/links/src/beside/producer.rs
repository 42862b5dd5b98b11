//! The process that writes to a broker.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::connection::Connection;
use super::protocol;
use crate::arguments::Arguments;
use crate::children::say;
use crate::load::{BATCH_RECORDS, Due, Load, PARTITIONS};
use crate::scenario::Scenario;
use headland_gauge as gauge;

/// Time between two batches of a steady load, as at the source of a link.
const TICK: Duration = Duration::from_millis(2);
/// Requests that wait while one more is on its way: five without an answer, as Kafka's client has
/// it. What is due meanwhile goes into the next.
const REQUESTS_AHEAD: usize = 4;

/// Creates `--topic` at `--broker` unless it is there, and writes `--records` as `--scenario` says:
/// at its pace, or at once. Says when the first was sent and when the last was acknowledged.
pub(crate) fn run(mut arguments: Arguments) -> Result<()> {
    let broker: SocketAddr = arguments.take("broker", SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let topic: String = arguments.take("topic", String::new())?;
    let records: u64 = arguments.take("records", 0)?;
    let scenario = Scenario::read(&arguments.take_path("scenario")?)?;
    arguments.finish()?;
    let mut connection = Connection::open(broker)?;
    connection.create(&topic, PARTITIONS, None)?;
    let started_at = gauge::now();
    write(&mut connection, &topic, records, &scenario)?;
    say(&json!({
        "started_at": started_at.as_secs_f64(),
        "ended_at": gauge::now().as_secs_f64(),
    }))
}

fn write(
    connection: &mut Connection,
    topic: &str,
    records: u64,
    scenario: &Scenario,
) -> Result<()> {
    let mut load = Load::new(scenario.record_bytes);
    let mut due = Due::new(records, scenario.records_per_second);
    due.begin(gauge::now());
    let mut answers = connection.share()?;
    let (sent, to_answer) = sync_channel(REQUESTS_AHEAD);
    std::thread::scope(|scope| {
        let answered = scope.spawn(move || {
            while to_answer.recv().is_ok() {
                let codes = protocol::read_produced(answers.answer()?)?;
                ensure!(codes.iter().all(|code| *code == 0), "refused with codes {codes:?}");
            }
            Ok(())
        });
        let mut turn = 0;
        while !due.is_done() {
            if scenario.records_per_second > 0 {
                std::thread::sleep(TICK);
                if due.is_ahead(gauge::now()) {
                    continue;
                }
            }
            if sent.send(()).is_err() {
                break;
            }
            let now = gauge::now();
            let count = match scenario.records_per_second {
                0 => due.take(BATCH_RECORDS),
                _ => due.by(now)?,
            };
            let batch = load.batch(count, now)?;
            connection.send(&protocol::produce(topic, &[(turn, batch)])?)?;
            turn = (turn + 1) % PARTITIONS;
        }
        drop(sent);
        answered.join().ok().context("the reader of answers panicked")?
    })
}
