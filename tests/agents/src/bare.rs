//! What a connection costs without a link on it: quinn as it comes, the same certificates, one
//! stream that has carried one message.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_gauge::Resident;
use headland_platform::task::{self, Token};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{BARE, crowd, device};

/// Bytes of the message.
const MESSAGE: [u8; 100] = [7; 100];

/// Connections stay although nothing is said on them.
const IDLE_TIMEOUT_MS: u32 = 600_000;

/// Time that connections are left alone before their memory is looked at.
const SETTLING: Duration = Duration::from_secs(5);

/// Connections that are begun at once.
const AT_ONCE: u64 = 50;

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    Arc::new(transport)
}

/// The process that listens: it says its port, and at every line it is given how many messages
/// have come.
pub(crate) async fn listen(folder: &str) -> Result<()> {
    let identity = device::identity(Path::new(folder), "eu")?;
    let crypto = QuicServerConfig::try_from(identity.server().as_ref().clone())?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut out = tokio::io::stdout();
    let port = endpoint.local_addr()?.port();
    out.write_all(format!("{port}\n").as_bytes()).await?;
    out.flush().await?;
    let (token, heard) = (Token::new(), Arc::new(AtomicU64::new(0)));
    let accepting = {
        let (token, heard) = (token.clone(), Arc::clone(&heard));
        task::spawn("accept", &token.clone(), async move {
            while let Some(incoming) = endpoint.accept().await {
                let heard = Arc::clone(&heard);
                drop(task::spawn("bare", &token, async move { hear(incoming, &heard).await.ok() }));
            }
        })
    };
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while asked.next_line().await?.is_some() {
        out.write_all(format!("{}\n", heard.load(Ordering::Relaxed)).as_bytes()).await?;
        out.flush().await?;
    }
    token.cancel();
    accepting.join().await;
    Ok(())
}

/// Takes one message, and keeps the connection and the stream.
async fn hear(incoming: quinn::Incoming, heard: &AtomicU64) -> Result<()> {
    let connection = incoming.accept()?.await?;
    let mut stream = connection.accept_uni().await?;
    let mut message = MESSAGE;
    stream.read_exact(&mut message).await?;
    heard.fetch_add(1, Ordering::Relaxed);
    connection.closed().await;
    drop(stream);
    Ok(())
}

struct Listener {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Listener {
    fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(BARE)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the bare listener")?;
        let said = child.stdout.take().context("its output is a pipe")?;
        Ok(Self { child, said: BufReader::new(said).lines() })
    }

    async fn number(&mut self) -> Result<u64> {
        let line = self.said.next_line().await?.context("the bare listener ended")?;
        line.parse().with_context(|| format!("the bare listener said {line:?}"))
    }

    async fn ask(&mut self) -> Result<u64> {
        let stdin = self.child.stdin.as_mut().context("its input is a pipe")?;
        stdin.write_all(b"\n").await?;
        self.number().await
    }

    fn resident(&self) -> Result<u64> {
        let id = self.child.id().context("the bare listener ended")?;
        Ok(Resident::of(id)?.now)
    }
}

/// Bytes of resident memory that each of `count` connections takes at the one who listens.
pub(crate) async fn bytes_each(count: u64, folder: &Path) -> Result<u64> {
    let mut listener = Listener::start(folder)?;
    let port = u16::try_from(listener.number().await?)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let name = device::identity(folder, "eu")?.id().server_name();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let client = Endpoint::client(any)?;
    // The first connection brings what all share.
    let mut kept = vec![connect(&client, folder, 0, (address, &name)).await?];
    let before = listener.resident()?;
    for first in (1..=count).step_by(usize::try_from(AT_ONCE)?) {
        let last = (first + AT_ONCE).min(count + 1);
        for number in first..last {
            kept.push(connect(&client, folder, number % count, (address, &name)).await?);
        }
    }
    tokio::time::sleep(SETTLING).await;
    let heard = listener.ask().await?;
    ensure!(heard == count + 1, "the bare listener heard {heard} of {} messages", count + 1);
    let after = listener.resident()?;
    drop(kept);
    Ok(after.saturating_sub(before) / count)
}

async fn connect(
    endpoint: &Endpoint,
    folder: &Path,
    number: u64,
    (address, name): (SocketAddr, &str),
) -> Result<(quinn::Connection, quinn::SendStream)> {
    let identity = device::identity(folder, &crowd::name(number))?;
    let crypto = QuicClientConfig::try_from(identity.client().as_ref().clone())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    let connection = endpoint.connect_with(config, address, name)?.await?;
    let mut stream = connection.open_uni().await?;
    stream.write_all(&MESSAGE).await?;
    Ok((connection, stream))
}
