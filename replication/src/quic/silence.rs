//! What lies behind a peer that answers nothing.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// How long the network has to say that there is nobody: a long round trip and some more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nothing is heard from an address, as far as one datagram can find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The machine there says that no process has the port.
    NobodyListens,
    /// The network says that there is no way.
    NoRoute,
    /// This machine refuses to send: a rule of its own firewall.
    RefusedHere,
    /// Nothing comes back at all: something on the way swallows UDP, or the machine is off.
    Swallowed,
}

impl Silence {
    /// Sends one byte, which no QUIC node answers, from a socket that hears what the network says
    /// about it: the one that connections share does not.
    ///
    /// # Cancel safety
    /// The question is given up.
    pub(super) async fn of(address: SocketAddr) -> Self {
        tokio::time::timeout(PATIENCE, ask(address)).await.unwrap_or(Self::Swallowed)
    }

    const fn from_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Self::NobodyListens,
            ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable => Self::NoRoute,
            ErrorKind::PermissionDenied => Self::RefusedHere,
            // The machine's list of errors is open; all others say no more than silence does.
            _ => Self::Swallowed,
        }
    }
}

async fn ask(address: SocketAddr) -> Silence {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match asked.await {
        Ok(_) => Silence::Swallowed,
        Err(error) => Silence::from_error(error.kind()),
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyListens => {
                "the machine there says that no process listens on this UDP port: start the hub, \
                 or correct the address"
            }
            Self::NoRoute => "there is no way to this address: check the network and the address",
            Self::RefusedHere => {
                "this machine refuses to send there: let its own firewall pass UDP to this port"
            }
            Self::Swallowed => {
                "nothing came back, not even a refusal: the machine is off, or a firewall drops \
                 UDP; let UDP to this port and its answers pass, or let the hub listen on UDP 443, \
                 which most networks pass"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_is_told_apart() {
        let kinds = [
            ErrorKind::ConnectionRefused,
            ErrorKind::NetworkUnreachable,
            ErrorKind::PermissionDenied,
            ErrorKind::TimedOut,
        ];

        let found = kinds.map(Silence::from_error);

        let expected =
            [Silence::NobodyListens, Silence::NoRoute, Silence::RefusedHere, Silence::Swallowed];
        assert_eq!(found, expected);
    }

    #[test]
    fn silence_names_udp_and_the_port_that_would_pass() {
        let said = Silence::Swallowed.to_string();

        assert!(said.contains("a firewall drops UDP"), "{said}");
        assert!(said.contains("UDP 443"), "{said}");
    }
}
