//! Lines of JSON that are known from their number alone.

use std::io::Write;

use anyhow::{Context, Result};

/// 2026-11-21T00:00:00Z.
const START_SECONDS: u64 = 20_778 * 86_400;

/// Readings of devices that each report once a second, in the order of time and within a second in
/// an order of their own: device, value from 0 to 9, time. With keys of three digits a line has 44
/// bytes.
#[derive(Debug)]
pub(crate) struct Lines {
    devices: u64,
    digits: usize,
    next: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) const fn new(devices: u64, digits: usize) -> Self {
        Self { devices, digits, next: 0, text: Vec::new(), ends: Vec::new() }
    }

    /// Makes the next `count` lines; they replace the last ones.
    pub(crate) fn make(&mut self, count: usize) -> Result<()> {
        self.text.clear();
        self.ends.clear();
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            let second = START_SECONDS + number / self.devices;
            // A prime that divides no number of devices here: so every second names each once.
            let device = (number % self.devices) * 7_919 % self.devices;
            let value = spread(number) % 10;
            let digits = self.digits;
            let (hour, minute) = (second / 3_600 % 24, second / 60 % 60);
            let day = 21 + (second - START_SECONDS) / 86_400;
            write!(
                self.text,
                r#"{{"d":"{device:0digits$}","v":{value},"t":"2026-11-{day:02}T{hour:02}:"#
            )
            .and_then(|()| write!(self.text, r#"{minute:02}:{:02}Z"}}"#, second % 60))
            .context("memory takes all that is written")?;
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    /// The lines made last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.text.get(start..*end))
    }
}

/// A number that looks random: the finalizer of SplitMix64.
const fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_three_digits_has_44_bytes() {
        let mut lines = Lines::new(100, 3);

        lines.make(102).unwrap();

        let all: Vec<_> = lines.iter().map(|line| str::from_utf8(line).unwrap()).collect();
        assert!(all.iter().all(|line| line.len() == 44), "{all:?}");
        assert!(all[0].starts_with(r#"{"d":"000","v":"#), "{}", all[0]);
        assert!(all[0].ends_with(r#","t":"2026-11-21T00:00:00Z"}"#), "{}", all[0]);
        assert!(all[101].contains(r#""d":"019""#) && all[101].ends_with("00:00:01Z\"}"));
    }
}
