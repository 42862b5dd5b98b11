//! Inventory that regions agree on: the same set of events gives the same stock everywhere.
//!
//! A [`Reconciler`] reads stamped events of every region's `inventory.events` and keeps, per
//! (sku, location), what is in stock, and per (sku, attribute), what is written on the label. What
//! it keeps is a function of the *set* of events, never of the order in which they arrive: cells
//! are CRDTs, order between writes is causal (vector clocks) and only real concurrency is broken
//! by hybrid clocks, and of several copies of one delivery the smallest position counts whichever
//! came first. Whatever does not count goes to exactly one side output.
//!
//! It does *not* know a network, a journal, SQL or tokio; it reads no clock and has no timer, so
//! there is no `poll_timeout`.
//!
//! Main types: [`InventoryEvent`], [`Reconciler`] with [`Input`] and [`Output`], [`Cells`].
//!
//! ```
//! use bytes::Bytes;
//! use headland_event::{
//!     Actor, EventTime, Extent, Hlc, Incarnation, Offset, PartitionIndex, RegionId, Verdict,
//! };
//! use headland_reconcile::{Config, Input, Locality, Location, Output, Reconciler, Sku};
//!
//! let region = RegionId::new("eu").unwrap();
//! let mut reconciler = Reconciler::new(Config::new(region.clone(), 0), 7);
//! let now = EventTime::from_millis(1_291_190_760_000);
//! reconciler.on_event(Input {
//!     actor: &Actor {
//!         region,
//!         incarnation: Incarnation::new(1, 42),
//!         partition: PartitionIndex::new(0),
//!     },
//!     offset: Offset::new(0),
//!     hlc: Hlc::new(now, 0),
//!     context: &Extent::default(),
//!     verdict: Verdict::OnTime,
//!     locality: Locality::Local,
//!     captured_at: now,
//!     detected_at: now,
//!     value: &Bytes::from_static(
//!         br#"{"id":"eu-1/1","kind":"restock","device":"eu-1-till","sku":"85123A",
//!              "location":"eu-1","quantity":6,"time":"2010-12-01T08:26:00Z"}"#,
//!     ),
//! });
//!
//! let Some(Output::Posting(moved)) = reconciler.poll_output() else { panic!("no postings") };
//! assert_eq!(moved.postings.map(|posting| posting.units), [6, -6]);
//! assert!(matches!(reconciler.poll_output(), Some(Output::Stock(stock)) if stock.units == 6));
//! let (sku, location) = (Sku::new("85123A").unwrap(), Location::new("eu-1").unwrap());
//! assert_eq!(reconciler.stock(&sku, &location), Some(6));
//! ```

/// Names that occur in inventory events, as checked types.
pub mod name;
/// Accounts, and movements between them as postings that sum to 0.
pub mod ledger;
/// Inventory events, parsed once from JSON.
pub mod event;
/// Where a copy of an event stands in its hub's log.
pub mod position;
/// Event time in whole seconds.
pub mod second;
/// Actors by number.
mod actor;
/// Deliveries: which copy of each counts.
pub mod delivery;
/// Counters per actor that remember what they were at any cut.
pub mod cell;
/// The cells of one shelf, small as long as one log writes to it.
mod tally;
/// Writes of one key under causality.
pub mod register;
/// What writers had not seen, shared.
mod unseen;
/// Late events under review, and what was decided about them.
pub mod review;
/// Stock of one sku in one account.
pub mod shelf;
/// What customers take from a shelf by day, and how long stock lasts.
pub mod demand;
/// Every sku with its shelves and attributes.
pub mod catalogue;
/// The canonical state and its fingerprint.
pub mod fingerprint;
/// Derived records and their JSON.
pub mod output;
/// The core: events in, derived records out.
pub mod reconciler;
/// The core's state as bytes.
pub mod snapshot;
/// Rights to sell, so that no unit is sold twice.
pub mod escrow;
/// Which lives take part, and what all of them have seen.
pub mod membership;

pub use catalogue::{AttributeView, ProductView};
pub use cell::{Asked, Cells, Seen};
pub use demand::Cover;
pub use escrow::{
    Answer, Escrow, EscrowConfig, EscrowOutput, EscrowRecord, EscrowRecordError, Holder, Units,
    UnitsError,
};
pub use event::{Decision, Effective, EventBody, InventoryEvent, RejectReason, Ruling};
pub use ledger::{Account, Movement, MovementKind, Posting};
pub use membership::{
    Acceptance, HeldGap, Lacking, MemberChange, MemberRecord, MemberReport, MemberStanding,
    Membership, OtherLogs, SignedChange,
};
pub use name::{
    AttributeName, AttributeValue, DeliveryId, DeviceName, Location, ReasonText, RequestId,
    ReviewId, Reviewer, Sku, TextError, UnitName,
};
pub use output::{
    AccountingWindow, AttributeRecord, ConflictRecord, ConflictSide, ConflictSubject,
    ConflictValue, DecisionRecord, DerivedTopic, Disputed, DuplicateRecord, LateRecord, Output,
    OverlapRecord, PostingRecord, RejectedRecord, Retraction, ReviewEntry, ReviewRecord,
    StockRecord, StocktakeRecord,
};
pub use position::Position;
pub use reconciler::{
    Config, Input, KnownSkus, Locality, Prepared, READ_AHEAD, Reconciler, VoidStocktake,
};
pub use second::Second;
pub use snapshot::RestoreError;
