//! Kernel TCP flows: what a link is measured against, and shares a network with.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::arguments::Arguments;
use crate::children::say;
use crate::timeline::Timeline;
use headland_gauge as gauge;

/// Bytes of one write and read.
const CHUNK_BYTES: usize = 256 << 10;

/// Sends to `--target` for `--seconds` with congestion control `--congestion`.
pub(crate) fn send(mut arguments: Arguments) -> Result<()> {
    let target: SocketAddr = arguments.take("target", SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let seconds = arguments.take("seconds", 20)?;
    let congestion: String = arguments.take("congestion", "cubic".to_owned())?;
    arguments.finish()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    let named = socket.set_tcp_congestion(congestion.as_bytes());
    named.with_context(|| format!("the kernel has no congestion control {congestion}"))?;
    socket.connect(&target.into()).with_context(|| format!("cannot connect to {target}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let end = gauge::now() + Duration::from_secs(seconds);
    let chunk = vec![7; CHUNK_BYTES];
    while gauge::now() < end {
        match stream.write(&chunk) {
            Ok(_) => {}
            // A path that lets nothing through for a second is no reason to stop.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the flow broke off"),
        }
    }
    say(&json!({ "cpu_seconds": gauge::cpu().as_secs_f64() }))
}

/// Says where it listens, takes in one flow and says how much came when.
pub(crate) fn receive(mut arguments: Arguments) -> Result<()> {
    let address = arguments.take("listen", SocketAddr::from(([0, 0, 0, 0], 0)))?;
    arguments.finish()?;
    let listener = TcpListener::bind(address).context("cannot listen")?;
    say(&json!({ "address": listener.local_addr()?.to_string() }))?;
    let (mut stream, _) = listener.accept().context("nobody came")?;
    let mut timeline = Timeline::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = stream.read(&mut chunk).context("the flow broke off")?;
        if read == 0 {
            break;
        }
        timeline.add(gauge::now(), u64::try_from(read)?);
    }
    say(&json!({ "cpu_seconds": gauge::cpu().as_secs_f64(), "timeline": timeline.to_json() }))
}
