//! How far somebody has read a log over the lives of its origin.
//!
//! An offset says nothing without the life that gave it: a hub that lost its disk numbers its log
//! from 0 again. Nor do lives have an order that every region knows, since each counts as it is
//! met. So it is kept for each life apart how far what *that* life wrote was read. What another
//! region heard joins with it life by life, in any order and however often; news of a former life
//! neither undoes nor stands for anything of the next one.

use std::collections::BTreeMap;

use headland_event::{Incarnation, Offset};

/// Most lives of one origin that a position names; the same as a checkpoint remembers.
pub const LIVES_LIMIT: usize = 16;

/// How far a partition was read: the offset after the last record, of the origin's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadTo {
    /// As earlier versions say it: of whichever life was the last one where it is read. Whatever
    /// names lives counts for more.
    Unnamed(Offset),
    /// Of what each life wrote; of one that is not named, nothing.
    Lives(BTreeMap<Incarnation, Offset>),
}

impl ReadTo {
    /// So far of one life, and nothing of others.
    #[must_use]
    pub fn of(life: Incarnation, offset: Offset) -> Self {
        Self::Lives([(life, offset)].into())
    }

    /// Lives that are named, with how far each was read, in the order of their numbers.
    pub fn lives(&self) -> impl Iterator<Item = (Incarnation, Offset)> {
        let named = match self {
            Self::Unnamed(_) => None,
            Self::Lives(lives) => Some(lives),
        };
        named.into_iter().flatten().map(|(life, offset)| (*life, *offset))
    }

    /// Up to where what a life wrote was read.
    #[must_use]
    pub fn offset_of(&self, life: Incarnation) -> Offset {
        self.lives().find(|(of, _)| *of == life).map_or_else(Offset::default, |(_, offset)| offset)
    }

    /// The farthest offset that it names, of any life.
    #[must_use]
    pub fn highest(&self) -> Offset {
        match self {
            Self::Unnamed(offset) => *offset,
            Self::Lives(lives) => lives.values().copied().max().unwrap_or_default(),
        }
    }

    /// What either has read: commutative, associative and idempotent.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Unnamed(one), Self::Unnamed(two)) => Self::Unnamed(*one.max(two)),
            (named @ Self::Lives(_), Self::Unnamed(_))
            | (Self::Unnamed(_), named @ Self::Lives(_)) => named.clone(),
            (Self::Lives(one), Self::Lives(two)) => {
                let mut all = one.clone();
                for (life, offset) in two {
                    let known = all.entry(*life).or_default();
                    *known = (*known).max(*offset);
                }
                Self::Lives(all)
            }
        }
    }

    /// Leaves out lives that do not fit a condition.
    pub fn retain(&mut self, mut is_kept: impl FnMut(Incarnation) -> bool) {
        match self {
            Self::Unnamed(_) => {}
            Self::Lives(lives) => lives.retain(|life, _| is_kept(*life)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_read() -> impl Strategy<Value = ReadTo> {
        let lives = proptest::collection::btree_map(0_u64..3, 0_u64..9, 0..4);
        let named = lives.prop_map(|lives| {
            let life = |(life, offset)| (Incarnation::new(1, life), Offset::new(offset));
            ReadTo::Lives(lives.into_iter().map(life).collect())
        });
        prop_oneof![(0_u64..9).prop_map(|at| ReadTo::Unnamed(Offset::new(at))), named]
    }

    #[test]
    fn news_of_a_former_life_changes_nothing_of_the_next_one() {
        let (former, next) = (Incarnation::new(1, 5), Incarnation::new(1, 2));
        let read = ReadTo::of(former, Offset::new(50)).join(&ReadTo::of(next, Offset::new(3)));

        let later = read.join(&ReadTo::of(former, Offset::new(90)));

        assert_eq!((later.offset_of(former).get(), later.offset_of(next).get()), (90, 3));
        assert_eq!(read.join(&ReadTo::Unnamed(Offset::new(1_000))), read);
    }

    proptest! {
        #[test]
        fn what_was_read_joins_the_same_in_any_order_and_however_often(
            one in any_read(), two in any_read(), three in any_read(),
        ) {
            prop_assert_eq!(one.join(&two), two.join(&one));
            prop_assert_eq!(one.join(&two).join(&three), one.join(&two.join(&three)));
            prop_assert_eq!(one.join(&one), one);
        }
    }
}
