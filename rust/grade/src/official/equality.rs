//! Python's `==` between a function's typed result and a value read from JSON.

use super::arrays::each;
use super::value::{Equal, Raised, Typed};
use crate::compare::value::Value;

pub(super) const AMBIGUOUS: &str = "ValueError('The truth value of an array with more than one element is ambiguous. \
     Use a.any() or a.all()')";
pub(super) const EMPTY: &str = "ValueError('The truth value of an empty array is ambiguous. Use `array.size > 0` to \
     check that an array is not empty.')";

impl Typed {
    /// Python's `==`.
    pub(super) fn equals(&self, expected: &Value) -> Result<Equal, Raised> {
        let plain = |same| Ok(Equal::Plain(same));
        match (self, expected) {
            (Self::Json(value), _) => plain(value.same_value(expected)),
            (Self::List(left), Value::List(right)) => {
                if left.len() != right.len() {
                    return plain(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !left.is_inside(right)? {
                        return plain(false);
                    }
                }
                plain(true)
            }
            (Self::Dict(left), Value::Dict(right)) => {
                if left.len() != right.len() {
                    return plain(false);
                }
                for (key, left) in left {
                    match right.get(key) {
                        Some(right) if left.is_inside(right)? => {}
                        _ => return plain(false),
                    }
                }
                plain(true)
            }
            (
                Self::Array {
                    narrow,
                    shape,
                    items,
                },
                _,
            ) => each(*narrow, shape, items, expected, Self::is_inside),
            (Self::Raises(repr), _) if is_number(expected) => Err(repr.clone()),
            _ => plain(false),
        }
    }

    /// `==` inside a list or dict: the same object is equal to itself, and the answer must be true or false.
    pub(super) fn is_inside(&self, expected: &Value) -> Result<bool, Raised> {
        if let (Self::SharedNan, Value::Float(float)) = (self, expected) {
            return Ok(float.is_nan());
        }
        match self.equals(expected)? {
            Equal::Plain(same) => Ok(same),
            Equal::Each(answers) => match answers[..] {
                [] => Err(EMPTY.into()),
                [answer] => Ok(answer),
                _ => Err(AMBIGUOUS.into()),
            },
        }
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_))
}
