//! What a lost datagram costs records that trickle: two transports with our settings, in virtual
//! time, so that no machine's load decides.
#![expect(clippy::disallowed_types, reason = "quinn takes std's Instant, moved by the test alone")]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use headland_event::{Lane, Random, SeededRandom};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Dir, StreamId};
use quinn_proto::{Connection, ConnectionHandle, DatagramEvent, Endpoint};

use super::*;
use crate::trailing::{Trail, TrailOutput};

/// Certificates.
#[path = "../../../tests/fleet/mod.rs"]
mod fleet;

const ONE_WAY: Duration = Duration::from_millis(40);
/// The grain of time.
const STEP: Duration = Duration::from_millis(1);
/// 1,000 records a second: two of 200 bytes in each frame, which goes to one of eight streams.
const INTERVAL: Duration = Duration::from_millis(2);
const FRAME: [u8; 550] = [7; 550];
const STREAMS_OF_A_LANE: usize = 8;
/// Far more than a record may take: a loss that is never made good ends the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a datagram of so many bytes is lost.
type Loss = Box<dyn FnMut(usize) -> bool>;

/// One direction of the path.
struct Way {
    is_lost: Loss,
    waiting: VecDeque<(Instant, BytesMut)>,
}

impl Way {
    fn clean() -> Self {
        Self { is_lost: Box::new(|_| false), waiting: VecDeque::new() }
    }

    fn send(&mut self, now: Instant, datagrams: Vec<BytesMut>) {
        for datagram in datagrams {
            if !(self.is_lost)(datagram.len()) {
                self.waiting.push_back((now + ONE_WAY, datagram));
            }
        }
    }

    fn arrived(&mut self, now: Instant) -> Vec<BytesMut> {
        let due = self.waiting.iter().take_while(|(at, _)| *at <= now).count();
        self.waiting.drain(..due).map(|(_, datagram)| datagram).collect()
    }
}

/// Loses one datagram of a hundred.
fn losing(seed: u64) -> Loss {
    let mut random = SeededRandom::new(seed);
    Box::new(move |_| random.below(100) == 0)
}

/// Loses one datagram of at least `bytes`: the one with this number of them, from now on.
fn losing_number(lost: usize, bytes: usize) -> Loss {
    let mut sent = 0;
    Box::new(move |length| {
        sent += usize::from(length >= bytes);
        sent == lost && length >= bytes
    })
}

/// One transport.
struct End {
    endpoint: Endpoint,
    address: SocketAddr,
    connection: Option<(ConnectionHandle, Connection)>,
    gauge: Arc<Gauge>,
}

impl End {
    fn server(fleet: &fleet::Fleet, address: SocketAddr, peer: SocketAddr) -> Self {
        let gauge = Arc::new(Gauge::default());
        let crypto = QuicServerConfig::try_from(fleet.server()).unwrap();
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(peer, Windows::hub(), gauge.clone())));
        let endpoint = Endpoint::new(Arc::default(), Some(Arc::new(config)), false, Some([1; 32]));
        Self { endpoint, address, connection: None, gauge }
    }

    fn client(fleet: &fleet::Fleet, address: SocketAddr, peer: SocketAddr, now: Instant) -> Self {
        let gauge = Arc::new(Gauge::default());
        let crypto = QuicClientConfig::try_from(fleet.client()).unwrap();
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(peer, Windows::hub(), gauge.clone())));
        let mut endpoint = Endpoint::new(Arc::default(), None, false, Some([2; 32]));
        let connection = Some(endpoint.connect(now, config, peer, "hub-1").unwrap());
        Self { endpoint, address, connection, gauge }
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().unwrap().1
    }

    /// Takes what can be read of a stream; says how many bytes that were.
    fn read(&mut self, id: StreamId) -> usize {
        let mut stream = self.connection().recv_stream(id);
        // One of which nothing has arrived is not known.
        let Ok(mut chunks) = stream.read(true) else { return 0 };
        let mut bytes = 0;
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            bytes += chunk.bytes.len();
        }
        // Flow control goes out with the acknowledgements.
        drop(chunks);
        bytes
    }

    /// Takes what arrived and gives what is to be sent.
    fn step(&mut self, now: Instant, arrived: Vec<BytesMut>, from: SocketAddr) -> Vec<BytesMut> {
        let mut out = Vec::new();
        for datagram in arrived {
            let mut buffer = Vec::new();
            match self.endpoint.handle(now, from, None, None, datagram, &mut buffer) {
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    self.connection().handle_event(event);
                }
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let accepted = self.endpoint.accept(incoming, now, &mut buffer, None);
                    self.connection = Some(accepted.ok().unwrap());
                }
                Some(DatagramEvent::Response(_)) => out.push(BytesMut::from(&buffer[..])),
                None => {}
            }
        }
        let Some((handle, connection)) = &mut self.connection else { return out };
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        loop {
            let mut buffer = Vec::new();
            let Some(_) = connection.poll_transmit(now, 1, &mut buffer) else { return out };
            out.push(BytesMut::from(&buffer[..]));
        }
    }
}

/// A sender, a receiver, and the path between them.
struct Pair {
    now: Instant,
    sender: End,
    receiver: End,
    to_receiver: Way,
    to_sender: Way,
    trails: Trails,
    trail: Trail,
    look_at: Instant,
}

impl Pair {
    /// Connects over a path that loses nothing yet.
    fn connected(trails: Trails) -> Self {
        let fleet = fleet::Fleet::new();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        #[expect(clippy::disallowed_methods, reason = "quinn's traits take nothing else")]
        let now = Instant::now();
        let sender = End::client(&fleet, address(1), address(2), now);
        let receiver = End::server(&fleet, address(2), address(1));
        let (to_receiver, to_sender) = (Way::clean(), Way::clean());
        let mut pair = Self {
            now,
            sender,
            receiver,
            to_receiver,
            to_sender,
            trails,
            trail: Trail::default(),
            look_at: now,
        };
        while pair.sender.connection().is_handshaking() {
            pair.exchange();
            pair.now += STEP;
        }
        pair
    }

    /// Moves what is due at this moment.
    fn exchange(&mut self) {
        let (from, to) = (self.sender.address, self.receiver.address);
        let arrived = self.to_sender.arrived(self.now);
        self.to_receiver.send(self.now, self.sender.step(self.now, arrived, to));
        let arrived = self.to_receiver.arrived(self.now);
        self.to_sender.send(self.now, self.receiver.step(self.now, arrived, from));
    }

    /// What `Connection::probe_trails` does.
    fn probe_trails(&mut self, sent: usize) {
        while self.trails == Trails::Probed && self.look_at <= self.now {
            let round_trip = self.sender.connection().rtt();
            match self.trail.on_look(u64::try_from(sent).unwrap(), round_trip) {
                TrailOutput::Rest => return,
                TrailOutput::Wait(pause) => self.look_at = self.now + pause,
                TrailOutput::Probe => {
                    let mut datagrams = self.sender.connection().datagrams();
                    datagrams.send(Bytes::from_static(&[0]), true).unwrap();
                }
            }
        }
    }

    /// Sends `count` frames, each when it is due; what each took to arrive, all before it in its
    /// stream included.
    fn trickle(&mut self, count: usize, interval: Duration) -> Vec<Duration> {
        let began_at = self.now;
        let due: Vec<Instant> = (0..count).map(|at| began_at + interval * number(at)).collect();
        let open = |_| self.sender.connection().streams().open(Dir::Uni).unwrap();
        let streams: Vec<StreamId> = (0..STREAMS_OF_A_LANE).map(open).collect();
        let mut received = vec![0_usize; streams.len()];
        let (mut sent, mut ages) = (0, Vec::new());
        while ages.len() < count {
            while sent < count && due[sent] <= self.now {
                let window = self.sender.gauge.held_bytes_limit(Lane::Telemetry);
                self.sender.connection().set_send_window(window);
                let mut stream =
                    self.sender.connection().send_stream(streams[sent % streams.len()]);
                assert_eq!(
                    stream.write(&FRAME),
                    Ok(FRAME.len()),
                    "nothing waits before it is sent"
                );
                sent += 1;
            }
            self.probe_trails(sent);
            self.exchange();
            for (at, stream) in streams.iter().enumerate() {
                let before = received[at] / FRAME.len();
                received[at] += self.receiver.read(*stream);
                let frames = before..received[at] / FRAME.len();
                ages.extend(frames.map(|frame| self.now - due[frame * streams.len() + at]));
            }
            self.now += STEP;
            assert!(self.now < began_at + interval * number(count) + PATIENCE, "{received:?}");
        }
        ages
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap()
}

/// The smallest age that `percent` of them do not exceed.
fn quantile(ages: &mut [Duration], percent: usize) -> Duration {
    ages.sort_unstable();
    ages[(ages.len() * percent).div_ceil(100) - 1]
}

#[test]
fn records_that_trickle_over_a_clean_path_take_one_way() {
    let ages = Pair::connected(Trails::Probed).trickle(2_000, INTERVAL);

    assert_eq!(ages.into_iter().max(), Some(ONE_WAY));
}

#[test]
fn one_lost_datagram_delays_one_stream_by_a_round_trip() {
    let mut pair = Pair::connected(Trails::Probed);
    pair.to_receiver.is_lost = losing_number(1_000, FRAME.len());

    let ages = pair.trickle(2_000, INTERVAL);

    // By the third datagram after it the receiver has said that one is missing.
    let delayed: Vec<_> = ages.into_iter().filter(|age| *age > ONE_WAY).collect();
    assert!(delayed.iter().max() <= Some(&(3 * ONE_WAY + 5 * INTERVAL)), "{delayed:?}");
    assert!((5..=7).contains(&delayed.len()), "{delayed:?}");
}

#[test]
fn one_lost_acknowledgement_delays_nothing() {
    let mut pair = Pair::connected(Trails::Probed);
    pair.to_sender.is_lost = losing_number(300, 0);

    let ages = pair.trickle(2_000, INTERVAL);

    assert_eq!(ages.into_iter().max(), Some(ONE_WAY));
}

/// What the records took that took longer than one way, of a hundred a second apart: the fiftieth
/// is lost.
fn delays_of_a_lone_record(trails: Trails) -> Vec<Duration> {
    let mut pair = Pair::connected(trails);
    pair.to_receiver.is_lost = losing_number(50, FRAME.len());
    let ages = pair.trickle(100, Duration::from_secs(1));
    ages.into_iter().filter(|age| *age > ONE_WAY).collect()
}

#[test]
fn a_lost_record_that_only_a_probe_follows_costs_one_round_trip_and_a_moment() {
    let delayed = delays_of_a_lone_record(Trails::Probed);

    let [delayed] = delayed[..] else { panic!("{delayed:?}") };
    assert!(delayed <= 3 * ONE_WAY + Duration::from_millis(25), "{delayed:?}");
}

#[test]
fn a_lost_record_that_nothing_follows_costs_another_round_trip() {
    let delayed = delays_of_a_lone_record(Trails::Left);

    // quinn's first probe is a ping, whose answer says what is missing.
    let [delayed] = delayed[..] else { panic!("{delayed:?}") };
    assert!(delayed >= 5 * ONE_WAY, "{delayed:?}: the transport has become better than trails are");
    assert!(delayed <= 5 * ONE_WAY + Duration::from_millis(40), "{delayed:?}");
}

#[test]
fn at_one_percent_of_loss_99_of_100_records_take_one_way_and_little_more_than_a_round_trip() {
    for seed in 1..=3 {
        let mut pair = Pair::connected(Trails::Probed);
        pair.to_receiver.is_lost = losing(seed);
        pair.to_sender.is_lost = losing(seed + 100);

        let mut ages = pair.trickle(5_000, INTERVAL);

        let found = [50, 99].map(|percent| quantile(&mut ages, percent));
        assert_eq!(found[0], ONE_WAY, "seed {seed}");
        assert!(found[1] <= 3 * ONE_WAY + 10 * INTERVAL, "{found:?}, seed {seed}");
    }
}
