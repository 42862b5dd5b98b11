//! What every join does: keys of its sides, pairs of rows, rows without a partner.

use crate::expression::Expression;
use crate::operator::group_key;
use crate::output::Refusal;
use crate::relation::JoinKind;
use crate::value::Value;

/// Which input of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    /// The side that comes by a port.
    pub(crate) const fn of(port: usize) -> Self {
        if port == 0 { Self::Left } else { Self::Right }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// How rows of two sides go together.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) kind: JoinKind,
    keys: Vec<(Expression, Expression)>,
    condition: Option<Expression>,
    left_width: usize,
    right_width: usize,
}

impl Pairing {
    pub(crate) const fn new(
        kind: JoinKind,
        keys: Vec<(Expression, Expression)>,
        condition: Option<Expression>,
        widths: (usize, usize),
    ) -> Self {
        let (left_width, right_width) = widths;
        Self { kind, keys, condition, left_width, right_width }
    }

    /// How many keys, for shapes.
    pub(crate) fn shape(&self) -> String {
        format!(
            "{:?}, {} keys, {} and {}",
            self.kind,
            self.keys.len(),
            self.left_width,
            self.right_width
        )
    }

    /// The key of a row, appended as bytes; false when a part is NULL, which equals nothing.
    pub(crate) fn encode_key(
        &self,
        side: Side,
        row: &[Value],
        key: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        for (left, right) in &self.keys {
            let expression = match side {
                Side::Left => left,
                Side::Right => right,
            };
            let value = expression.evaluate(row).map_err(Refusal::Evaluation)?;
            if value.is_null() {
                return Ok(false);
            }
            group_key::encode(&value, key);
        }
        Ok(true)
    }

    /// The key of a left row as values.
    pub(crate) fn left_key(&self, row: &[Value]) -> Result<Vec<Value>, Refusal> {
        let keys = self.keys.iter().map(|(left, _)| left.evaluate(row).map(|v| v.into_owned()));
        keys.collect::<Result<_, _>>().map_err(Refusal::Evaluation)
    }

    /// Two rows side by side, when the condition holds; keys are known to be equal.
    pub(crate) fn pair(
        &self,
        side: Side,
        row: &[Value],
        other: &[Value],
    ) -> Result<Option<Vec<Value>>, Refusal> {
        let (left, right) = match side {
            Side::Left => (row, other),
            Side::Right => (other, row),
        };
        debug_assert_eq!((left.len(), right.len()), (self.left_width, self.right_width));
        let mut pair = Vec::with_capacity(self.left_width + self.right_width);
        pair.extend_from_slice(left);
        pair.extend_from_slice(right);
        match &self.condition {
            Some(condition) if !condition.is_true(&pair).map_err(Refusal::Evaluation)? => Ok(None),
            Some(_) | None => Ok(Some(pair)),
        }
    }

    /// Whether pairs come out, and not left rows alone.
    pub(crate) const fn gives_pairs(&self) -> bool {
        match self.kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => true,
            JoinKind::Semi | JoinKind::Anti => false,
        }
    }

    /// A row of a side that has no partner, as it comes out; none when it does not.
    pub(crate) fn alone(&self, side: Side, row: &[Value]) -> Option<Vec<Value>> {
        let nulls = |width: usize| std::iter::repeat_n(Value::Null, width);
        match (self.kind, side) {
            (JoinKind::Left | JoinKind::Full, Side::Left) => {
                Some(row.iter().cloned().chain(nulls(self.right_width)).collect())
            }
            (JoinKind::Right | JoinKind::Full, Side::Right) => {
                Some(nulls(self.left_width).chain(row.iter().cloned()).collect())
            }
            (JoinKind::Anti, Side::Left) => Some(row.to_vec()),
            (JoinKind::Inner | JoinKind::Semi, _)
            | (JoinKind::Left, Side::Right)
            | (JoinKind::Right, Side::Left)
            | (JoinKind::Anti, Side::Right) => None,
        }
    }

    /// A left row that has a partner, for a join that gives left rows alone.
    pub(crate) fn semi(&self, row: &[Value]) -> Option<Vec<Value>> {
        match self.kind {
            JoinKind::Semi => Some(row.to_vec()),
            JoinKind::Inner
            | JoinKind::Left
            | JoinKind::Right
            | JoinKind::Full
            | JoinKind::Anti => None,
        }
    }
}
