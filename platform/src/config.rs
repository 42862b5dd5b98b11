//! Configuration files in TOML, with errors that point at file, line and column.
//!
//! One file per process; an unknown key is refused with the nearest known one. Durations are
//! written `"5s"`, sizes `"4MiB"`, and relative paths start at the file's folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use headland_event::ByteCount;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
pub use serde_spanned::Spanned;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The text is not the configuration that was expected.
    #[error("{path}:{line}:{column}: {message}")]
    Text {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What was found and what would fit.
        message: String,
    },
}

/// A configuration with the place it came from, to resolve paths and point at values.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// What the file says.
    pub value: T,
    path: PathBuf,
    text: String,
}

impl<T> Loaded<T> {
    /// The path `relative` means in this file: relative ones start at the file's folder.
    #[must_use]
    pub fn resolve(&self, relative: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| relative.to_owned(), |folder| folder.join(relative))
    }

    /// The file it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error that points at a value of this file.
    #[must_use]
    pub fn error_at<S>(&self, value: &Spanned<S>, message: impl Into<String>) -> ConfigError {
        text_error(&self.path, &self.text, value.span().start, message.into())
    }
}

/// `[tls]`: PEM files; relative paths start at the configuration's folder. They are read again
/// when they change: a new certificate is shown from the next connection on, and a link whose
/// peer is believed no more is closed within seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The authority's certificate.
    pub ca_file: PathBuf,
    /// The node's certificate.
    pub certificate_file: PathBuf,
    /// The node's private key; keep it at mode 0600.
    pub key_file: PathBuf,
    /// Revocation lists, one for every authority in `ca_file`, made by `headland pki revoke`;
    /// absent means that nothing is ever revoked (default).
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
}

impl TlsConfig {
    /// The paths, to resolve them.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { ca_file, certificate_file, key_file, crl_file } = self;
        [ca_file, certificate_file, key_file].into_iter().chain(crl_file)
    }

    /// The paths, to watch them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let Self { ca_file, certificate_file, key_file, crl_file } = self;
        [ca_file, certificate_file, key_file].into_iter().chain(crl_file).map(PathBuf::as_path)
    }
}

/// `[api]`: HTTP on a Unix socket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Path of the socket; it is made with mode 0600.
    #[serde(deserialize_with = "some_path")]
    pub socket: PathBuf,
}

/// Reads a configuration file.
///
/// # Errors
/// [`ConfigError`] with file, line and column when it is absent, not TOML, lacks a value, or has
/// one that does not fit.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, text)
}

/// Reads a configuration from text; `path` is what its errors name.
///
/// # Errors
/// As [`load`], but for reading the file.
pub fn parse<T: DeserializeOwned>(path: &Path, text: String) -> Result<Loaded<T>, ConfigError> {
    match toml::from_str(&text) {
        Ok(value) => Ok(Loaded { value, path: path.to_owned(), text }),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            Err(text_error(path, &text, start, with_nearest(error.message())))
        }
    }
}

/// Whether a text is `host:port`, where an IPv6 address stands in brackets.
#[must_use]
pub fn has_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    // An IPv6 address stands in brackets, else its last group would pass for a port.
    let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What is wrong with an address for which [`has_host_and_port`] does not hold.
#[must_use]
pub fn without_port(address: &str) -> String {
    let bare = address.split_once("://").map_or(address, |(_, bare)| bare);
    let host = match (bare.parse::<std::net::Ipv6Addr>(), bare.strip_prefix('[')) {
        (Ok(_), _) => format!("[{bare}]"),
        (_, Some(rest)) => {
            rest.split_once(']').map_or_else(String::new, |(host, _)| format!("[{host}]"))
        }
        _ => bare.split([':', '/']).next().unwrap_or_default().to_owned(),
    };
    let host = if host.is_empty() { "hub.example".to_owned() } else { host };
    format!("address {address:?} is not host:port; expected such as \"{host}:4433\"")
}

fn text_error(path: &Path, text: &str, start: usize, message: String) -> ConfigError {
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    ConfigError::Text { path: path.to_owned(), line, column, message }
}

/// Adds "did you mean" to serde's message about an unknown field or variant.
fn with_nearest(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((found, known)) = names.split_first().filter(|_| message.starts_with("unknown"))
    else {
        return message.to_owned();
    };
    match nearest(found, known.iter().copied()) {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.to_owned(),
    }
}

/// The known name closest to `found`, when at most a third of its letters differ.
#[must_use]
pub fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(found, name), name))
        .filter(|(distance, name)| *distance * 3 <= name.len().max(found.len()))
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance, O(n·m) time and O(m) memory.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, a) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut last = above + 1;
        let mut next = vec![last];
        for (b, up) in right.chars().zip(row.iter().skip(1)) {
            last = (last + 1).min(up + 1).min(diagonal + usize::from(a != b));
            diagonal = *up;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// A duration written as a number and a unit: `"250ms"`, `"5s"`, `"10m"`, `"72h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DurationText(Duration);

impl DurationText {
    /// Wraps a duration, for defaults.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for DurationText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        quantity(text, &units)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is not a duration such as \"250ms\", \"5s\", \"72h\""))
    }
}

impl TryFrom<String> for DurationText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A size written as a number and a unit: `"512B"`, `"64KiB"`, `"4MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SizeText(ByteCount);

impl SizeText {
    /// Wraps a size, for defaults.
    #[must_use]
    pub const fn new(size: ByteCount) -> Self {
        Self(size)
    }

    /// The size.
    #[must_use]
    pub const fn get(self) -> ByteCount {
        self.0
    }
}

impl FromStr for SizeText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
        quantity(text, &units)
            .map(|bytes| Self(ByteCount::new(bytes)))
            .ok_or_else(|| format!("{text:?} is not a size such as \"512B\", \"4MiB\", \"2GiB\""))
    }
}

impl TryFrom<String> for SizeText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// For `deserialize_with`: a path that names something. An empty one would mean the folder of the
/// configuration itself.
///
/// # Errors
/// When it is empty.
pub fn some_path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.as_os_str().is_empty() {
        return Err(D::Error::custom("the path is empty; expected such as \"data\""));
    }
    Ok(path)
}

/// For `deserialize_with`: a size above nothing.
///
/// # Errors
/// When it is 0.
pub fn some_size<'de, D: Deserializer<'de>>(from: D) -> Result<SizeText, D::Error> {
    let size = SizeText::deserialize(from)?;
    if size.get() == ByteCount::default() {
        return Err(D::Error::custom("nothing has room in 0 bytes; expected such as \"64MiB\""));
    }
    Ok(size)
}

/// For `deserialize_with`: a duration above nothing.
///
/// # Errors
/// When it is 0.
pub fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<DurationText, D::Error> {
    let time = DurationText::deserialize(from)?;
    if time.get().is_zero() {
        return Err(D::Error::custom("no time is none that can pass; expected such as \"5s\""));
    }
    Ok(time)
}

/// For `deserialize_with`: where traces go, an address over plain HTTP.
///
/// # Errors
/// When it does not begin with `http://`: exporters speak no TLS.
pub fn some_endpoint<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let endpoint = String::deserialize(from)?;
    if endpoint.starts_with("http://") {
        return Ok(endpoint);
    }
    let text = "is no address over plain HTTP, which is what traces go over; expected such as \
                \"http://127.0.0.1:4318/v1/traces\"";
    Err(D::Error::custom(format_args!("{endpoint:?} {text}")))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_is_told_with_one() {
        let told = ["hub.example", "::1", ":4433"].map(without_port);

        assert_eq!(
            told[0],
            "address \"hub.example\" is not host:port; expected such as \"hub.example:4433\""
        );
        assert!(told[1].ends_with("expected such as \"[::1]:4433\""), "{}", told[1]);
        assert!(told[2].ends_with("expected such as \"hub.example:4433\""), "{}", told[2]);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        region: Spanned<String>,
        #[serde(default)]
        keepalive: Option<DurationText>,
    }

    /// What may not be nothing.
    #[derive(Debug, Deserialize)]
    struct Something {
        #[serde(default = "data", deserialize_with = "some_path")]
        data_dir: PathBuf,
        #[serde(default = "minute", deserialize_with = "some_time")]
        keep: DurationText,
        #[serde(default = "kibibyte", deserialize_with = "some_size")]
        room: SizeText,
        #[serde(default, deserialize_with = "some_endpoint")]
        traces: String,
    }

    fn something(text: &str) -> Result<Loaded<Something>, ConfigError> {
        parse(Path::new("etc/hub.toml"), text.to_owned())
    }

    fn data() -> PathBuf {
        "data".into()
    }

    fn minute() -> DurationText {
        DurationText::new(Duration::from_mins(1))
    }

    fn kibibyte() -> SizeText {
        SizeText::new(ByteCount::new(1 << 10))
    }

    #[test]
    fn what_would_be_nothing_is_refused_where_it_stands() {
        let refused = |line: &str| {
            let told = something(&format!("\n{line}\n")).unwrap_err().to_string();
            assert!(told.starts_with("etc/hub.toml:2:"), "{told}");
            told
        };

        assert!(refused("data_dir = \"\"").contains("the path is empty"));
        assert!(refused("keep = \"0s\"").contains("such as \"5s\""));
        assert!(refused("room = \"0B\"").contains("such as \"64MiB\""));
        assert!(refused("traces = \"nope\"").contains("\"nope\" is no address over plain HTTP"));
        assert!(refused("traces = \"https://c\"").contains("plain HTTP"));
        let fits = "data_dir = \"d\"\nkeep = \"1ms\"\nroom = \"1B\"\n";
        let fits = something(&format!("{fits}traces = \"http://c\"\n")).unwrap().value;
        assert_eq!((fits.data_dir, fits.traces), ("d".into(), "http://c".to_owned()));
        assert_eq!((fits.keep.get(), fits.room.get().get()), (Duration::from_millis(1), 1));
    }

    fn read(text: &str) -> Result<Loaded<Example>, ConfigError> {
        parse(Path::new("etc/hub.toml"), text.to_owned())
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_known_one() {
        let error = read("region = \"eu\"\nkeepalife = \"5s\"\n").unwrap_err();

        assert_eq!(
            error.to_string(),
            "etc/hub.toml:2:1: unknown field `keepalife`, expected `region` or `keepalive`; \
             did you mean `keepalive`?"
        );
    }

    #[test]
    fn a_missing_value_is_named() {
        let error = read("keepalive = \"5s\"\n").unwrap_err();

        assert_eq!(error.to_string(), "etc/hub.toml:1:1: missing field `region`");
    }

    #[test]
    fn a_wrong_duration_says_what_would_fit() {
        let error = read("region = \"eu\"\nkeepalive = \"5 seconds\"\n").unwrap_err();

        assert_eq!(
            error.to_string(),
            "etc/hub.toml:2:13: \"5 seconds\" is not a duration such as \"250ms\", \"5s\", \"72h\""
        );
    }

    #[test]
    fn a_value_can_be_pointed_at_and_a_path_starts_at_the_files_folder() {
        let loaded = read("\nregion = \"e u\"\n").unwrap();

        let error = loaded.error_at(&loaded.value.region, "not a region");

        assert_eq!(error.to_string(), "etc/hub.toml:2:10: not a region");
        assert_eq!(loaded.resolve(Path::new("ca.pem")), Path::new("etc/ca.pem"));
        assert_eq!(loaded.value.keepalive, None);
    }

    #[test]
    fn units_are_exact() {
        assert_eq!("72h".parse::<DurationText>().unwrap().get(), Duration::from_secs(259_200));
        assert_eq!("4MiB".parse::<SizeText>().unwrap().get(), ByteCount::mebibytes(4));
        assert!("4MB".parse::<SizeText>().is_err());
        assert!("18446744073709551615h".parse::<DurationText>().is_err());
    }

    #[test]
    fn a_name_too_different_is_not_suggested() {
        assert_eq!(nearest("colour", ["color", "size"].into_iter()), Some("color"));
        assert_eq!(nearest("x", ["color", "size"].into_iter()), None);
    }
}
