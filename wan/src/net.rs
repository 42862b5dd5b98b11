//! Two network namespaces joined by the emulator: the shell around [`Shaper`] for IP packets.
//!
//! Each side has a TUN device. What one side sends is read, shaped, and written to the other side
//! when it is due. A drop happens in user space, so no sender sees an error that a WAN would not
//! give it. Decisions are made in [`Shaper`], `translation.rs` and `icmp.rs`.

/// The TUN device of one side.
mod device;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use thiserror::Error;

use crate::change::{AddressChange, Change};
use crate::control::{Controlled, Side, Sides};
use crate::icmp;
use crate::namespace::Namespace;
use crate::packet;
use crate::path::Admission;
use crate::profile::Profile;
use crate::report::report;
use crate::shaper::{Counters, Direction, Shaper};
use crate::sys;
use crate::translation::{Translated, Translation};
use device::Device;
pub use device::{Addresses, DEVICE, DEVICE_MTU};

/// Side `a`, the client's.
pub const SIDE_A: Addresses = Addresses {
    ipv4: Ipv4Addr::new(10, 77, 1, 1),
    ipv6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, 1),
};

/// Side `b`, the target's.
pub const SIDE_B: Addresses = Addresses {
    ipv4: Ipv4Addr::new(10, 77, 2, 1),
    ipv6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 2, 1),
};

/// Packets read from one side before the other has its turn.
const TURN_PACKETS: usize = 64;

/// Under load the loop runs at most once in this time, so that packets share system calls and
/// wake-ups; a packet that comes after a pause is not held up.
const GRAIN: Duration = Duration::from_micros(50);

/// How long the loop sleeps at most: what it takes to notice that it is to stop.
const NAP_MAX: Duration = Duration::from_millis(50);

/// How often the kernel is asked what it dropped.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// The network could not be made, or ended.
#[derive(Debug, Error)]
#[error("cannot {what} of the emulated network")]
pub struct NetError {
    /// What failed.
    what: &'static str,
    /// Why.
    source: io::Error,
}

/// Names what failed.
fn failed(what: &'static str) -> impl FnOnce(io::Error) -> NetError {
    move |source| NetError { what, source }
}

/// Whether the loop that moves packets runs before everything that is not real-time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// It does: a due packet waits about 0.1 ms at most.
    RealTime,
    /// The system does not allow it: under load expect 5 to 20 ms.
    Plain,
}

/// Two namespaces and the devices in them; [`Self::run`] makes packets move.
#[derive(Debug)]
pub struct Net {
    a: Device,
    b: Device,
    handle: NetHandle,
}

/// Controls a [`Net`] while it runs; clones control the same one.
#[derive(Debug, Clone)]
pub struct NetHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    namespaces: [Namespace; 2],
    stop: AtomicBool,
}

/// What a change changes.
#[derive(Debug)]
struct State {
    shaper: Shaper<Vec<u8>>,
    /// The addresses of side `a`.
    translation: Translation,
}

impl Controlled for NetHandle {
    fn apply(&self, change: &Change) {
        let mut state = self.lock();
        state.shaper.apply(change);
        match change.address {
            Some(AddressChange::New) => state.translation.change(),
            None => {}
        }
    }

    fn report(&self) -> Value {
        report(&self.counters())
    }

    fn sides(&self) -> Option<Sides> {
        let side = |namespace: &Namespace, addresses: Addresses| {
            let Addresses { ipv4, ipv6 } = addresses;
            Side { namespace: namespace.path(), ipv4, ipv6 }
        };
        let [a, b] = self.namespaces();
        Some(Sides { a: side(a, SIDE_A), b: side(b, SIDE_B) })
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl NetHandle {
    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().shaper.counters()
    }

    /// What shapes the packets that are sent now.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.lock().shaper.profile()
    }

    /// The namespaces of side `a` and side `b`, usable while the network runs and after.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace; 2] {
        &self.shared.namespaces
    }

    /// A panic while it is held leaves plain data.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Net {
    /// Makes both namespaces with their devices, [`SIDE_A`] and [`SIDE_B`].
    ///
    /// # Errors
    /// [`NetError`] when this process may not: it needs `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and
    /// `/dev/net/tun`.
    pub fn create(profile: Profile, seed: u64) -> Result<Self, NetError> {
        let side = || Namespace::create().map_err(failed("make a namespace"));
        let [a, b] = [side()?, side()?];
        let device = failed("make the device of side a");
        let device_a = Device::create(&a, SIDE_A).map_err(device)?;
        let device = failed("make the device of side b");
        let device_b = Device::create(&b, SIDE_B).map_err(device)?;
        let shared = Shared {
            state: Mutex::new(State {
                shaper: Shaper::new(profile, seed),
                translation: Translation::new([SIDE_A.ipv4.into(), SIDE_A.ipv6.into()]),
            }),
            namespaces: [a, b],
            stop: AtomicBool::new(false),
        };
        Ok(Self { a: device_a, b: device_b, handle: NetHandle { shared: Arc::new(shared) } })
    }

    /// A handle that stays valid while the network runs and after.
    #[must_use]
    pub fn handle(&self) -> NetHandle {
        self.handle.clone()
    }

    /// Asks for real-time priority for the calling thread, which should be the one that calls
    /// [`Self::run`], and says what it got.
    #[must_use]
    pub fn claim_priority() -> Priority {
        match sys::run_first() {
            Ok(()) => Priority::RealTime,
            Err(_) => Priority::Plain,
        }
    }

    /// Moves packets on the calling thread until [`Controlled::stop`] of its handle.
    ///
    /// `clock` is monotonic and counts from any start.
    ///
    /// # Errors
    /// [`NetError`] when a device fails.
    pub fn run<C: Fn() -> Duration>(mut self, clock: C) -> Result<Counters, NetError> {
        let mut buffer = vec![0; usize::from(DEVICE_MTU)];
        let mut next_turn = Duration::ZERO;
        let mut next_count = Duration::ZERO;
        while !self.handle.shared.stop.load(Ordering::Relaxed) {
            self.wait(clock(), next_turn)?;
            let woken = clock();
            let moved = self.read(&mut buffer, &clock)? + self.write_due(&clock);
            // A turn without work is the end of a pause: the next one waits for packets again.
            next_turn = if moved > 0 { woken + GRAIN } else { Duration::ZERO };
            if woken >= next_count {
                next_count = woken + COUNT_INTERVAL;
                self.count_drops()?;
            }
        }
        self.count_drops()?;
        Ok(self.handle.counters())
    }

    /// Sleeps until something was sent or is due, and under load until `next_turn` first.
    fn wait(&self, now: Duration, next_turn: Duration) -> Result<(), NetError> {
        let due = self.handle.lock().shaper.poll_timeout();
        let due_in = due.map_or(NAP_MAX, |due| due.saturating_sub(now).min(NAP_MAX));
        let pause = next_turn.saturating_sub(now);
        if !pause.is_zero() {
            // The next packets gather meanwhile and are then read in one turn.
            return sleep(pause, &mut []).map_err(failed("wait for packets"));
        }
        let readable = PollFlags::IN;
        let mut devices = [PollFd::new(&self.a, readable), PollFd::new(&self.b, readable)];
        sleep(due_in, &mut devices).map_err(failed("wait for packets"))
    }

    /// Takes what was sent on both sides, up to a turn's worth each.
    fn read<C: Fn() -> Duration>(&self, buffer: &mut [u8], clock: &C) -> Result<usize, NetError> {
        let mut count = 0;
        for (direction, device) in
            [(Direction::ToTarget, &self.a), (Direction::FromTarget, &self.b)]
        {
            for _ in 0..TURN_PACKETS {
                let received = device.receive(buffer).map_err(failed("read a device"))?;
                let Some(bytes) = received.and_then(|length| buffer.get(..length)) else { break };
                count += 1;
                self.shape(direction, device, bytes.to_vec(), clock());
            }
        }
        Ok(count)
    }

    /// Hands a packet to the shaper, and tells its sender when it was too big.
    fn shape(&self, direction: Direction, from: &Device, mut packet: Vec<u8>, now: Duration) {
        if !packet::is_for_one_host(&packet) {
            return;
        }
        let mut state = self.handle.lock();
        let told = state.shaper.mtu(direction).filter(|mtu| packet.len() > usize::from(mtu.get()));
        let told = told.and_then(|mtu| icmp::too_big(&packet, mtu));
        match direction {
            Direction::ToTarget => state.translation.outwards(&mut packet),
            Direction::FromTarget => {}
        }
        let admission = state.shaper.on_packet(now, direction, packet);
        drop(state);
        match (admission, told) {
            (Admission::TooBig { .. }, Some(message)) => {
                // A message that the kernel does not take is lost, as any message may be.
                drop(from.send(&message));
            }
            (Admission::TooBig { .. } | Admission::Taken | Admission::Dropped, _) => {}
        }
    }

    /// Writes all that is due, and says how many packets that was.
    fn write_due<C: Fn() -> Duration>(&self, clock: &C) -> usize {
        let mut count = 0;
        loop {
            let mut state = self.handle.lock();
            let Some((direction, mut packet)) = state.shaper.poll_output(clock()) else {
                return count;
            };
            count += 1;
            let (device, translated) = match direction {
                Direction::ToTarget => (&self.b, Translated::Kept),
                Direction::FromTarget => (&self.a, state.translation.inwards(&mut packet)),
            };
            match translated {
                Translated::Kept if device.send(&packet).is_err() => {
                    state.shaper.on_own_drops(direction, 1);
                }
                Translated::Kept => {}
                Translated::Forgotten => state.shaper.on_forgotten(direction),
            }
        }
    }

    /// Counts what the kernel dropped because it was not read in time.
    fn count_drops(&mut self) -> Result<(), NetError> {
        let to_target = self.a.drops().map_err(failed("count the drops"))?;
        let from_target = self.b.drops().map_err(failed("count the drops"))?;
        let shaper = &mut self.handle.lock().shaper;
        shaper.on_own_drops(Direction::ToTarget, to_target);
        shaper.on_own_drops(Direction::FromTarget, from_target);
        Ok(())
    }
}

/// Sleeps until one of the devices can be read or the time is over.
fn sleep(time: Duration, devices: &mut [PollFd<'_>]) -> io::Result<()> {
    let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(devices, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
