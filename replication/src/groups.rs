//! Consumer groups: how far each has read, the same in every region.
//!
//! A committed offset is kept in the numbers of the partition's origin, so that it means the same
//! record everywhere ([`crate::checkpoint`] translates it into a mirror's). It is an epoch and, of
//! each life of the origin, the offset of the next record to read ([`ReadTo`]); the higher epoch
//! wins, within one whatever was read of each life. So copies of it from several regions merge in
//! any order, however often, without a clock: what a consumer committed last where it failed over
//! to is never undone by news of where it came from. Going back on purpose begins a new epoch.
//!
//! A group that is deleted is said to have ended up to an epoch: of it and before nothing counts
//! any more, whoever says it and whenever. That one number is remembered in the place of all that
//! the group had committed; who uses its name again begins in the epoch after it.

use std::collections::BTreeMap;

use headland_event::{
    GroupEpoch, GroupName, Incarnation, Offset, PartitionIndex, RegionId, TopicName,
};
use serde::{Deserialize, Serialize};

use crate::read_to::{LIVES_LIMIT, ReadTo};

/// Most committed offsets that a hub remembers, of all groups together: about 16 MiB. A commit
/// beyond is refused; one of another region is left out, and counted.
pub const POSITIONS_LIMIT: usize = 65_536;

/// Beyond this no epoch and no offset can come of use; a peer's word of more is left out, because
/// nothing could ever pass it.
const NUMBER_LIMIT: u64 = 1 << 53;

/// How far the end of a group lies beyond the last epoch that is known where it is deleted: resets
/// and forks elsewhere, not heard of yet, begin an epoch each, and end with it.
const END_AHEAD: u64 = 1 << 16;

/// A partition by its name at its origin: the same in every region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The region it was born in.
    pub region: RegionId,
    /// The topic's name there.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, topic, partition } = self;
        write!(f, "{region}/{topic}/{partition}")
    }
}

/// How far a group has read a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// How often the position was set on purpose. Compared first.
    pub epoch: GroupEpoch,
    /// The origin's offsets of the next record to read.
    pub read: ReadTo,
}

impl Committed {
    /// What holds of two: commutative, associative and idempotent.
    fn join(&self, other: &Self) -> Self {
        match self.epoch.cmp(&other.epoch) {
            std::cmp::Ordering::Less => other.clone(),
            std::cmp::Ordering::Greater => self.clone(),
            std::cmp::Ordering::Equal => {
                Self { epoch: self.epoch, read: self.read.join(&other.read) }
            }
        }
    }
}

/// How far what a life wrote was read, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeRead {
    /// The life of the origin.
    pub life: Incarnation,
    /// The origin's offset of the next record to read of it.
    pub offset: Offset,
}

/// A committed offset as it is written down and travels: JSON, under [`GroupRecord::key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRecord {
    /// The group.
    pub group: GroupName,
    /// The region the partition was born in.
    pub region: RegionId,
    /// The topic's name there.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// How often the position was set on purpose.
    pub epoch: GroupEpoch,
    /// The origin's offset of the next record to read, as earlier versions say it: of which life is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// How far what each life of the origin wrote was read; of others nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<LifeRead>,
}

impl GroupRecord {
    /// What a group has committed in a partition, to be written down.
    #[must_use]
    pub fn new(group: &GroupName, source: &Source, committed: &Committed) -> Self {
        let Source { region, topic, partition } = source.clone();
        let Committed { epoch, read } = committed;
        let (offset, lives) = match read {
            ReadTo::Unnamed(offset) => (Some(*offset), Vec::new()),
            ReadTo::Lives(_) => (None, read.lives().collect()),
        };
        let lives = lives.into_iter().map(|(life, offset)| LifeRead { life, offset }).collect();
        Self { group: group.clone(), region, topic, partition, epoch: *epoch, offset, lives }
    }

    /// The partition that it is about.
    #[must_use]
    pub fn source(&self) -> Source {
        let Self { region, topic, partition, .. } = self.clone();
        Source { region, topic, partition }
    }

    fn committed(&self) -> Committed {
        let Self { group: _, region: _, topic: _, partition: _, epoch, offset, lives } = self;
        let named = lives.iter().map(|LifeRead { life, offset }| (*life, *offset)).collect();
        let read = offset.map_or(ReadTo::Lives(named), ReadTo::Unnamed);
        Committed { epoch: *epoch, read }
    }

    /// What the record is about: no name has a `/`, so that no two keys are alike.
    #[must_use]
    pub fn key(&self) -> String {
        let Self { group, region, topic, partition, .. } = self;
        format!("{group}/{region}/{topic}/{partition}")
    }
}

/// The end of a group as it is written down and travels: JSON, under the group's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEnd {
    /// The group.
    pub group: GroupName,
    /// The last epoch of which nothing counts any more.
    pub ended: GroupEpoch,
}

/// Why a committed offset is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The group has read further, here or in another region.
    #[error(
        "group {group} has committed offset {committed} of {source_partition}, and {found} is \
         before that; to read again, reset the group"
    )]
    Behind {
        /// The group.
        group: GroupName,
        /// The partition.
        source_partition: Source,
        /// What is committed, in the origin's numbers.
        committed: Offset,
        /// What was to be.
        found: Offset,
    },
    /// More groups and partitions than a hub remembers.
    #[error(
        "group {group} would be beyond {limit} committed offsets of all groups; delete groups that \
         nobody reads as any more"
    )]
    TooMany {
        /// The group.
        group: GroupName,
        /// Most there may be.
        limit: usize,
    },
    /// More deleted groups than a hub remembers.
    #[error("group {group} cannot be deleted: {limit} deleted groups are remembered already")]
    TooManyEnds {
        /// The group.
        group: GroupName,
        /// Most there may be.
        limit: usize,
    },
    /// No log gets so far.
    #[error("offset {found} of {source_partition} is beyond {limit}, which no log reaches")]
    Beyond {
        /// The partition.
        source_partition: Source,
        /// The offset, or the epoch that would follow.
        found: u64,
        /// The largest that fits.
        limit: u64,
    },
}

impl CommitError {
    /// Whether the same commit can succeed later without anybody changing anything: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Behind { .. }
            | Self::TooMany { .. }
            | Self::TooManyEnds { .. }
            | Self::Beyond { .. } => false,
        }
    }
}

/// How a committed offset is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A consumer has read on.
    Commit,
    /// An operator sets it, back or ahead; it holds against everything committed before.
    Reset,
}

/// Every group with its committed offsets.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    groups: BTreeMap<GroupName, BTreeMap<Source, Committed>>,
    /// Groups that were deleted, and the last epoch that ended with them.
    ended: BTreeMap<GroupName, GroupEpoch>,
    positions: usize,
    left_out: u64,
}

impl Groups {
    /// No group is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What changes of several partitions, each named once, come to: all of them or none. To be
    /// written down and then taken with [`Self::take`], one by one.
    ///
    /// # Errors
    /// [`CommitError`] when one would go back without saying so, or all together beyond a limit.
    pub fn change_all(
        &self,
        group: &GroupName,
        positions: &[(Source, ReadTo)],
        change: Change,
    ) -> Result<Vec<GroupRecord>, CommitError> {
        let is_new = |source: &Source| self.committed(group, source).is_none();
        let new = positions.iter().filter(|(source, _)| is_new(source)).count();
        if new > 0 && self.positions + new > POSITIONS_LIMIT {
            return Err(CommitError::TooMany { group: group.clone(), limit: POSITIONS_LIMIT });
        }
        positions.iter().map(|(source, at)| self.change(group, source, at, change)).collect()
    }

    /// What a change comes to, to be written down and then taken with [`Self::take`].
    ///
    /// # Errors
    /// [`CommitError`] when it would go back without saying so, or beyond a limit.
    pub fn change(
        &self,
        group: &GroupName,
        source: &Source,
        read: &ReadTo,
        change: Change,
    ) -> Result<GroupRecord, CommitError> {
        let known = self.committed(group, source);
        if known.is_none() && self.positions >= POSITIONS_LIMIT {
            return Err(CommitError::TooMany { group: group.clone(), limit: POSITIONS_LIMIT });
        }
        let first = self.ended.get(group).map_or_else(GroupEpoch::default, |end| end.after(1));
        let epoch = known.map_or(first, |known| known.epoch);
        let epoch = match (change, known) {
            (Change::Reset, Some(_)) => epoch.after(1),
            (Change::Reset, None) | (Change::Commit, _) => epoch,
        };
        let highest = read.highest();
        let beyond = [epoch.get(), highest.get()].into_iter().find(|found| *found > NUMBER_LIMIT);
        if let Some(found) = beyond {
            let source_partition = source.clone();
            return Err(CommitError::Beyond { source_partition, found, limit: NUMBER_LIMIT });
        }
        let next = Committed { epoch, read: read.clone() };
        let Some(known) = known else { return Ok(GroupRecord::new(group, source, &next)) };
        let joined = known.join(&next);
        if joined == *known && joined != next {
            let (committed, found) = farthest_behind(&known.read, read);
            let (group, source_partition) = (group.clone(), source.clone());
            return Err(CommitError::Behind { group, source_partition, committed, found });
        }
        if joined.read.lives().count() > LIVES_LIMIT {
            // So that every region forgets those that had to give way.
            let next = Committed { epoch: next.epoch.after(1), ..next };
            return Ok(GroupRecord::new(group, source, &next));
        }
        Ok(GroupRecord::new(group, source, &joined))
    }

    /// Takes over a record, of this hub or another; says what holds now when that is news.
    pub fn take(&mut self, record: &GroupRecord) -> Option<GroupRecord> {
        let (group, source, found) = (&record.group, record.source(), record.committed());
        let known = self.committed(group, &source);
        let is_new = known.is_none();
        let joined = known.map_or_else(|| found.clone(), |known| known.join(&found));
        let highest = found.epoch.get().max(found.read.highest().get());
        // Two that name as many lives as fit may name twice as many together.
        let has_too_many = joined.read.lives().count() > 2 * LIVES_LIMIT;
        let is_full = is_new && self.positions >= POSITIONS_LIMIT;
        if highest > NUMBER_LIMIT || has_too_many || is_full {
            self.left_out += 1;
            return None;
        }
        if self.ended.get(group).is_some_and(|ended| found.epoch <= *ended) {
            return None;
        }
        if known == Some(&joined) {
            return None;
        }
        let held = GroupRecord::new(group, &source, &joined);
        self.positions += usize::from(is_new);
        self.groups.entry(group.clone()).or_default().insert(source, joined);
        Some(held)
    }

    /// What deleting a group comes to, to be written down and then taken with [`Self::take_end`];
    /// `None` of a group that has committed nothing.
    ///
    /// # Errors
    /// [`CommitError::TooManyEnds`] when as many were deleted as a hub remembers.
    pub fn end(&self, group: &GroupName) -> Result<Option<GroupEnd>, CommitError> {
        let last = self.of(group).map(|(_, at)| at.epoch).max();
        let Some(ended) = last else { return Ok(None) };
        if !self.ended.contains_key(group) && self.ended.len() >= POSITIONS_LIMIT {
            return Err(CommitError::TooManyEnds { group: group.clone(), limit: POSITIONS_LIMIT });
        }
        Ok(Some(GroupEnd { group: group.clone(), ended: ended.after(END_AHEAD) }))
    }

    /// Takes over the end of a group, of this hub or another; returns the committed offsets that
    /// are gone with it, `None` when it is no news.
    pub fn take_end(&mut self, end: &GroupEnd) -> Option<Vec<GroupRecord>> {
        let GroupEnd { group, ended } = end;
        let known = self.ended.get(group);
        if known.is_some_and(|known| known >= ended) {
            return None;
        }
        let is_full = known.is_none() && self.ended.len() >= POSITIONS_LIMIT;
        if is_full || ended.get() >= NUMBER_LIMIT {
            self.left_out += 1;
            return None;
        }
        self.ended.insert(group.clone(), *ended);
        let Some(positions) = self.groups.get_mut(group) else { return Some(Vec::new()) };
        let gone = positions.iter().filter(|(_, at)| at.epoch <= *ended);
        let gone: Vec<_> = gone.map(|(source, at)| GroupRecord::new(group, source, at)).collect();
        positions.retain(|_, at| at.epoch > *ended);
        if positions.is_empty() {
            self.groups.remove(group);
        }
        self.positions -= gone.len();
        Some(gone)
    }

    /// What every group has committed in a partition.
    pub fn at<'a>(
        &'a self,
        source: &'a Source,
    ) -> impl Iterator<Item = (&'a GroupName, &'a Committed)> {
        self.groups.iter().filter_map(|(group, at)| Some((group, at.get(source)?)))
    }

    /// How far a group has read a partition.
    #[must_use]
    pub fn committed(&self, group: &GroupName, source: &Source) -> Option<&Committed> {
        self.groups.get(group)?.get(source)
    }

    /// Every group by name.
    pub fn names(&self) -> impl Iterator<Item = &GroupName> {
        self.groups.keys()
    }

    /// What a group has committed, by partition; nothing of a group that is not known.
    pub fn of(&self, group: &GroupName) -> impl Iterator<Item = (&Source, &Committed)> {
        self.groups.get(group).into_iter().flatten()
    }

    /// Committed offsets of other regions that were left out, for they passed a limit.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// What was read and what was to be, of the life of which that lies farthest apart.
fn farthest_behind(known: &ReadTo, found: &ReadTo) -> (Offset, Offset) {
    let apart = known.lives().map(|(life, offset)| (offset, found.offset_of(life)));
    let farthest = apart.max_by_key(|(known, found)| known.since(*found));
    farthest.unwrap_or_else(|| (known.highest(), found.highest()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn source() -> Source {
        let (region, topic) = (RegionId::new("eu").unwrap(), TopicName::new("orders").unwrap());
        Source { region, topic, partition: PartitionIndex::new(0) }
    }

    const LIFE: Incarnation = Incarnation::new(1, 7);

    fn read(offset: u64) -> ReadTo {
        ReadTo::of(LIFE, Offset::new(offset))
    }

    fn record(epoch: u64, offset: u64) -> GroupRecord {
        record_of(epoch, read(offset))
    }

    fn record_of(epoch: u64, read: ReadTo) -> GroupRecord {
        let committed = Committed { epoch: GroupEpoch::new(epoch), read };
        GroupRecord::new(&group("billing"), &source(), &committed)
    }

    fn holding(records: &[GroupRecord]) -> Groups {
        let mut groups = Groups::new();
        for record in records {
            groups.take(record);
        }
        groups
    }

    fn held(groups: &Groups) -> Option<(u64, u64)> {
        let held = groups.committed(&group("billing"), &source())?;
        Some((held.epoch.get(), held.read.highest().get()))
    }

    #[test]
    fn a_commit_that_goes_back_is_refused_and_a_reset_is_not() {
        let groups = holding(&[record(0, 10)]);
        let change =
            |offset, change| groups.change(&group("billing"), &source(), &read(offset), change);

        assert_eq!(change(11, Change::Commit), Ok(record(0, 11)));
        assert_eq!(change(10, Change::Commit), Ok(record(0, 10)));
        assert_eq!(change(3, Change::Reset), Ok(record(1, 3)));
        assert!(matches!(
            change(9, Change::Commit),
            Err(CommitError::Behind { committed, found, .. })
                if (committed, found) == (Offset::new(10), Offset::new(9))
        ));
    }

    #[test]
    fn news_of_where_a_consumer_came_from_does_not_undo_what_it_committed_since() {
        let mut groups = holding(&[record(0, 120)]);

        assert_eq!(groups.take(&record(0, 100)), None);
        assert_eq!(held(&groups), Some((0, 120)));
    }

    #[test]
    fn what_was_read_of_a_former_life_stands_for_nothing_of_the_next_one() {
        let next = Incarnation::new(1, 2);
        let mut groups = holding(&[record(0, 50)]);

        let first = ReadTo::of(LIFE, Offset::new(50)).join(&ReadTo::of(next, Offset::new(3)));
        let first = groups.change(&group("billing"), &source(), &first, Change::Commit).unwrap();
        groups.take(&first);
        let late = groups.take(&record(0, 90)).unwrap();

        let read = |record: &GroupRecord| {
            let lives = record.lives.iter();
            lives.map(|of| (of.life.nonce(), of.offset.get())).collect::<Vec<_>>()
        };
        assert_eq!(read(&first), [(2, 3), (7, 50)]);
        assert_eq!(read(&late), [(2, 3), (7, 90)], "what is heard late counts for its life alone");
    }

    #[test]
    fn a_record_of_an_earlier_version_names_no_life_and_one_that_does_counts_for_more() {
        let earlier = record_of(0, ReadTo::Unnamed(Offset::new(120)));
        let mut groups = holding(std::slice::from_ref(&earlier));
        let before = held(&groups);

        groups.take(&record(0, 50));
        let again = groups.take(&earlier);

        assert_eq!((earlier.offset, before), (Some(Offset::new(120)), Some((0, 120))));
        assert_eq!((again, held(&groups)), (None, Some((0, 50))));
    }

    #[test]
    fn more_lives_than_two_regions_can_name_are_left_out() {
        let lives = |from: u64, count: u64| {
            let lives =
                (from..from + count).map(|life| (Incarnation::new(1, life), Offset::new(1)));
            record_of(0, ReadTo::Lives(lives.collect()))
        };
        let limit = u64::try_from(LIVES_LIMIT).unwrap();
        let mut groups = holding(&[lives(0, limit), lives(limit, limit)]);

        assert_eq!(groups.take(&lives(2 * limit, 1)), None);
        assert_eq!(groups.left_out(), 1);
    }

    #[test]
    fn one_position_more_than_a_hub_remembers_is_refused_and_counted() {
        let mut groups = Groups::new();
        for at in 0..POSITIONS_LIMIT {
            groups.take(&GroupRecord { group: group(&format!("g{at}")), ..record(0, 1) });
        }

        let more = groups.change(&group("one"), &source(), &read(1), Change::Commit);
        let known = groups.change(&group("g0"), &source(), &read(2), Change::Commit);
        groups.take(&GroupRecord { group: group("one"), ..record(0, 1) });

        let limit = POSITIONS_LIMIT;
        assert_eq!(more, Err(CommitError::TooMany { group: group("one"), limit }));
        assert!(known.is_ok());
        assert_eq!(groups.left_out(), 1);
    }

    #[test]
    fn a_change_of_several_partitions_is_refused_as_a_whole_when_one_of_them_is_beyond_the_limit() {
        let mut groups = Groups::new();
        for at in 0..POSITIONS_LIMIT - 1 {
            groups.take(&GroupRecord { group: group(&format!("g{at}")), ..record(0, 1) });
        }
        let at =
            |partition| (Source { partition: PartitionIndex::new(partition), ..source() }, read(1));

        let two = groups.change_all(&group("one"), &[at(0), at(1)], Change::Commit);
        let one = groups.change_all(&group("one"), &[at(0)], Change::Commit);

        let limit = POSITIONS_LIMIT;
        assert_eq!(two, Err(CommitError::TooMany { group: group("one"), limit }));
        assert_eq!(one.map(|records| records.len()), Ok(1));
    }

    #[test]
    fn one_group_more_than_are_remembered_as_deleted_cannot_be_deleted() {
        let mut groups = holding(&[record(0, 1)]);
        for at in 0..POSITIONS_LIMIT {
            let (group, ended) = (group(&format!("g{at}")), GroupEpoch::new(1));
            groups.take_end(&GroupEnd { group, ended });
        }

        let limit = POSITIONS_LIMIT;
        let end = groups.end(&group("billing"));
        assert_eq!(end, Err(CommitError::TooManyEnds { group: group("billing"), limit }));
    }

    #[test]
    fn a_group_that_was_deleted_makes_room_and_news_of_it_does_not_bring_it_back() {
        let mut groups = holding(&[record(0, 10), record(2, 5)]);
        let other = GroupRecord { group: group("audit"), ..record(0, 60) };
        groups.take(&other);

        let end = groups.end(&group("billing")).unwrap().unwrap();
        let gone = groups.take_end(&end);
        let late = groups.take(&record(2, 500));
        let again = groups.change(&group("billing"), &source(), &read(1), Change::Commit);

        assert_eq!(
            end,
            GroupEnd { group: group("billing"), ended: GroupEpoch::new(2 + END_AHEAD) }
        );
        assert_eq!(gone, Some(vec![record(2, 5)]));
        assert_eq!((late, held(&groups)), (None, None));
        assert_eq!(again, Ok(record(3 + END_AHEAD, 1)), "its name begins anew");
        assert_eq!((groups.take_end(&end), groups.end(&group("billing"))), (None, Ok(None)));
        assert_eq!(groups.names().collect::<Vec<_>>(), [&group("audit")]);
        assert_eq!(groups.positions, 1);
    }

    #[test]
    fn a_number_that_nothing_could_pass_is_left_out() {
        let mut groups = holding(&[record(0, 5)]);

        groups.take(&record(NUMBER_LIMIT + 1, 0));
        groups.take(&record(0, u64::MAX));

        assert_eq!((held(&groups), groups.left_out()), (Some((0, 5)), 2));
    }

    proptest! {
        #[test]
        fn a_group_deleted_in_one_region_is_gone_whatever_another_one_set_before_it_heard(
            raises in proptest::collection::vec((proptest::bool::ANY, 0_u64..20), 0..20),
        ) {
            let (mut here, mut there) = (holding(&[record(2, 10)]), holding(&[record(2, 10)]));
            let mut said = Vec::new();
            for (raise, at) in raises {
                let change = if raise { Change::Reset } else { Change::Commit };
                let record = there.change(&group("billing"), &source(), &read(at), change).ok();
                if let Some(record) = &record {
                    there.take(record);
                }
                said.extend(record);
            }

            let end = here.end(&group("billing")).unwrap().unwrap();
            here.take_end(&end);
            there.take_end(&end);
            for record in &said {
                here.take(record);
            }

            prop_assert_eq!((held(&here), held(&there)), (None, None));
        }

        #[test]
        fn regions_that_hear_commits_and_ends_in_any_order_agree(
            heard in proptest::collection::vec((0_u64..6, 0_u64..20, proptest::bool::ANY), 1..20),
            by in 0_usize..20,
        ) {
            let tell = |order: &[(u64, u64, bool)]| {
                let mut groups = Groups::new();
                for (epoch, at, is_end) in order {
                    if *is_end {
                        let ended = GroupEpoch::new(*epoch);
                        groups.take_end(&GroupEnd { group: group("billing"), ended });
                    } else {
                        groups.take(&record(*epoch, *at));
                    }
                }
                (held(&groups), groups.positions)
            };
            let mut turned = heard.clone();
            turned.rotate_left(by % heard.len());
            turned.extend(heard.clone());

            prop_assert_eq!(tell(&turned), tell(&heard));
        }

        #[test]
        fn regions_that_hear_the_same_in_any_order_agree(
            heard in proptest::collection::vec((0_u64..4, 0_u64..4, 0_u64..20), 1..20),
            by in 0_usize..20,
        ) {
            let said = |(epoch, life, at): &(u64, u64, u64)| {
                let at = Offset::new(*at);
                // One of them names no life, as earlier versions do.
                let named = life.checked_sub(1).map(|life| Incarnation::new(1, life));
                record_of(*epoch, named.map_or(ReadTo::Unnamed(at), |life| ReadTo::of(life, at)))
            };
            let records: Vec<_> = heard.iter().map(said).collect();
            let mut turned = records.clone();
            turned.rotate_left(by % records.len());
            turned.extend(records.clone());
            let whole = |groups: &Groups| {
                groups.committed(&group("billing"), &source()).cloned()
            };

            let last = heard.iter().map(|(epoch, _, _)| epoch).max().copied();
            prop_assert_eq!(held(&holding(&records)).map(|held| held.0), last);
            prop_assert_eq!(whole(&holding(&turned)), whole(&holding(&records)));
        }
    }
}
