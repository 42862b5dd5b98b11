//! The vocabulary of Headland: what every other crate talks about, and nothing that touches the
//! outside.
//!
//! It holds ids, offsets, dots, clocks, records, batches in Kafka's RecordBatch v2 format, the
//! stamp a hub puts on what it ingests, promises about event time, and alerts. It does *not* do
//! I/O, read a clock, run a task, or know what a rule, a link or a stock level is.
//!
//! Main types: [`Record`] and [`Batch`], [`Dot`], [`Entry`] with its [`Stamp`], [`Promise`],
//! [`Alert`], [`KeyMap`].
//!
//! ```
//! use headland_event::{Batch, EventTime, Record};
//!
//! let time = EventTime::from_millis(1_291_190_760_000);
//! let record = Record::new(time, "till-3", "{\"quantity\":6}");
//! let batch = Batch::encode(&[record.clone()]).unwrap();
//! assert_eq!(batch.records().unwrap(), vec![record]);
//! ```

/// Names of regions, nodes and topics; ids, offsets and dots.
pub mod id;
/// Event time, monotonic time and sizes, as types.
pub mod time;
/// The bounds every node keeps, each with its reason.
pub mod limits;
/// Bounds-checked reading and writing of hand-drawn layouts.
pub mod codec;
/// Random numbers from a seed.
pub mod random;
/// The hash map whose order does not differ between runs.
pub mod keymap;
/// Keyed state that only grows, by the million.
pub mod roster;
/// W3C trace context.
pub mod trace;
/// Records and their headers.
pub mod record;
/// Schemas of what topics hold.
pub mod schema;
/// Kafka's RecordBatch v2.
pub mod batch;
/// Named holes: what stands in the place of records that were shed.
pub mod hole;
/// Hybrid logical clocks.
pub mod hlc;
/// Vector clocks over hub incarnations.
pub mod clock;
/// What is here of logs: their ends, and the gaps below them.
pub mod extent;
/// What the ingest hub says about a batch, and the entry a log keeps.
pub mod entry;
/// Promises about event time and verdicts on lateness.
pub mod progress;
/// Topics: lanes, roles and mirrored names.
pub mod topic;
/// Alerts and their ids.
pub mod alert;

pub use alert::{Alert, AlertId, AlertState, Coverage, Finality, NodeRule, Severity};
pub use batch::{Batch, BatchError, Codec, RecordRef};
pub use clock::{Actor, VectorClock};
pub use entry::{Entry, Stamp, VerdictAt};
pub use extent::{Extent, Gap, Gaps, Taken};
pub use hlc::{Hlc, HlcClock};
pub use hole::{DropPolicy, Hole};
pub use id::{
    AgentName, Alias, ChannelEpoch, ChannelId, CommitNumber, Dot, GroupEpoch, GroupName, HubName,
    Incarnation, NameError, Offset, OffsetDelta, PartitionIndex, RegionId, Sequence, StreamId,
    TopicName, TopicPartition,
};
pub use keymap::{KeyMap, KeySet};
pub use progress::{EventClock, Promise, Verdict};
pub use random::{Random, SeededRandom};
pub use record::{Header, Record};
pub use roster::Roster;
pub use schema::SchemaId;
pub use time::{ByteCount, EventTime, Monotonic, Now};
pub use topic::{Lane, aliased_name, mirrored_name};
pub use trace::TraceParent;
