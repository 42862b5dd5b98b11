//! The emulator between two network namespaces, as the binary offers it.
//!
//! It needs root and `/dev/net/tun`; without them each test says that it was skipped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use headland_wan::control::{Sides, tell};
use headland_wan::{Namespace, Net, Profile};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_headland-wan");

/// "Message too long": what a socket is told when a router says that its packet did not fit.
const EMSGSIZE: i32 = 90;

/// Whether this machine lets a test make namespaces; says so when it does not.
fn is_allowed(test: &str) -> bool {
    match Net::create(Profile::default(), 1) {
        Ok(_) => true,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            // Not `eprintln!`, whose output libtest keeps to itself when a test passes.
            let reason = cause.unwrap_or_default();
            let line = format!("skipped: {test}: {error}: {reason}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            false
        }
    }
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("headland-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file with a profile that is the same both ways.
    fn profile(&self, path: &str) -> String {
        let file = self.0.join("profile.toml");
        std::fs::write(&file, format!("[to_target]\n{path}\n[from_target]\n{path}\n")).unwrap();
        file.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn output(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

fn probed(profile: &str, seed: &str, what: &[&str]) -> Value {
    let arguments = [&["probe", "--profile", profile, "--seed", seed], what].concat();
    let output = output(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A network that `net up` made, and its end.
struct Running {
    child: Child,
    control: PathBuf,
    sides: Sides,
}

impl Running {
    fn up(folder: &Folder, profile: &str) -> Self {
        let control = folder.0.join("control");
        let mut child = Command::new(BINARY)
            .args(["net", "up", "--profile", profile, "--control"])
            .arg(&control)
            .arg("--report")
            .arg(folder.0.join("report"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Self { child, control, sides: serde_json::from_str(&ready).unwrap() }
    }

    fn tell(&self, line: &str) -> Value {
        tell(&self.control, line).unwrap()
    }

    /// A socket on each side, with a second of patience.
    fn sockets(&self) -> (UdpSocket, UdpSocket) {
        let socket = |side: &headland_wan::control::Side| {
            let address = (side.ipv4, 0);
            let namespace = Namespace::open(&side.namespace).unwrap();
            let socket = namespace.inside(|| UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let (a, b) = (socket(&self.sides.a), socket(&self.sides.b));
        a.connect(b.local_addr().unwrap()).unwrap();
        (a, b)
    }

    fn stop(mut self) -> ExitStatus {
        self.tell("\"stop\"");
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    /// A test that fails half-way leaves no network behind; one that has ended is no failure.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_round_trip_takes_the_delays_of_both_ways_and_never_less() {
    if !is_allowed("a_round_trip_takes_the_delays_of_both_ways_and_never_less") {
        return;
    }
    let folder = Folder::new("round-trip");
    let profile = folder.profile("delay = \"40ms\"");

    let found = probed(&profile, "1", &["round-trip", "--count", "10"]);

    let measured = &found["measured"];
    assert_eq!((&measured["asked"], &measured["answered"]), (&10.into(), &10.into()));
    assert!(measured["min_us"].as_u64().unwrap() >= 80_000, "{measured}");
}

#[test]
fn the_same_seed_drops_the_same_packets_and_another_one_others() {
    if !is_allowed("the_same_seed_drops_the_same_packets_and_another_one_others") {
        return;
    }
    let folder = Folder::new("loss");
    let profile = folder.profile("loss = \"3%\"");
    let lost = |seed: &str| probed(&profile, seed, &["loss", "--count", "4000"])["measured"].take();

    let (first, again, other) = (lost("7"), lost("7"), lost("8"));

    assert_eq!(first, again);
    assert_ne!(first["fingerprint"], other["fingerprint"]);
    // Five standard deviations of a binomial with n = 4,000 and p = 0.03 are 54.
    let count = first["lost"].as_u64().unwrap();
    assert!((66..=174).contains(&count), "{first}");
    assert_eq!(first["unexplained"], 0);
}

#[test]
fn commands_run_on_their_sides_and_the_code_of_side_a_is_the_exit_code() {
    if !is_allowed("commands_run_on_their_sides_and_the_code_of_side_a_is_the_exit_code") {
        return;
    }
    let output = output(&[
        "run",
        "--profile",
        "lan",
        "--b",
        "sleep 60",
        "--",
        "sh",
        "-c",
        "cat /proc/net/dev; echo $HEADLAND_WAN_A $HEADLAND_WAN_B; exit 3",
    ]);

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("wan0:"), "{said}");
    assert!(said.contains("10.77.1.1 10.77.2.1"), "{said}");
}

#[test]
fn a_cut_at_run_time_loses_packets_without_an_error_for_the_sender() {
    if !is_allowed("a_cut_at_run_time_loses_packets_without_an_error_for_the_sender") {
        return;
    }
    let folder = Folder::new("cut");
    let network = Running::up(&folder, "lan");
    let (a, b) = network.sockets();

    network.tell("{\"cut\":\"both\"}");
    for _ in 0..50 {
        a.send(b"during").unwrap();
    }
    while network.tell("\"report\"")["to_target"]["cut"] != 50 {
        std::thread::yield_now();
    }
    network.tell("{\"cut\":\"none\"}");
    a.send(b"after").unwrap();

    let mut buffer = [0; 16];
    let length = b.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"after");
    network.stop();
}

#[test]
fn a_change_of_address_shows_side_b_another_peer_that_it_can_answer() {
    if !is_allowed("a_change_of_address_shows_side_b_another_peer_that_it_can_answer") {
        return;
    }
    let folder = Folder::new("address");
    let network = Running::up(&folder, "lan");
    let (a, b) = network.sockets();
    let mut buffer = [0; 16];

    a.send(b"first").unwrap();
    let (_, before) = b.recv_from(&mut buffer).unwrap();
    network.tell("{\"address\":\"new\"}");
    a.send(b"second").unwrap();
    let (_, after) = b.recv_from(&mut buffer).unwrap();
    b.send_to(b"lost", before).unwrap();
    b.send_to(b"answer", after).unwrap();

    assert_eq!(before.ip().to_string(), "10.77.1.1");
    assert_eq!(after.ip().to_string(), "10.77.1.2");
    let length = a.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"answer");
    network.stop();
}

#[test]
fn a_sender_of_too_big_a_packet_is_told_the_mtu() {
    if !is_allowed("a_sender_of_too_big_a_packet_is_told_the_mtu") {
        return;
    }
    let folder = Folder::new("mtu");
    let network = Running::up(&folder, &folder.profile("mtu = 1400"));
    let (a, b) = network.sockets();
    // 28 bytes of headers come on top.
    let (fitting, too_big) = ([7; 1_372], [7; 1_373]);

    a.send(&too_big).unwrap();
    // What a connected socket is told comes with the first call after the router's message.
    let told = loop {
        if let Err(error) = a.send(b"until told") {
            break error;
        }
    };
    a.send(&fitting).unwrap();

    let mut buffer = [0; 2_000];
    let longest = loop {
        let length = b.recv(&mut buffer).unwrap();
        if length > 100 {
            break length;
        }
    };
    assert_eq!(told.raw_os_error(), Some(EMSGSIZE));
    assert_eq!(longest, fitting.len());
    network.stop();
}
