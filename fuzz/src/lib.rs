//! What must hold for any bytes, for every decoder that the wire reaches.
//!
//! Each function takes bytes as a peer could send them and panics when a promise is broken; bytes
//! that are refused are fine. `tests/bounds.rs` feeds them golden frames with damage and counts
//! what they allocate, in every run of CI; for longer:
//!
//! ```text
//! PROPTEST_CASES=1000000 cargo test --release --package headland-fuzz --test bounds
//! ```
//! A libFuzzer target needs one line: `fuzz_target!(|bytes: &[u8]| headland_fuzz::frame(bytes))`.
//!
//! It does *not* look at what the bytes mean: that is for the link's own tests.
//!
//! ```
//! headland_fuzz::frame(b"\x01\x07\0\0\0\x03\0\0\0\0\0\0\0\x63");
//! ```

use bytes::Bytes;
use headland_event::Batch;
use headland_platform::tls::peer_id;
use headland_replication::Frame;
use rustls_pki_types::CertificateDer;

/// One frame: what decodes is encoded to the same bytes, so that no two readings of one frame
/// exist.
///
/// # Panics
/// When a frame that was read is written otherwise.
pub fn frame(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(frame) = Frame::decode(bytes.clone()) {
        assert_eq!(frame.encode().as_ref(), Ok(&bytes), "a frame has one encoding");
        match frame {
            Frame::Data(data) => read(&data.entry.batch),
            Frame::Copies(copies) => {
                copies.entries.iter().for_each(|data| read(&data.entry.batch));
            }
            Frame::RefillPart(part) => {
                part.entry.iter().for_each(|entry| read(&entry.batch));
            }
            Frame::Hello(_)
            | Frame::Announce(_)
            | Frame::Position(_)
            | Frame::Refuse(_)
            | Frame::Ack(_)
            | Frame::Head(_)
            | Frame::Keepalive(_)
            | Frame::Promise(_)
            | Frame::Goodbye(_)
            | Frame::Lease(_)
            | Frame::RefillAsk(_)
            | Frame::Passed(_) => {}
        }
    }
}

/// One batch, down to its records; those of a compressed one as well.
///
/// # Panics
/// When it holds other records than it says.
pub fn batch(bytes: &[u8]) {
    if let Ok(batch) = Batch::decode(Bytes::copy_from_slice(bytes)) {
        read(&batch);
    }
}

fn read(batch: &Batch) {
    if let Ok(records) = batch.records() {
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        assert!(count <= batch.span(), "{count} records in {} offsets", batch.span());
    }
}

/// A peer's certificate: the first thing that is read of it, before anybody is known.
///
/// # Panics
/// When who it names has another text than that of the certificate.
pub fn certificate(bytes: &[u8]) {
    let id = peer_id(&CertificateDer::from_slice(bytes));
    if let Some(id) = id {
        assert_eq!(id.to_string().parse().as_ref(), Ok(&id), "an id has one text");
    }
}
