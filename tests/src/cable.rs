//! Paths between hubs that can be cut.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use headland_platform::clock::Clock;
use headland_platform::task::{self, Task, Token};
use headland_wan::{Counters, Cut, PathProfile, Profile, Relay, RelayError, RelayHandle};

/// A path to a hub that carries everything at once, until it is cut.
#[derive(Debug)]
pub struct Cable {
    /// Where to dial instead of the hub.
    pub address: SocketAddr,
    handle: RelayHandle,
    _relay: Task<Option<Result<Counters, RelayError>>>,
}

impl Cable {
    /// Lays a path to `target`; it lasts as long as the value.
    ///
    /// # Errors
    /// When the machine gives no port.
    pub fn lay(target: SocketAddr) -> Result<Self> {
        let relay = Relay::bind("127.0.0.1:0".parse()?, target, Profile::default(), 1)?;
        let (address, handle) = (relay.address(), relay.handle());
        let clock = Clock::start();
        let origin = clock.monotonic();
        let running = task::spawn("cable", &Token::new(), async move {
            relay.run(|| clock.monotonic().since(origin)).await
        });
        Ok(Self { address, handle, _relay: running })
    }

    /// Carries nothing from now on.
    pub fn cut(&self) {
        self.handle.set_cut(Cut::Both);
    }

    /// Carries everything so much later from now on, each way.
    pub fn delay(&self, delay: Duration) {
        let path = PathProfile { delay, ..PathProfile::default() };
        self.handle.set_profile(Profile { to_target: path, from_target: path });
    }

    /// What it has carried so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// Carries everything again.
    pub fn heal(&self) {
        self.handle.set_cut(Cut::None);
    }
}
