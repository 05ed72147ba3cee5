//! JSON values under Python's rules: what `json.loads` gives, compared as `==` compares.
//!
//! Integers are exact at any length, `1 == 1.0 == true`, NaN differs from itself, dictionaries ignore order, a
//! later duplicate key wins. `NaN`, `Infinity` and lone surrogates are read as Python reads them.
//! A string is held in generalised UTF-8, so that a lone surrogate can be held too.

use std::collections::HashMap;

/// One decoded value.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Canonical decimal text: no leading zero, no `-0`.
    Int(String),
    /// Anything written with a point or an exponent, NaN and infinities.
    Float(f64),
    /// Generalised UTF-8.
    Text(Vec<u8>),
    /// `[...]`
    List(Vec<Value>),
    /// `{...}`
    Dict(HashMap<Vec<u8>, Value>),
}

impl Value {
    /// How many values it is made of.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Self::Dict(entries) => 1 + entries.values().map(Self::size).sum::<usize>(),
            _ => 1,
        }
    }

    /// Python's `==`.
    pub fn same_value(&self, other: &Self) -> bool {
        use Value::{Bool, Dict, Float, Int, List, Null, Text};
        match (self, other) {
            (Null, Null) => true,
            (Bool(left), Bool(right)) => left == right,
            (Int(left), Int(right)) => left == right,
            (Text(left), Text(right)) => left == right,
            #[expect(clippy::float_cmp, reason = "the official comparison is exact")]
            (Float(left), Float(right)) => left == right,
            (Int(int), Float(float)) | (Float(float), Int(int)) => {
                integer_text(*float).as_ref() == Some(int)
            }
            (Bool(bool), Int(int)) | (Int(int), Bool(bool)) => int == if *bool { "1" } else { "0" },
            #[expect(clippy::float_cmp, reason = "0.0 and 1.0 are exact")]
            (Bool(bool), Float(float)) | (Float(float), Bool(bool)) => {
                *float == f64::from(u8::from(*bool))
            }
            (List(left), List(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| left.same_value(right))
            }
            (Dict(left), Dict(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(key, value)| {
                        right.get(key).is_some_and(|found| value.same_value(found))
                    })
            }
            _ => false,
        }
    }

    /// As [`Self::same_value`], but two numbers are also equal where `close` says so. Truth values are not numbers.
    pub(crate) fn same_but_for_numbers(
        &self,
        other: &Self,
        close: &dyn Fn(f64, f64) -> bool,
    ) -> bool {
        use Value::{Dict, List};
        match (self, other) {
            (List(left), List(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| left.same_but_for_numbers(right, close))
            }
            (Dict(left), Dict(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(key, value)| {
                        right
                            .get(key)
                            .is_some_and(|found| value.same_but_for_numbers(found, close))
                    })
            }
            _ => {
                self.same_value(other)
                    || match (self.number(), other.number()) {
                        (Some(left), Some(right)) => close(left, right),
                        _ => false,
                    }
            }
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            // Beyond the range of floats only equality counts.
            Self::Int(text) => text.parse().ok().filter(|float: &f64| float.is_finite()),
            _ => None,
        }
    }
}

/// The exact decimal text of a float that is a whole number.
fn integer_text(float: f64) -> Option<String> {
    if !float.is_finite() || float.fract() != 0.0 {
        return None;
    }
    let text = format!("{float:.0}");
    Some(if text == "-0" { "0".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use super::Value;

    fn equal(left: &str, right: &str) -> bool {
        match (
            Value::parse(left.as_bytes()),
            Value::parse(right.as_bytes()),
        ) {
            (Some(left), Some(right)) => left.same_value(&right),
            other => panic!("{left} {right}: {other:?}"),
        }
    }

    #[test]
    fn python_equality() {
        let big = "123456789012345678901234567890";
        for (left, right) in [
            ("1", "1.0"),
            ("true", "1"),
            ("0.0", "false"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e300", &format!("{:.0}", 1e300)),
            (big, big),
            ("Infinity", "1e999"),
            (r#"{"a": 1, "b": [2]}"#, r#" {"b":[2.0],"a":1} "#),
            (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
            (r#""\u00e9\ud83d\ude00""#, "\"é😀\""),
            (r#""\ud800""#, r#""\uD800""#),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn python_inequality() {
        for (left, right) in [
            ("NaN", "NaN"),
            ("0.1", "0.10000000000000002"),
            ("9007199254740993", "9007199254740992.0"),
            ("null", "[]"),
            ("null", "0"),
            ("\"1\"", "1"),
            ("[1]", "[1, 2]"),
            (r#"{"1": 2}"#, r#"{"2": 1}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#),
            (r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#),
            (r#""\ud800""#, r#""\ud801""#),
        ] {
            assert!(!equal(left, right), "{left} {right}");
        }
    }
}
