//! numpy's `==` between an array, or a scalar, and a value read from JSON: shapes broadcast to a common one, types
//! converted as numpy does, one answer per item.

use super::value::{Equal, Raised, Typed};
use crate::compare::value::Value;

/// At most this many items are compared: from two answers on, the result is only that there are several.
pub(super) const MOST_ANSWERS: usize = 1 << 20;

/// numpy's element-wise `==`, the expected value made an array and both broadcast to a common shape. `equal` is
/// `==` of an item and a value inside a container.
pub(super) fn each(
    narrow: bool,
    shape: &[usize],
    items: &[Typed],
    expected: &Value,
    equal: impl Fn(&Typed, &Value) -> Result<bool, Raised>,
) -> Result<Equal, Raised> {
    let mut others = Vec::new();
    let other_shape = shape_of(expected)?;
    flatten(expected, other_shape.len(), &mut others);
    let texts = as_text(&others);
    if let Some(texts) = &texts {
        others = texts.iter().collect();
    }
    let common = broadcast(shape, &other_shape)?;
    let total = common
        .iter()
        .fold(1, |total: usize, &size| total.saturating_mul(size));
    let total = total.min(MOST_ANSWERS);
    let lone = other_shape.is_empty();
    let mut answers = Vec::with_capacity(total);
    for flat in 0..total {
        let (item, other) = (
            items.get(place(flat, &common, shape)),
            others.get(place(flat, &common, &other_shape)),
        );
        let (Some(item), Some(other)) = (item, other) else {
            return Ok(Equal::Plain(false)); // never: both have as many items as their shapes say
        };
        answers.push(if narrow && lone {
            same_rounded(item, other, |float| f64::from(float as f32))
        } else {
            equal(item, other)? || mixed(item, other) && same_rounded(item, other, |float| float)
        });
    }
    if common.is_empty() {
        return Ok(Equal::Plain(answers == [true]));
    }
    Ok(Equal::Each(answers))
}

/// Whether one is a float and the other an integer: numpy compares them as floats.
fn mixed(item: &Typed, other: &Value) -> bool {
    use Value::{Float, Int};
    matches!(
        (item, other),
        (Typed::Json(Float(_)), Int(_)) | (Typed::Json(Int(_)), Float(_))
    )
}

/// Whether two numbers are equal as floats of some width.
#[expect(clippy::float_cmp, reason = "the official comparison is exact")]
fn same_rounded(item: &Typed, other: &Value, round: impl Fn(f64) -> f64) -> bool {
    let number = |value: &Value| match value {
        Value::Float(float) => Some(round(*float)),
        Value::Int(text) => text.parse().ok().map(&round),
        Value::Bool(bool) => Some(f64::from(u8::from(*bool))),
        _ => None,
    };
    let Typed::Json(item) = item else {
        return false;
    };
    match (number(item), number(other)) {
        (Some(item), Some(other)) => item == other,
        _ => false,
    }
}

/// Numbers beside texts in a list: numpy converts them all to text. A float's text would equal nothing here.
fn as_text(values: &[&Value]) -> Option<Vec<Value>> {
    let text = |value: &&Value| match value {
        Value::Text(text) => Some(Value::Text(text.clone())),
        Value::Int(digits) => Some(Value::Text(digits.clone().into_bytes())),
        Value::Bool(bool) => Some(Value::Text(if *bool { "True" } else { "False" }.into())),
        Value::Float(_) => Some(Value::Null),
        _ => None,
    };
    let some_text = values.len() > 1 && values.iter().any(|value| matches!(value, Value::Text(_)));
    some_text.then(|| values.iter().map(text).collect())?
}

fn list_length(value: &Value) -> Option<usize> {
    match value {
        Value::List(items) => Some(items.len()),
        _ => None,
    }
}

/// The shape numpy finds in a nested list.
fn shape_of(value: &Value) -> Result<Vec<usize>, Raised> {
    let mut shape = Vec::new();
    let mut level = vec![value];
    while let Some(length) = level.iter().find_map(|value| list_length(value)) {
        let lengths_agree = level.iter().all(|value| list_length(value) == Some(length));
        if !lengths_agree {
            let found: Vec<String> = shape.iter().map(usize::to_string).collect();
            let comma = if found.len() == 1 { "," } else { "" };
            return Err(format!(
                "ValueError('setting an array element with a sequence. The requested array has an inhomogeneous shape \
                 after {} dimensions. The detected shape was ({}{comma}) + inhomogeneous part.')",
                shape.len(),
                found.join(", ")
            )
            .into_bytes());
        }
        shape.push(length);
        level = level
            .iter()
            .filter_map(|value| match value {
                Value::List(items) => Some(items),
                _ => None,
            })
            .flatten()
            .collect();
    }
    Ok(shape)
}

fn flatten<'v>(value: &'v Value, dimensions: usize, into: &mut Vec<&'v Value>) {
    match value {
        Value::List(items) if dimensions > 0 => {
            for item in items {
                flatten(item, dimensions - 1, into);
            }
        }
        _ => into.push(value),
    }
}

fn broadcast(left: &[usize], right: &[usize]) -> Result<Vec<usize>, Raised> {
    let length = left.len().max(right.len());
    let size = |shape: &[usize], at: usize| {
        (at + shape.len())
            .checked_sub(length)
            .map_or(1, |at| shape[at])
    };
    (0..length)
        .map(|at| match (size(left, at), size(right, at)) {
            (left, right) if left == right || right == 1 => Ok(left),
            (1, right) => Ok(right),
            _ => Err(format!(
                "ValueError('operands could not be broadcast together with shapes {} {} ')",
                shape_text(left),
                shape_text(right)
            )
            .into_bytes()),
        })
        .collect()
}

/// A shape as numpy's messages write it: `(2,)`, `(2,3)`.
fn shape_text(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    format!("({}{comma})", sizes.join(","))
}

/// Where the item at `flat` of the common shape comes from in an array of `shape`.
fn place(flat: usize, common: &[usize], shape: &[usize]) -> usize {
    let (mut rest, mut index, mut step) = (flat, 0, 1);
    for back in 1..=common.len() {
        let size = common[common.len() - back];
        let at = rest % size;
        rest /= size;
        if let Some(&own) = shape.len().checked_sub(back).and_then(|at| shape.get(at)) {
            index += step * if own == 1 { 0 } else { at };
            step *= own;
        }
    }
    index
}
