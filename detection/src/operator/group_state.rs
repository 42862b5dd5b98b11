//! The aggregates of one group together.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::accumulator::{Accumulator, Call};
use crate::operator::keyed::State;
use crate::value::Value;

/// The accumulators of a group, in the order of the calls. A single one, the most frequent case,
/// lies beside its key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accumulators {
    One(Accumulator),
    Many(Box<[Accumulator]>),
}

impl Accumulators {
    /// The state of no rows.
    pub(crate) fn start(calls: &[Call]) -> Self {
        match calls {
            [call] => Self::One(call.start()),
            calls => Self::Many(calls.iter().map(Call::start).collect()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Accumulator] {
        match self {
            Self::One(accumulator) => std::slice::from_ref(accumulator),
            Self::Many(accumulators) => accumulators,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Accumulator] {
        match self {
            Self::One(accumulator) => std::slice::from_mut(accumulator),
            Self::Many(accumulators) => accumulators,
        }
    }

    /// Adds a row's contributions, one per call.
    pub(crate) fn add(&mut self, calls: &[Call], contributions: &[Value]) {
        debug_assert_eq!(calls.len(), contributions.len(), "a contribution per aggregate");
        for ((call, accumulator), contribution) in
            calls.iter().zip(self.as_mut_slice()).zip(contributions)
        {
            call.add(accumulator, contribution);
        }
    }

    /// Takes a row's contributions back.
    pub(crate) fn retract(&mut self, calls: &[Call], contributions: &[Value]) {
        debug_assert_eq!(calls.len(), contributions.len(), "a contribution per aggregate");
        for ((call, accumulator), contribution) in
            calls.iter().zip(self.as_mut_slice()).zip(contributions)
        {
            call.retract(accumulator, contribution);
        }
    }

    /// Adds what a later pane has seen.
    pub(crate) fn merge(&mut self, calls: &[Call], later: &Self) {
        for ((call, accumulator), later) in
            calls.iter().zip(self.as_mut_slice()).zip(later.as_slice())
        {
            call.merge(accumulator, later);
        }
    }

    /// One result per call.
    pub(crate) fn results<'a>(&'a self, calls: &'a [Call]) -> impl Iterator<Item = Value> + 'a {
        calls.iter().zip(self.as_slice()).map(|(call, accumulator)| call.result(accumulator))
    }
}

/// Whether a group that is there may take more memory with each row, so that a limit of memory has
/// to be asked also for groups that are open.
pub(crate) fn may_grow(calls: &[Call]) -> bool {
    calls.iter().any(Call::may_grow)
}

impl State for Accumulators {
    type Shape = Vec<Call>;

    fn write(&self, writer: &mut Writer) {
        self.as_slice().iter().for_each(|accumulator| accumulator.write(writer));
    }

    fn read(calls: &Vec<Call>, reader: &mut Reader) -> Result<Self, CodecError> {
        match calls.as_slice() {
            [call] => Ok(Self::One(call.read(reader)?)),
            calls => Ok(Self::Many(
                calls.iter().map(|call| call.read(reader)).collect::<Result<_, _>>()?,
            )),
        }
    }

    fn heap_bytes(&self) -> usize {
        let boxed = match self {
            Self::One(_) => 0,
            Self::Many(accumulators) => size_of_val::<[Accumulator]>(accumulators),
        };
        boxed + self.as_slice().iter().map(Accumulator::heap_bytes).sum::<usize>()
    }
}
