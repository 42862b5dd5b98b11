//! Round trips of single datagrams.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use clap::Args;
use headland_wan::Profile;
use headland_wan::net::{SIDE_A, SIDE_B};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::command::session::Session;

/// How long an answer is waited for beyond what the profile promises.
const PATIENCE: Duration = Duration::from_secs(2);

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many round trips, one after the other.
    #[arg(long, default_value_t = 200)]
    count: u32,
    /// The pause between two of them in milliseconds.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
}

/// Sends a datagram, waits for its echo, and so on.
pub(super) fn measure(session: &Session, options: &Options) -> Result<Value, Box<dyn Error>> {
    let [a, b] = session.handle.namespaces();
    let client = a.inside(|| UdpSocket::bind((SIDE_A.ipv4, 0)))?;
    let server = b.inside(|| UdpSocket::bind((SIDE_B.ipv4, 0)))?;
    client.connect(server.local_addr()?)?;
    let Profile { to_target, from_target } = session.handle.profile();
    let promised = to_target.delay + from_target.delay;
    client.set_read_timeout(Some(promised + PATIENCE))?;
    server.set_read_timeout(Some(PATIENCE + PATIENCE))?;
    let echo = thread::Builder::new().name("echo".into()).spawn(move || echo(&server))?;
    let mut times = round_trips(&client, options)?;
    client.send(&[])?;
    echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    times.sort_unstable();
    let answered = u32::try_from(times.len())?;
    let mean = times.iter().sum::<Duration>().checked_div(answered).unwrap_or_default();
    let quantile = |percent: usize| {
        let at = times.len().saturating_sub(1) * percent / 100;
        micros(times.get(at).copied().unwrap_or_default())
    };
    Ok(json!({
        "asked": options.count,
        "answered": answered,
        "promised_us": micros(promised),
        "min_us": quantile(0),
        "mean_us": micros(mean),
        "mean_error_us": micros(mean.abs_diff(promised)),
        "p50_us": quantile(50),
        "p99_us": quantile(99),
        "max_us": quantile(100),
    }))
}

fn round_trips(client: &UdpSocket, options: &Options) -> io::Result<Vec<Duration>> {
    let clock = Clock::start();
    let mut times = Vec::new();
    let mut answer = [0; 4];
    for number in 0..options.count {
        let sent_at = clock.now();
        client.send(&number.to_be_bytes())?;
        // A late answer to an earlier one is not this one's.
        while client.recv(&mut answer).is_ok() {
            if answer == number.to_be_bytes() {
                times.push(clock.now() - sent_at);
                break;
            }
        }
        thread::sleep(Duration::from_millis(options.pause_ms));
    }
    Ok(times)
}

/// Answers each datagram with itself until an empty one, or until nobody asks any more.
fn echo(server: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 64];
    while let Ok((length, client)) = server.recv_from(&mut buffer) {
        if length == 0 {
            break;
        }
        server.send_to(buffer.get(..length).unwrap_or_default(), client)?;
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
