//! Which regions are in use, where no operator is there to say so: leases and votes.
//!
//! ```text
//!   region eu ── ask{fence 4} ──▶ us, ap      each 500 ms
//!             ◀─ grant ──────────             in use until 3 s after it was *sent*, by a majority
//!
//!   eu is not heard for `after`, and its leases are over at a majority:
//!   region ap ── prepare{eu, fence 5} ──▶ all
//!             ◀─ promise ────────────────     a majority
//!             ── accept{eu, fence 5, to ap} ▶ all
//!             ◀─ accepted ───────────────     a majority: fence 5 is written, eu was left for ap
//! ```
//! - **A region is in use only while a majority has granted it a lease**, itself among them. It
//!   counts from when it asked, they count from when they granted, and longer: clocks of two hubs
//!   may differ in *speed* by 3 %. A wall clock only ever ends a lease.
//! - **Who has agreed to a fence grants nothing under a former one**, and agrees only once what it
//!   granted is over. So whoever takes over knows that the region has stopped, cut off or not.
//! - **One fence is decided once** (single-decree Paxos for each number): an attempt that finds
//!   that somebody agreed to another one brings that to its end.
//! - **After its start** a hub agrees to nothing for as long as a lease it may have granted lasts;
//!   one that has lost its disk or is restored neither grants nor agrees until all others of the
//!   list have told it what was said, since what it said itself may be gone.
//!
//! # Source
//! Gray and Cheriton, "Leases" (1989), §2 on clocks; Lamport, "Paxos Made Simple" (2001), §2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use headland_event::{Monotonic, Now, Random, RegionId, SeededRandom};

use crate::fence::{Fence, Fences};

/// What hubs say to each other.
mod message;
/// What one hub grants and agrees to.
mod voter;
/// The lease of one's own region.
mod holder;
/// One attempt to have a region taken over.
mod candidate;
/// What is to be said, and what has to be on disk before.
mod words;

pub use message::{Ballot, LeaseMessage, Vote, Voted};

use candidate::Attempt;
use holder::Holder;
use voter::{Answer, Voter};
use words::Words;

/// How long a lease lasts. Six requests may be lost or late on the way; a shorter one would lapse
/// in a cut of seconds that links get over by themselves.
pub const LEASE: Duration = Duration::from_secs(3);

/// How long who granted a lease counts it: 3 % longer, many times what clocks of a machine that
/// works drift apart by.
pub const HOLD: Duration = Duration::from_millis(3_094);

/// By how much the two clocks of a machine may go apart between two looks at them. A monotonic
/// clock stands still while a machine is suspended; the other one is set right when it goes on.
const APART_LIMIT: Duration = Duration::from_secs(1);

/// How often a lease is asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// By how much longer each region waits that is less preferred: several round trips and writes.
const RANK_DELAY: Duration = Duration::from_secs(1);

/// How long a hub that has just started waits for a region that it has not met: after a loss of
/// power everywhere not all are back at once.
const START_GRACE: Duration = Duration::from_secs(30);

/// An attempt that came to nothing is made again so much later, and up to as much again; twice
/// that for each that another one has passed, so that over long ways one of two gets through.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often that is doubled: to 8 s, the longest of round trips many times over.
const DOUBLED_LIMIT: u32 = 4;

/// How long an attempt may go on that this hub has promised to heed.
const BEGUN_FOR: Duration = Duration::from_secs(30);

/// Most regions that vote: a bound on frames, far beyond what a majority can be waited for of.
pub const VOTERS_LIMIT: usize = 16;

/// Least regions of which a majority can go on without one.
pub const VOTERS_LEAST: usize = 3;

/// Whether this hub's own region is in use only while it holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It is, and others take it over when it is not heard.
    Automatic,
    /// It is in use until an operator leaves it; from its first start on that says so once a
    /// majority knows that it asks no more.
    Never,
}

/// Whether a region's hub can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It can.
    Able,
    /// Its disk takes nothing: another region had better go on for it.
    Unable,
}

/// Whether this hub has all it ever said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Its life is the one in which it said what is kept.
    Whole,
    /// It has begun anew, or was restored: it may have said more.
    Doubtful,
}

/// Settings of [`Leases`].
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// This hub's region.
    pub own: RegionId,
    /// The regions that vote, this one among them, in the order in which they take over; at most
    /// [`VOTERS_LIMIT`].
    pub regions: Vec<RegionId>,
    /// Whether it asks for a lease itself.
    pub asking: Asking,
    /// How long a region is not heard before it is taken over.
    pub after: Duration,
}

/// Work the caller does on behalf of [`Leases`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an output that is dropped is work that is never done"]
pub enum LeaseOutput {
    /// Make this durable under the region's name, and answer with [`Leases::on_kept`], in order.
    Keep(Voted),
    /// All others have told what was said: note that this life's memory is whole, durably; to be
    /// answered with [`Leases::on_kept`] as well.
    KeepMemory,
    /// Tell a region's hub.
    Send(RegionId, LeaseMessage),
    /// It was decided that a region is left: to be written down as other fences are, if it is news.
    Decided(Fence),
    /// This hub's own region is in use from now on.
    Began,
    /// It is not from now on: nothing is acknowledged.
    Ended,
    /// A region's list of those that vote is another one: its word does not count.
    Disagrees(RegionId),
}

/// What one hub knows of who is in use.
#[derive(Debug)]
pub struct Leases {
    config: LeaseConfig,
    fences: Fences,
    voter: Voter,
    holder: Holder,
    memory: Memory,
    started: Monotonic,
    /// Regions that are linked; whether they have said what they know.
    linked: BTreeMap<RegionId, Greeting>,
    /// Regions that have said what they know in this run.
    met: BTreeSet<RegionId>,
    attempts: BTreeMap<RegionId, Attempt>,
    ask_at: Monotonic,
    /// Both clocks, when they were looked at last.
    looked: Option<Now>,
    was_held: bool,
    serving: Serving,
    /// Who has said that it knows that this region asks no more, over the link that is up.
    confirmed: BTreeSet<RegionId>,
    outputs: VecDeque<LeaseOutput>,
    words: Words,
    random: SeededRandom,
}

/// Whether a region's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Awaited,
    Agrees,
    Disagrees,
}

impl Leases {
    /// What a hub knows at its start: the fences and what it has said, both from its disk.
    #[must_use]
    pub fn new(
        config: LeaseConfig,
        fences: Fences,
        (kept, memory): (Vec<Voted>, Memory),
        seed: u64,
        now: Monotonic,
    ) -> Self {
        let voter = Voter::new(&config.regions, kept, now);
        let words = Words::new(config.own.clone(), voter.said());
        let is_free = config.asking == Asking::Never && voter.leased(&config.own).is_none();
        let mut leases = Self {
            voter,
            fences,
            holder: Holder::default(),
            memory,
            started: now,
            linked: BTreeMap::new(),
            met: BTreeSet::new(),
            attempts: BTreeMap::new(),
            ask_at: now,
            looked: None,
            was_held: is_free,
            serving: Serving::Able,
            confirmed: BTreeSet::new(),
            outputs: VecDeque::new(),
            words,
            random: SeededRandom::new(seed),
            config,
        };
        leases.renumber();
        leases
    }

    /// Whether this hub's region may acknowledge now. Without [`Asking::Automatic`] it always may,
    /// as far as leases go, once a majority knows that it asks no more.
    #[must_use]
    pub fn is_held(&self, now: Monotonic) -> bool {
        match self.config.asking {
            Asking::Never => self.voter.leased(&self.config.own).is_none(),
            Asking::Automatic => self.held_until().is_some_and(|until| now < until),
        }
    }

    /// Whether a change of a region's fence by an operator could meet a decision about the same
    /// fence that has begun, and that may have been made without this hub having heard.
    #[must_use]
    pub fn is_begun(&self, now: Monotonic, region: &RegionId) -> bool {
        self.voter.is_begun((now, BEGUN_FOR), region, self.number(region).saturating_add(1))
    }

    /// Whether a region is left by what this hub has agreed to, not by an operator: one is refused
    /// where something was agreed to ([`Self::is_begun`]). Where a region was left for this hub's,
    /// this hub has proposed that, and so agreed to it; where its attempt crossed others it may
    /// have agreed to another one since, and counts it as left by an operator.
    #[must_use]
    pub fn is_voted(&self, region: &RegionId) -> bool {
        let agreed = self.voter.agreed(region, self.number(region));
        agreed.is_some() && agreed == self.fences.left_for(region)
    }

    /// Until when this hub's region holds a lease; `None` when it never got one under this fence.
    #[must_use]
    pub fn held_until(&self) -> Option<Monotonic> {
        let (own, number) = (&self.config.own, self.holder.number());
        let lets = self.memory == Memory::Whole && self.voter.lets(&self.fences, own, number);
        self.holder.until(self.majority().saturating_sub(1)).filter(|_| lets)
    }

    /// Regions whose hubs are linked and take part.
    pub fn voters(&self) -> impl Iterator<Item = &RegionId> {
        let agreeing = self.linked.iter().filter(|(_, said)| **said == Greeting::Agrees);
        agreeing.map(|(region, _)| region)
    }

    /// When this hub granted a region a lease last, in this run.
    #[must_use]
    pub fn granted_at(&self, region: &RegionId) -> Option<Monotonic> {
        self.voter.granted_at(region)
    }

    /// Whether this hub has all it ever said, and so grants and agrees.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        self.memory
    }

    /// A fence holds from now on, written here or heard of.
    pub fn on_fence(&mut self, now: Monotonic, fence: &Fence) {
        if self.fences.take(fence) {
            self.attempts
                .retain(|region, attempt| *region != fence.fenced || attempt.number > fence.number);
            self.renumber();
            self.ask_at = now;
            self.settle(now);
        }
    }

    /// A region's hub is linked, and reads what is said here.
    pub fn on_up(&mut self, now: Monotonic, region: &RegionId) {
        if *region == self.config.own || !self.config.regions.contains(region) {
            return;
        }
        // What was meant for a former link may answer a former run of its hub.
        self.words.forget(region);
        self.confirmed.remove(region);
        if !self.is_asking() {
            self.ask_at = now.after(ASK_EVERY);
        }
        self.linked.insert(region.clone(), Greeting::Awaited);
        self.say_known(region);
        self.settle(now);
    }

    fn say_known(&mut self, to: &RegionId) {
        let (regions, voted) = (self.config.regions.clone(), self.words.durable());
        self.words.say(to.clone(), LeaseMessage::Known { regions, voted });
    }

    /// Whether this hub's region can do its work: while it cannot, it asks for no lease.
    pub const fn on_serving(&mut self, serving: Serving) {
        self.serving = serving;
    }

    /// A region's hub is not linked any more: the link that [`Self::on_up`] told of last is down.
    pub fn on_down(&mut self, now: Monotonic, region: &RegionId) {
        self.linked.remove(region);
        self.words.forget(region);
        self.confirmed.remove(region);
        self.settle(now);
    }

    /// A region's hub has said something.
    pub fn on_message(&mut self, now: Monotonic, from: &RegionId, message: LeaseMessage) {
        let is_question = message.asks_what_is_known();
        match self.linked.get(from) {
            Some(_) if is_question => self.say_known(from),
            Some(Greeting::Agrees) => self.on_word(now, from, message),
            Some(Greeting::Awaited) => {
                if let LeaseMessage::Known { regions, voted } = message {
                    self.on_known(now, from, &regions, &voted);
                }
            }
            Some(Greeting::Disagrees) | None => {}
        }
        self.settle(now);
    }

    /// What was given first of what is not durable yet is durable.
    pub fn on_kept(&mut self, now: Monotonic) {
        self.outputs.extend(self.words.on_kept());
        self.settle(now);
    }

    /// Looks at both clocks: before every use of [`Self::is_held`] whose answer others hear. When
    /// one has gone ahead of the other, the machine stood still or its clock was set, and the lease
    /// may be over; it is asked for anew. So the wall clock ends a lease and never lengthens one.
    pub fn on_clocks(&mut self, now: Now) {
        let before = self.looked.replace(now);
        let Some(before) = before else { return };
        let went = now.monotonic.since(before.monotonic);
        let apart = now.wall.millis_since(before.wall.plus(went)).unsigned_abs();
        if Duration::from_millis(apart) > APART_LIMIT {
            self.holder.clear();
            self.ask_at = now.monotonic;
            self.settle(now.monotonic);
        }
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) {
        if self.is_asking() && self.ask_at <= now {
            self.ask(now);
        }
        self.seek(now);
        self.settle(now);
    }

    /// The next thing to do; `None` until another input.
    pub fn poll_output(&mut self) -> Option<LeaseOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let (to, word) = self.words.poll()?;
        Some(LeaseOutput::Send(to, word))
    }

    /// When to call [`Self::on_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let asks = self.is_asking().then_some(self.ask_at);
        let ends = self.held_until().filter(|_| self.was_held);
        let begun = self.attempts.values().map(|attempt| attempt.again_at);
        let due = self.config.regions.iter().filter(|region| !self.attempts.contains_key(region));
        let due = due.filter_map(|region| self.due_at(region));
        asks.into_iter().chain(ends).chain(begun).chain(due).min()
    }

    fn majority(&self) -> usize {
        self.config.regions.len() / 2 + 1
    }

    /// The number of the fence of a region that holds.
    fn number(&self, region: &RegionId) -> u64 {
        self.fences.held(region).map_or(0, |fence| fence.number)
    }

    /// Asks for leases under the fence that holds.
    fn renumber(&mut self) {
        let number = self.number(&self.config.own);
        if number != self.holder.number() {
            self.confirmed.clear();
        }
        self.holder.begin(number);
    }

    /// Whether there is something to ask now and again: for leases, whether others know that none
    /// are asked for any more, and who they are.
    fn is_asking(&self) -> bool {
        let asked = self.voter.leased(&self.config.own).is_some();
        let is_awaiting = self.linked.values().any(|said| *said == Greeting::Awaited);
        self.config.asking == Asking::Automatic || asked || is_awaiting
    }

    fn ask(&mut self, now: Monotonic) {
        self.ask_at = now.after(ASK_EVERY);
        let awaited = self.linked.iter().filter(|(_, said)| **said == Greeting::Awaited);
        // What it said at first was lost, or came before this hub knew of the link.
        for to in awaited.map(|(region, _)| region.clone()).collect::<Vec<_>>() {
            self.words.say(to, LeaseMessage::WHAT_IS_KNOWN);
        }
        let (own, number) = (self.config.own.clone(), self.holder.number());
        // What others grant would be of no use, and would keep them from bringing to its end what
        // this hub has agreed to itself.
        if !self.voter.lets(&self.fences, &own, number) {
            return;
        }
        let lasts = match (self.config.asking, self.serving) {
            (Asking::Automatic, Serving::Unable) => return,
            (Asking::Automatic, Serving::Able) => {
                // It remembers that it has asked before anybody hears it: it stops only by asking
                // a majority to forget it.
                let news = self.voter.note(&own, Some(number));
                self.keep(news);
                LEASE
            }
            (Asking::Never, _) if self.voter.leased(&own).is_some() => Duration::ZERO,
            (Asking::Never, _) => return,
        };
        let voters: Vec<RegionId> = self.voters().cloned().collect();
        for to in voters {
            self.words.say(to, LeaseMessage::Ask { number, sent_at: now, lasts });
        }
    }

    fn on_known(&mut self, now: Monotonic, from: &RegionId, regions: &[RegionId], voted: &[Voted]) {
        let as_set = |regions: &[RegionId]| regions.iter().cloned().collect::<BTreeSet<_>>();
        if as_set(regions) != as_set(&self.config.regions) {
            self.linked.insert(from.clone(), Greeting::Disagrees);
            return self.outputs.push_back(LeaseOutput::Disagrees(from.clone()));
        }
        self.linked.insert(from.clone(), Greeting::Agrees);
        self.met.insert(from.clone());
        self.ask_at = now;
        if self.config.asking == Asking::Never {
            // It may have asked in a former run: nobody is to miss it now.
            let (number, lasts) = (self.holder.number(), Duration::ZERO);
            self.words.say(from.clone(), LeaseMessage::Ask { number, sent_at: now, lasts });
        }
        if self.memory == Memory::Whole {
            return;
        }
        for learned in self.voter.learn(&self.config.own, from, voted) {
            self.keep(Some(learned));
        }
        if self.met.len() + 1 >= self.config.regions.len() {
            self.memory = Memory::Whole;
            self.outputs.push_back(self.words.write_memory());
        }
    }

    fn keep(&mut self, said: Option<Voted>) {
        self.outputs.extend(said.and_then(|said| self.words.write(said)));
    }

    fn on_word(&mut self, now: Monotonic, from: &RegionId, message: LeaseMessage) {
        match message {
            // It comes once a link, before all else.
            LeaseMessage::Known { .. } => {}
            LeaseMessage::Ask { number, sent_at, lasts } => {
                // A longer one than is counted here cannot be granted.
                if self.memory == Memory::Whole && lasts <= LEASE {
                    let (fences, ask) = (&self.fences, (number, sent_at));
                    let answer = if lasts.is_zero() {
                        self.voter.on_no_more(fences, from, ask)
                    } else {
                        self.voter.on_ask(now, fences, from, ask)
                    };
                    self.answer(from, answer);
                }
            }
            LeaseMessage::Grant { number, sent_at } => match self.config.asking {
                Asking::Automatic => self.holder.on_grant(now, from, (number, sent_at)),
                Asking::Never if number == self.holder.number() => {
                    self.confirmed.insert(from.clone());
                }
                Asking::Never => {}
            },
            LeaseMessage::Prepare { region, number, ballot }
                if ballot.by == *from && self.votes(now, &region) =>
            {
                let about = (&region, number);
                let answer = self.voter.on_prepare(now, &self.fences, about, ballot);
                self.answer(from, answer);
            }
            LeaseMessage::Accept { region, number, vote }
                if vote.ballot.by == *from && self.votes(now, &region) =>
            {
                let answer = self.voter.on_accept(now, &self.fences, (&region, number), vote);
                self.answer(from, answer);
            }
            LeaseMessage::Prepare { .. } | LeaseMessage::Accept { .. } => {}
            LeaseMessage::Promise { region, number, ballot, accepted } => {
                self.on_promise(from, (region, number, ballot), accepted);
            }
            LeaseMessage::Accepted { region, number, ballot } => {
                self.on_accepted(from, (region, number, ballot));
            }
            LeaseMessage::Refused { region, number, promised } => {
                let is_near = self.voter.is_near(&region, number, &promised);
                let attempt = self.attempts.get_mut(&region).filter(|_| is_near);
                if let Some(attempt) = attempt.filter(|attempt| attempt.number == number) {
                    attempt.passed_by = attempt.passed_by.clone().max(Some(promised));
                }
            }
        }
    }

    /// Whether this hub votes about a region now: not before its memory is whole, and not about
    /// its own while that is in use.
    fn votes(&self, now: Monotonic, region: &RegionId) -> bool {
        let is_own = *region == self.config.own;
        self.memory == Memory::Whole && !(is_own && self.is_held(now))
    }

    fn answer(&mut self, to: &RegionId, answer: Answer) {
        let Answer { message, keep } = answer;
        self.keep(keep);
        if let Some(message) = message {
            self.words.say(to.clone(), message);
        }
    }

    fn attempt_of(&mut self, of: &(RegionId, u64, Ballot)) -> Option<&mut Attempt> {
        let (region, number, ballot) = of;
        let attempt = self.attempts.get_mut(region)?;
        (attempt.number == *number && attempt.ballot == *ballot).then_some(attempt)
    }

    fn on_promise(&mut self, from: &RegionId, of: (RegionId, u64, Ballot), vote: Option<Vote>) {
        let (majority, is_own) = (self.majority(), *from == self.config.own);
        let is_target = vote.as_ref().is_none_or(|vote| self.voter.is_target(&of.0, &vote.to));
        let Some(attempt) = self.attempt_of(&of).filter(|_| is_target) else { return };
        if attempt.on_promise(from, vote, majority) {
            let word = attempt.word();
            self.words.say(self.config.own.clone(), word);
        } else if is_own {
            let word = attempt.word();
            self.tell_all(&word);
        }
    }

    fn on_accepted(&mut self, from: &RegionId, of: (RegionId, u64, Ballot)) {
        let (majority, is_own) = (self.majority(), *from == self.config.own);
        let Some(attempt) = self.attempt_of(&of) else { return };
        let word = attempt.word();
        if let Some(to) = attempt.on_accepted(from, majority) {
            let (region, number, _) = of;
            self.attempts.remove(&region);
            let fence = Fence { fenced: region, number, to: Some(to) };
            return self.outputs.push_back(LeaseOutput::Decided(fence));
        }
        if is_own {
            self.tell_all(&word);
        }
    }

    fn tell_all(&mut self, word: &LeaseMessage) {
        let voters: Vec<RegionId> = self.voters().cloned().collect();
        voters.into_iter().for_each(|to| self.words.say(to, word.clone()));
    }

    /// When a region is to be taken over by this one; `None` while it is not to be.
    fn due_at(&self, region: &RegionId) -> Option<Monotonic> {
        let own = &self.config.own;
        let number = self.number(region);
        let is_leased = self.voter.leased(region) == Some(number);
        let is_left = |of: &RegionId| self.fences.left_for(of).is_some();
        // What was begun is brought to its end, since the region gets no lease meanwhile; also by
        // a hub that is not in use, for it goes on where it was agreed, not here.
        let is_begun = self.voter.is_agreed(region, number.saturating_add(1));
        let is_in_use = self.was_held && !is_left(own) && self.serving == Serving::Able;
        let is_able = self.memory == Memory::Whole && (is_begun || is_in_use);
        let is_own = region == own && !is_begun;
        if is_own || !is_able || !is_leased || is_left(region) {
            return None;
        }
        let others = self.config.regions.iter().filter(|other| *other != region);
        let rank = others.take_while(|other| *other != own).count();
        let wait = RANK_DELAY.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX));
        let heard = self.voter.granted_at(region);
        let grace = if is_begun { Duration::ZERO } else { START_GRACE };
        let heard = heard.unwrap_or_else(|| self.started.after(grace));
        // Before that this hub itself would not agree.
        let over = heard.max(self.started).after(HOLD);
        Some(heard.after(self.config.after).max(over).after(wait))
    }

    /// Takes over who was not heard for too long, and goes on with what was begun.
    fn seek(&mut self, now: Monotonic) {
        let regions = self.config.regions.clone();
        for region in &regions {
            if self.due_at(region).is_none_or(|at| now < at) {
                self.attempts.remove(region);
                continue;
            }
            if self.attempts.get(region).is_some_and(|attempt| now < attempt.again_at) {
                continue;
            }
            self.attempt(now, region);
        }
    }

    /// Begins an attempt, says again what was said in one that goes on, or begins a higher one.
    fn attempt(&mut self, now: Monotonic, region: &RegionId) {
        let own = self.config.own.clone();
        let number = self.number(region).saturating_add(1);
        let known = self.attempts.get_mut(region);
        let word = match known.filter(|known| known.number == number && known.passed_by.is_none()) {
            Some(attempt) => {
                attempt.again_at = now.after(wait(attempt.passed, &mut self.random));
                attempt.word()
            }
            None => {
                let former = self.attempts.remove(region);
                let passed = former.as_ref().map_or(0, |former| former.passed.saturating_add(1));
                let passed_by = former.and_then(|former| former.passed_by);
                let round = passed_by.map_or(0, |ballot| ballot.round);
                let round = round.max(self.voter.round(region, number)).saturating_add(1);
                let ballot = Ballot { round, by: own.clone() };
                let again_at = now.after(wait(passed, &mut self.random));
                let mut attempt = Attempt::new(region.clone(), number, ballot, again_at);
                attempt.passed = passed;
                let word = attempt.word();
                self.attempts.insert(region.clone(), attempt);
                word
            }
        };
        // What this hub says itself is on its disk before others hear of the attempt: it is never
        // made a second time with another end, and who loses its disk learns of it here.
        self.words.say(own, word);
    }

    /// Does what this hub says to itself, and notes whether its region is in use.
    fn settle(&mut self, now: Monotonic) {
        let own = self.config.own.clone();
        while let Some(word) = self.words.poll_own() {
            self.on_word(now, &own, word);
        }
        self.ask_no_more();
        let is_held = self.is_held(now);
        if is_held != self.was_held {
            self.was_held = is_held;
            let change = if is_held { LeaseOutput::Began } else { LeaseOutput::Ended };
            self.outputs.push_back(change);
        }
        self.check_invariants();
    }

    /// Of a region that asked and is to ask no more: it is in use once so many know that none can
    /// agree to leave it, itself among them.
    fn ask_no_more(&mut self) {
        let (own, number) = (self.config.own.clone(), self.holder.number());
        let is_known = self.confirmed.len() + 1 >= self.majority();
        let is_open = self.memory == Memory::Whole && self.voter.lets(&self.fences, &own, number);
        if self.config.asking == Asking::Never && is_known && is_open {
            let news = self.voter.note(&own, None);
            self.keep(news);
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.config.regions.len() <= VOTERS_LIMIT, "voters are bounded");
        self.words.check_invariants();
        debug_assert!(self.attempts.len() <= VOTERS_LIMIT, "one attempt a region");
        self.voter.check_invariants();
    }
}

/// After how long an attempt is made again, of which so many were passed by.
fn wait(passed: u32, random: &mut SeededRandom) -> Duration {
    let least = AGAIN_AFTER.saturating_mul(1 << passed.min(DOUBLED_LIMIT));
    let spread = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
    least.saturating_add(Duration::from_nanos(random.below(spread)))
}

#[cfg(test)]
mod tests;
