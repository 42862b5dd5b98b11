//! Aggregates per key over all rows so far, with updates: Flink's changelog.
//!
//! The first row of a group gives `+I`, each change of its result `-U` and `+U`, and the last row
//! taken back `-D`. A group whose result stays the same says nothing.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::group_state::{Accumulators, may_grow};
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::pane_aggregate::{contributions, encode_keys, replaced};
use crate::output::{Change, Refusal};
use crate::value::Value;

/// Aggregates per key.
#[derive(Debug)]
pub(crate) struct GroupAggregate {
    keys: Vec<Expression>,
    calls: Vec<Call>,
    seed: u64,
    groups: Keyed<Group>,
    header: Header,
    key: Vec<u8>,
    contributions: Vec<Value>,
}

/// A group that has rows.
#[derive(Debug, Clone)]
struct Group {
    rows: i64,
    state: Accumulators,
}

impl State for Group {
    type Shape = Vec<Call>;

    fn write(&self, writer: &mut Writer) {
        let Self { rows, state } = self;
        writer.i64(*rows);
        state.write(writer);
    }

    fn read(calls: &Vec<Call>, reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self { rows: reader.i64("rows")?, state: Accumulators::read(calls, reader)? })
    }

    fn heap_bytes(&self) -> usize {
        self.state.heap_bytes()
    }
}

impl GroupAggregate {
    pub(crate) fn new(keys: Vec<Expression>, calls: Vec<Call>, seed: u64) -> Self {
        Self {
            keys,
            calls,
            seed,
            groups: Keyed::new(seed),
            header: Header::default(),
            key: Vec::new(),
            contributions: Vec::new(),
        }
    }

    /// A row of keys and aggregates.
    fn row(&self, state: &Accumulators) -> Vec<Value> {
        let mut row: Vec<Value> = GroupKey::new(&self.key).values().collect();
        debug_assert_eq!(row.len(), self.keys.len(), "a group has every key");
        row.extend(state.results(&self.calls));
        row
    }
}

impl Operate for GroupAggregate {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        self.key.clear();
        encode_keys(&self.keys, arriving.row, &mut self.key)?;
        contributions(&self.calls, arriving.row, &mut self.contributions)?;
        let (calls, contributions) = (&self.calls, &self.contributions);
        let Some(group) = self.groups.get(&self.key) else {
            if !arriving.is_added() {
                // What is taken back was never added here: it came before a limit let go of it.
                return Ok(Fate::Taken);
            }
            arriving.limits.admit_key(self.groups.len(), self.groups.bytes())?;
            if arriving.is_trial() {
                return Ok(Fate::Taken);
            }
            let mut state = Accumulators::start(calls);
            state.add(calls, contributions);
            out.rows.push(Changed::insert(self.row(&state)));
            self.groups.insert(GroupKey::new(&self.key), Group { rows: 1, state });
            return Ok(Fate::Taken);
        };
        if arriving.is_added() && may_grow(calls) {
            arriving.limits.admit_bytes(self.groups.bytes())?;
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        let before = self.row(&group.state);
        if !arriving.is_added() && group.rows == 1 {
            self.groups.remove(&self.key);
            out.rows.push(Changed::of(Change::Delete, before));
            return Ok(Fate::Taken);
        }
        self.groups.update(&self.key, |group| {
            if arriving.is_added() {
                group.rows += 1;
                group.state.add(calls, contributions);
            } else {
                group.rows -= 1;
                group.state.retract(calls, contributions);
            }
        });
        let after = self.groups.get(&self.key).map(|group| self.row(&group.state));
        out.rows.extend(replaced(Some(before), after));
        Ok(Fate::Taken)
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.groups.len(), bytes: self.groups.bytes() }
    }

    fn shape(&self) -> String {
        let calls = self.calls.iter().map(Call::shape).collect::<Vec<_>>();
        format!("groups, {} keys, {}", self.keys.len(), calls.join(", "))
    }

    fn begin_cut(&mut self) {
        self.header.begin(&mut self.groups, |_| {});
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.groups, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.groups = Keyed::read(self.seed, &self.calls, reader)?;
        Ok(())
    }
}
