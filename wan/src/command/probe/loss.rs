//! Which of many numbered datagrams arrive.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use clap::Args;
use headland_wan::net::{SIDE_A, SIDE_B};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::command::session::Session;

/// Datagrams sent before each pause, few enough for every buffer on the way.
const BURST: u32 = 20;

/// The receiver ends after this much silence.
const SILENCE: Duration = Duration::from_millis(1_500);

/// Asked for as receive buffer, so that the receiver loses nothing of its own.
const BUFFER_BYTES: usize = 4 << 20;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many datagrams.
    #[arg(long, default_value_t = 100_000)]
    count: u32,
}

/// Sends numbered datagrams from side a to side b and says which arrived.
///
/// `fingerprint` is of the numbers that did not arrive: equal seeds give equal ones.
pub(super) fn measure(session: &Session, options: &Options) -> Result<Value, Box<dyn Error>> {
    let [a, b] = session.handle.namespaces();
    let sender = a.inside(|| UdpSocket::bind((SIDE_A.ipv4, 0)))?;
    let receiver = b.inside(|| UdpSocket::bind((SIDE_B.ipv4, 0)))?;
    SockRef::from(&receiver).set_recv_buffer_size(BUFFER_BYTES)?;
    receiver.set_read_timeout(Some(SILENCE))?;
    sender.connect(receiver.local_addr()?)?;
    let count = options.count;
    let receiving =
        thread::Builder::new().name("receiver".into()).spawn(move || arrivals(&receiver, count))?;
    for number in 0..count {
        sender.send(&number.to_be_bytes())?;
        if number % BURST == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let arrived = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let missing: Vec<u32> =
        (0..).zip(&arrived).filter(|(_, times)| **times == 0).map(|(number, _)| number).collect();
    let doubled = arrived.iter().filter(|times| **times > 1).count();
    let lost = u64::try_from(missing.len())?;
    let decided = session.handle.counters().to_target.lost;
    Ok(json!({
        "sent": count,
        "lost": lost,
        "lost_parts_per_million": lost * 1_000_000 / u64::from(count.max(1)),
        "doubled": doubled,
        // What is missing although the emulator did not lose it was lost by a socket.
        "unexplained": lost.abs_diff(decided),
        "fingerprint": format!("{:016x}", fingerprint(&missing)),
    }))
}

/// How often each number arrived.
fn arrivals(receiver: &UdpSocket, count: u32) -> io::Result<Vec<u8>> {
    let mut arrived = vec![0_u8; usize::try_from(count).map_err(io::Error::other)?];
    let mut number = [0; 4];
    // Ends with the first read that times out.
    while receiver.recv(&mut number).is_ok() {
        let index = usize::try_from(u32::from_be_bytes(number)).map_err(io::Error::other)?;
        if let Some(times) = arrived.get_mut(index) {
            *times = times.saturating_add(1);
        }
    }
    Ok(arrived)
}

/// FNV-1a over the numbers, 64 bits.
fn fingerprint(numbers: &[u32]) -> u64 {
    let bytes = numbers.iter().flat_map(|number| number.to_be_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
