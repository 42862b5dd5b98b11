//! What one hub grants and agrees to.
//!
//! A lease that was granted is remembered in memory only: after its start a hub agrees to nothing
//! until every lease is over that it can have granted before. What it agrees to is on its disk
//! before anybody hears of it, and from then on the region gets no lease under a former fence.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{Monotonic, RegionId};

use super::message::{Ballot, LeaseMessage, Vote, Voted};
use super::{HOLD, LEASE};
use crate::fence::{Fences, NUMBER_LIMIT};

/// By how many attempts one may be ahead of what was heard here: days of attempts. What is further
/// ahead is a fault, and would use all of them up.
const ROUNDS_AHEAD: u64 = 1 << 20;

/// What is known of one region.
#[derive(Debug, Clone)]
struct Seat {
    voted: Voted,
    granted_at: Option<Monotonic>,
    /// When something was promised last, in this run.
    promised_at: Option<Monotonic>,
}

/// What one hub has granted and agreed to.
#[derive(Debug, Clone)]
pub(super) struct Voter {
    seats: BTreeMap<RegionId, Seat>,
    started: Monotonic,
}

/// What comes of a question.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Option<LeaseMessage>,
    /// What has to be on disk before the answer is sent.
    pub(super) keep: Option<Voted>,
}

impl Answer {
    const NONE: Self = Self { message: None, keep: None };
}

impl Voter {
    pub(super) fn new(regions: &[RegionId], kept: Vec<Voted>, started: Monotonic) -> Self {
        let seat = |region: &RegionId| {
            (
                region.clone(),
                Seat { voted: Voted::nothing(region.clone()), granted_at: None, promised_at: None },
            )
        };
        let mut seats: BTreeMap<RegionId, Seat> = regions.iter().map(seat).collect();
        for voted in kept {
            if let Some(seat) = seats.get_mut(&voted.region) {
                seat.voted = voted;
                let accepted = seat.voted.accepted.as_ref().map(|vote| vote.ballot.clone());
                seat.voted.promised = seat.voted.promised.take().max(accepted);
            }
        }
        Self { seats, started }
    }

    /// All that was said here.
    pub(super) fn said(&self) -> Vec<Voted> {
        self.seats.values().map(|seat| seat.voted.clone()).collect()
    }

    /// Takes over what another hub has said, as one that may have lost its own; what to keep.
    ///
    /// Whether a region asks for leases, its own hub knows best, which has that on its disk before
    /// it asks or stops to; only that one, `own`, learns it from others.
    pub(super) fn learn(&mut self, own: &RegionId, from: &RegionId, said: &[Voted]) -> Vec<Voted> {
        let mut learned = Vec::new();
        for theirs in said {
            let is_sound = self.is_sound(theirs);
            let Some(seat) = self.seats.get_mut(&theirs.region) else { continue };
            let ours = &mut seat.voted;
            let before = ours.clone();
            if is_sound && theirs.number > ours.number {
                ours.number = theirs.number;
                (ours.promised, ours.accepted) = (None, None);
            }
            if is_sound && theirs.number == ours.number {
                ours.promised = ours.promised.clone().max(theirs.promised.clone());
                ours.accepted = ours.accepted.clone().max(theirs.accepted.clone());
            }
            if theirs.region == *from {
                ours.leased = theirs.leased;
            } else if theirs.region == *own {
                ours.leased = ours.leased.max(theirs.leased);
            }
            if *ours != before {
                learned.push(ours.clone());
            }
        }
        learned
    }

    /// Whether a hub can have said so.
    fn is_sound(&self, voted: &Voted) -> bool {
        let accepted = voted.accepted.as_ref().map(|vote| &vote.ballot);
        let promised = voted.promised.as_ref();
        let is_near = promised.is_none_or(|promised| promised.round <= ROUNDS_AHEAD);
        let votes = voted.accepted.iter();
        let are_targets = votes.map(|vote| &vote.to).all(|to| self.is_target(&voted.region, to));
        accepted <= promised && is_near && are_targets && voted.number < NUMBER_LIMIT
    }

    /// Whether a region can be left for another one. That one may have been left itself since
    /// somebody agreed to it: what is begun has to come to its end.
    pub(super) fn is_target(&self, region: &RegionId, to: &RegionId) -> bool {
        to != region && self.seats.contains_key(to)
    }

    /// Whether a lease under this fence is not refused for what was agreed to here.
    pub(super) fn lets(&self, fences: &Fences, region: &RegionId, number: u64) -> bool {
        let Some(Seat { voted, .. }) = self.seats.get(region) else { return false };
        let known = fences.held(region).map_or(0, |fence| fence.number);
        // Under a fence that is not known here, somebody may go on for the region still.
        let is_in_use = number == known && fences.left_for(region).is_none();
        is_in_use && !(voted.accepted.is_some() && voted.number > number)
    }

    /// A region asks for a lease.
    pub(super) fn on_ask(
        &mut self,
        now: Monotonic,
        fences: &Fences,
        from: &RegionId,
        ask: (u64, Monotonic),
    ) -> Answer {
        let (number, sent_at) = ask;
        if !self.lets(fences, from, number) {
            return Answer::NONE;
        }
        let Some(seat) = self.seats.get_mut(from) else { return Answer::NONE };
        seat.granted_at = Some(now);
        let keep = self.note(from, Some(number));
        Answer { message: Some(LeaseMessage::Grant { number, sent_at }), keep }
    }

    /// A region asks no more: nobody here agrees to leave it from now on. There is no answer once
    /// somebody has.
    pub(super) fn on_no_more(
        &mut self,
        fences: &Fences,
        from: &RegionId,
        (number, sent_at): (u64, Monotonic),
    ) -> Answer {
        if !self.lets(fences, from, number) {
            return Answer::NONE;
        }
        let keep = self.note(from, None);
        Answer { message: Some(LeaseMessage::Grant { number, sent_at }), keep }
    }

    /// Notes under which fence a region asks; what to keep if that is news.
    pub(super) fn note(&mut self, region: &RegionId, leased: Option<u64>) -> Option<Voted> {
        let seat = self.seats.get_mut(region).filter(|seat| seat.voted.leased != leased)?;
        seat.voted.leased = leased;
        Some(seat.voted.clone())
    }

    /// When a region was last granted a lease, in this run.
    pub(super) fn granted_at(&self, region: &RegionId) -> Option<Monotonic> {
        self.seats.get(region)?.granted_at
    }

    /// The fence under which a region was last granted a lease.
    pub(super) fn leased(&self, region: &RegionId) -> Option<u64> {
        self.seats.get(region)?.voted.leased
    }

    /// Whether something was agreed to here about a fence.
    pub(super) fn is_agreed(&self, region: &RegionId, number: u64) -> bool {
        self.agreed(region, number).is_some()
    }

    /// For which region this hub has agreed to leave one by a fence, the last time.
    pub(super) fn agreed(&self, region: &RegionId, number: u64) -> Option<&RegionId> {
        let voted = &self.seats.get(region)?.voted;
        let vote = voted.accepted.as_ref().filter(|_| voted.number == number)?;
        Some(&vote.to)
    }

    /// Whether somebody may have been decided on as the next for whom a region is left: this hub
    /// has agreed to one, or has promised to within so long.
    pub(super) fn is_begun(
        &self,
        (now, within): (Monotonic, Duration),
        region: &RegionId,
        number: u64,
    ) -> bool {
        let Some(seat) = self.seats.get(region) else { return false };
        let is_promised = seat.promised_at.is_some_and(|at| now < at.after(within));
        seat.voted.number == number && (seat.voted.accepted.is_some() || is_promised)
    }

    /// Whether every lease of a region that was granted here is over.
    fn is_over(&self, now: Monotonic, seat: &Seat) -> bool {
        let granted = seat.granted_at.unwrap_or(self.started).max(self.started);
        granted.after(HOLD) <= now
    }

    /// The seat to vote in about the next fence, begun anew if it is another one: of a region that
    /// was granted a lease here under the one that holds, which is over.
    fn seat(
        &mut self,
        now: Monotonic,
        fences: &Fences,
        (region, number): (&RegionId, u64),
        ballot: &Ballot,
    ) -> Option<&mut Seat> {
        let known = fences.held(region).map_or(0, |fence| fence.number);
        let seat = self.seats.get(region)?;
        let is_next = known.checked_add(1) == Some(number) && number >= seat.voted.number;
        let is_near = self.is_near(region, number, ballot);
        let is_asking = seat.voted.leased == Some(known);
        if !(is_next && is_near && is_asking && self.is_over(now, seat)) {
            return None;
        }
        let seat = self.seats.get_mut(region)?;
        if number > seat.voted.number {
            seat.voted.number = number;
            (seat.voted.promised, seat.voted.accepted) = (None, None);
        }
        Some(seat)
    }

    /// May a region be taken over? There is no answer while a lease goes on.
    pub(super) fn on_prepare(
        &mut self,
        now: Monotonic,
        fences: &Fences,
        about: (&RegionId, u64),
        ballot: Ballot,
    ) -> Answer {
        let Some(seat) = self.seat(now, fences, about, &ballot) else { return Answer::NONE };
        if let Some(promised) = seat.voted.promised.clone().filter(|known| *known > ballot) {
            return refused(about, promised);
        }
        let is_new = seat.voted.promised.as_ref() != Some(&ballot);
        seat.voted.promised = Some(ballot.clone());
        seat.promised_at = Some(now);
        let accepted = seat.voted.accepted.clone();
        let keep = is_new.then(|| seat.voted.clone());
        let (region, number) = (about.0.clone(), about.1);
        let message = LeaseMessage::Promise { region, number, ballot, accepted };
        Answer { message: Some(message), keep }
    }

    /// A region is to be left. There is no answer while a lease goes on.
    pub(super) fn on_accept(
        &mut self,
        now: Monotonic,
        fences: &Fences,
        about: (&RegionId, u64),
        vote: Vote,
    ) -> Answer {
        if !self.is_target(about.0, &vote.to) {
            return Answer::NONE;
        }
        let Some(seat) = self.seat(now, fences, about, &vote.ballot) else { return Answer::NONE };
        if let Some(promised) = seat.voted.promised.clone().filter(|known| *known > vote.ballot) {
            return refused(about, promised);
        }
        let ballot = vote.ballot.clone();
        let is_new = seat.voted.accepted.as_ref() != Some(&vote);
        seat.voted.promised = Some(ballot.clone());
        seat.voted.accepted = Some(vote);
        let keep = is_new.then(|| seat.voted.clone());
        let (region, number) = (about.0.clone(), about.1);
        let message = LeaseMessage::Accepted { region, number, ballot };
        Answer { message: Some(message), keep }
    }

    /// Whether an attempt that was heard of is one that this hub's own may go beyond.
    pub(super) fn is_near(&self, region: &RegionId, number: u64, ballot: &Ballot) -> bool {
        ballot.round <= self.round(region, number).saturating_add(ROUNDS_AHEAD)
    }

    /// The highest attempt that was heard of about a fence.
    pub(super) fn round(&self, region: &RegionId, number: u64) -> u64 {
        let seat = self.seats.get(region).filter(|seat| seat.voted.number == number);
        let promised = seat.and_then(|seat| seat.voted.promised.as_ref());
        promised.map_or(0, |ballot| ballot.round)
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(LEASE < HOLD, "who grants counts longer than who holds");
        for (region, Seat { voted, .. }) in &self.seats {
            debug_assert_eq!(*region, voted.region, "each seat is of its region");
            let accepted = voted.accepted.as_ref().map(|vote| &vote.ballot);
            debug_assert!(accepted <= voted.promised.as_ref(), "what is agreed to was promised");
        }
    }
}

fn refused((region, number): (&RegionId, u64), promised: Ballot) -> Answer {
    let message = LeaseMessage::Refused { region: region.clone(), number, promised };
    Answer { message: Some(message), keep: None }
}
