//! The hub's behaviour towards its log, its peers and time: in memory, without a clock.

/// Whether the log holds what was written.
mod audit;
/// What the audit says of what damage took and came back.
mod audit_damage;
/// Agents' logs that end before where they are here.
mod gone_back;
/// What is derived from a commit.
mod derivation;
/// A hub on a disk in memory.
mod hub;
/// What waits while the disk is full.
mod fullness;
/// What damage takes from the log.
mod damage;
/// Holes that peers name.
mod holes;
/// What peers deliver and promise.
mod intake;
/// Who may connect.
mod peers;
/// What operators ask of links, and how these do.
mod flow;
/// What is acknowledged once other regions hold it.
mod acks;
mod acks_gone;
/// How far consumer groups have read.
mod groups;
/// The same when the hub whose log they read begins a new life.
mod lives;
/// Leaving a region for another one.
mod failover;
mod leases;
/// Decisions about late events.
mod review;
/// The same of many late events, in regions that are cut off from each other.
mod review_apart;
/// Reservations at hubs that are cut off from each other.
mod escrow;
/// Which lives of hubs take part.
mod members;
/// What is handed on of lives that are over.
mod handing;
/// The same of rights to sell and of committed offsets.
mod handing_others;
/// What a region gets back of its former lives beside that.
mod giving_back;
/// What groups had read before a hub began its life.
mod coming_back;
/// Parts of logs that come before an earlier part.
mod early;
/// What compaction left out of logs.
mod cuts;
/// What damage takes from logs of inventory, and what comes back.
mod lost;
/// What damage takes from other topics, and what comes back.
mod holding;
mod refills;
/// The same at the end of a copy.
mod lost_ends;
/// What no hub has, and agents keep.
mod resent;
/// Damage that nobody reads but the hub itself.
mod scrub;
/// What another place of the log has of it.
mod copies;
/// What a hub counted and its log lost since.
mod counted;
/// Hubs in any layout that lose disks and links.
mod layouts;
/// Schemas of what a hub derives.
mod schemas;
/// What a hub takes up from its log.
mod recovery;
/// What retention takes away.
mod retention;
/// What compaction by key takes away.
mod compaction;
/// What copies take over of how topics are kept where they were born.
mod settings;
/// Topics whose partitions grow while agents write.
mod growth;
/// What copies are called, and that a region is called something else while records flow.
mod names;
/// Records that say that a hub is there.
mod heartbeats;
/// A restart from a snapshot.
mod snapshot;
/// Agents and hubs at the other end of a link.
mod remote;
