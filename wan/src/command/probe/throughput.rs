//! How much passes: a UDP blaster or a TCP flow, with the emulator's own processor time.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use clap::Args;
use headland_wan::Rate;
use headland_wan::net::{SIDE_A, SIDE_B};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::clock::Clock;
use crate::command::session::Session;

/// The payload of a full packet of the device: 1,500 less 28 bytes of headers.
const PAYLOAD: [u8; 1_472] = [7; 1_472];

/// The receiver ends after this much silence.
const SILENCE: Duration = Duration::from_millis(1_500);

const BUFFER_BYTES: usize = 4 << 20;

/// What the blaster sends.
#[derive(Debug, Args)]
pub(crate) struct UdpOptions {
    /// How fast, with IP headers.
    #[arg(long, default_value = "600Mbit")]
    rate: Rate,
    /// For how many seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What the flow does.
#[derive(Debug, Args)]
pub(crate) struct TcpOptions {
    /// Its congestion control, as the kernel names it.
    #[arg(long, default_value = "cubic")]
    congestion_control: String,
    /// For how many seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Sends full packets at a rate, whatever becomes of them.
pub(super) fn udp(session: &Session, options: &UdpOptions) -> Result<Value, Box<dyn Error>> {
    let [a, b] = session.handle.namespaces();
    let sender = a.inside(|| UdpSocket::bind((SIDE_A.ipv4, 0)))?;
    let receiver = b.inside(|| UdpSocket::bind((SIDE_B.ipv4, 0)))?;
    SockRef::from(&receiver).set_recv_buffer_size(BUFFER_BYTES)?;
    SockRef::from(&sender).set_send_buffer_size(BUFFER_BYTES)?;
    receiver.set_read_timeout(Some(SILENCE))?;
    sender.connect(receiver.local_addr()?)?;
    let receiving = thread::Builder::new().name("receiver".into()).spawn(move || {
        let mut buffer = [0; PAYLOAD.len()];
        let mut packets = 0_u64;
        while receiver.recv(&mut buffer).is_ok() {
            packets += 1;
        }
        packets
    })?;
    let clock = Clock::start();
    let end = Duration::from_secs(options.seconds);
    let (mut sent, mut errors) = (0_u64, 0_u64);
    let gap = options.rate.time_for(PAYLOAD.len() + 28);
    let mut next = Duration::ZERO;
    while clock.now() < end {
        while next <= clock.now() {
            next += gap;
            sent += 1;
            errors += u64::from(sender.send(&PAYLOAD).is_err());
        }
        thread::sleep(Duration::from_micros(500));
    }
    let took = clock.now();
    let packets = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let bits = packets * u64::try_from(PAYLOAD.len() + 28)? * 8;
    Ok(json!({
        "sent": sent,
        "received": packets,
        "send_errors": errors,
        "received_mbit_per_second": per_second(bits, took) / 1_000_000,
    }))
}

/// Writes as fast as TCP lets it, and counts what the other side read.
pub(super) fn tcp(session: &Session, options: &TcpOptions) -> Result<Value, Box<dyn Error>> {
    let [a, b] = session.handle.namespaces();
    let listener = b.inside(|| TcpListener::bind((SIDE_B.ipv4, 0)))?;
    let target = listener.local_addr()?;
    let receiving = thread::Builder::new().name("receiver".into()).spawn(move || {
        let (stream, _) = listener.accept()?;
        read_all(stream)
    })?;
    let mut sender = a.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_tcp_congestion(options.congestion_control.as_bytes())?;
        socket.connect(&target.into())?;
        Ok(TcpStream::from(socket))
    })?;
    let chunk = vec![7; 128 << 10];
    let clock = Clock::start();
    while clock.now() < Duration::from_secs(options.seconds) {
        sender.write_all(&chunk)?;
    }
    sender.shutdown(std::net::Shutdown::Write)?;
    let received = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    // Until the last byte is there: what lay in buffers at the end is not given away for nothing.
    let took = clock.now();
    Ok(json!({
        "congestion_control": options.congestion_control,
        "received_bytes": received,
        "goodput_mbit_per_second": per_second(received * 8, took) / 1_000_000,
    }))
}

fn read_all(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += u64::try_from(length).map_err(io::Error::other)?,
        }
    }
}

/// A number of things in some time, as one in a second, rounded down.
fn per_second(count: u64, took: Duration) -> u64 {
    let scaled = u128::from(count) * 1_000_000_000;
    let nanos = took.as_nanos().max(1);
    u64::try_from(scaled / nanos).unwrap_or(u64::MAX)
}
