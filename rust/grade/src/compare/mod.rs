//! Which answers count as the expected one: the rule by its name, and what each rule means.
//!
//! | rule | a program's output | a function's result |
//! |---|---|---|
//! | `official` | LiveCodeBench's comparison (see `official`) | Python's `==` |
//! | `exact` | byte for byte; one newline at the very end does not count | `==` |
//! | `tokens` | the same words; how they are spaced and broken into lines does not count | `==` |
//! | `tokens_ci` | as `tokens`, upper and lower case alike (code point by code point) | `==` |
//! | `float` | as `tokens`, but two numbers need only be close | `==`, but two numbers need only be close, at any depth |
//! | `checker:PATH` | a program decides (see `checker`) | the same, on JSON text |
//!
//! Close: `|actual - expected| <= max(abs, rel * |expected|)`. `float:1e-6` sets both tolerances, `float:abs=1e-9` or
//! `float:abs=1e-9,rel=1e-6` each one (the other is 0), bare `float` is `float:1e-6`. An infinity is close only
//! to itself, and NaN only to the same word.

pub(crate) mod checker;
pub(crate) mod decimal;
pub(crate) mod official;
pub(crate) mod plain;
pub(crate) mod reader;
pub(crate) mod value;

use std::sync::Arc;

use checker::Checker;
use official::{Tokens, same_output};
use value::Value;

use crate::types::case::CompareSpec;

/// Bare `float`: what most problem statements ask for.
const DEFAULT_TOLERANCE: f64 = 1e-6;
/// For messages.
const RULES: &str = "official, exact, tokens, tokens_ci, float, float:1e-6, float:abs=1e-9,rel=1e-6 or checker:PATH";

/// A comparator, ready to use. See the module.
#[derive(Debug, Clone)]
pub enum Comparator {
    /// LiveCodeBench's.
    Official,
    /// Bytes.
    Exact,
    /// Words.
    Tokens,
    /// Words in any case.
    TokensAnyCase,
    /// Words, numbers within a tolerance.
    Float(Tolerance),
    /// A program.
    Checker(Arc<Checker>),
}

/// How far a number may lie from the expected one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    absolute: f64,
    relative: f64,
}

impl Comparator {
    /// The comparator that `spec` names, or what is wrong with it.
    pub fn new(spec: &CompareSpec) -> Result<Self, String> {
        let bad = |why: &str| format!("compare = {:?}: {why}", spec.rule);
        let (name, parameters) = match spec.rule.split_once(':') {
            Some((name, parameters)) => (name, Some(parameters)),
            None => (spec.rule.as_str(), None),
        };
        match (name, parameters) {
            ("official", None) => Ok(Self::Official),
            ("exact", None) => Ok(Self::Exact),
            ("tokens", None) => Ok(Self::Tokens),
            ("tokens_ci", None) => Ok(Self::TokensAnyCase),
            ("float", parameters) => Tolerance::parse(parameters)
                .map(Self::Float)
                .map_err(|why| bad(&why)),
            ("checker", Some(path)) => match &spec.checker {
                Some(source) => Ok(Self::Checker(Arc::new(Checker::new(path, source)))),
                None => Err(bad("the checker program's text is missing")),
            },
            _ => Err(bad(&format!("must be {RULES}"))),
        }
    }

    /// Whether standard output `actual` answers `expected`. None: only the checker program can tell.
    pub fn same_output(&self, actual: &[u8], expected: &[u8]) -> Option<bool> {
        Some(match self {
            Self::Official => same_output(actual, expected),
            Self::Exact => without_newline(actual) == without_newline(expected),
            Self::Tokens => same_tokens(actual, expected, |left, right| left == right),
            Self::TokensAnyCase => same_tokens(actual, expected, same_letters),
            Self::Float(tolerance) => same_tokens(actual, expected, |left, right| {
                left == right
                    || match (number(left), number(right)) {
                        (Some(left), Some(right)) => tolerance.close(left, right),
                        _ => false,
                    }
            }),
            Self::Checker(_) => return None,
        })
    }

    /// Whether a function's result answers `expected`. None: only the checker program can tell.
    pub fn same_value(&self, actual: &Value, expected: &Value) -> Option<bool> {
        match self {
            Self::Float(tolerance) => Some(
                actual.same_but_for_numbers(expected, &|left, right| tolerance.close(left, right)),
            ),
            Self::Checker(_) => None,
            _ => Some(actual.same_value(expected)),
        }
    }

    /// The checker program, if one decides.
    pub(crate) fn checker(&self) -> Option<&Arc<Checker>> {
        match self {
            Self::Checker(checker) => Some(checker),
            _ => None,
        }
    }
}

impl Tolerance {
    fn parse(parameters: Option<&str>) -> Result<Self, String> {
        let Some(parameters) = parameters else {
            return Ok(Self {
                absolute: DEFAULT_TOLERANCE,
                relative: DEFAULT_TOLERANCE,
            });
        };
        let size = |text: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|size| size.is_finite() && *size >= 0.0)
                .ok_or_else(|| format!("{text:?} is no tolerance: a number of 0 or more is needed"))
        };
        if !parameters.contains('=') {
            let both = size(parameters)?;
            return Ok(Self {
                absolute: both,
                relative: both,
            });
        }
        let (mut absolute, mut relative) = (None, None);
        for part in parameters.split(',') {
            let slot = match part.split_once('=') {
                Some(("abs", text)) => (&mut absolute, text),
                Some(("rel", text)) => (&mut relative, text),
                _ => return Err(format!("{part:?} is neither abs=NUMBER nor rel=NUMBER")),
            };
            if slot.0.replace(size(slot.1)?).is_some() {
                return Err(format!("{part:?}: given twice"));
            }
        }
        Ok(Self {
            absolute: absolute.unwrap_or(0.0),
            relative: relative.unwrap_or(0.0),
        })
    }

    fn close(self, actual: f64, expected: f64) -> bool {
        #[expect(clippy::float_cmp, reason = "equal numbers are close at any tolerance")]
        if actual == expected {
            return true;
        }
        actual.is_finite()
            && expected.is_finite()
            && (actual - expected).abs() <= self.absolute.max(self.relative * expected.abs())
    }
}

/// A word as a number: decimal digits, point, exponent, sign, or a word for infinity. What overflows is not a number, so
/// that `1e400` is not close to `1e500`.
fn number(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    let value: f64 = text.parse().ok()?;
    (value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit())).then_some(value)
}

fn same_tokens(actual: &[u8], expected: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let (mut actual, mut expected) = (Tokens(actual), Tokens(expected));
    loop {
        match (actual.next(), expected.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if same(left, right) => {}
            _ => return false,
        }
    }
}

/// Equal but for case. Words that are not UTF-8 are compared as bytes.
fn same_letters(left: &[u8], right: &[u8]) -> bool {
    if left == right {
        return true;
    }
    match (std::str::from_utf8(left), std::str::from_utf8(right)) {
        (Ok(left), Ok(right)) => left
            .chars()
            .flat_map(char::to_lowercase)
            .eq(right.chars().flat_map(char::to_lowercase)),
        _ => false,
    }
}

fn without_newline(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::Comparator;
    use crate::compare::value::Value;
    use crate::types::case::CompareSpec;

    fn named(rule: &str) -> Result<Comparator, String> {
        Comparator::new(&CompareSpec {
            rule: rule.to_owned(),
            checker: None,
        })
    }

    fn same(rule: &str, actual: &str, expected: &str) -> bool {
        named(rule)
            .unwrap()
            .same_output(actual.as_bytes(), expected.as_bytes())
            .unwrap()
    }

    #[test]
    fn each_rule_forgives_more_than_the_one_before() {
        for (actual, expected, rules) in [
            ("3\n", "3", "exact official tokens tokens_ci float"),
            ("a b \n\n", "a b", "official tokens tokens_ci float"),
            ("1.0", "1", "official float"),
            ("1\n2", "1 2", "tokens tokens_ci float"),
            ("a  b", "a b", "tokens tokens_ci float"),
            ("YES ÅÄÖ", "yes åäö", "tokens_ci"),
            ("0.3000001", "0.3", "float"),
            ("x 2.0000001", "x 2", "float"),
            ("0.31", "0.3", ""),
            ("1 2", "1 2 3", ""),
            ("", "0", ""),
        ] {
            for rule in ["exact", "official", "tokens", "tokens_ci", "float"] {
                let wanted = rules.split(' ').any(|name| name == rule);
                assert_eq!(
                    same(rule, actual, expected),
                    wanted,
                    "{rule}: {actual:?} {expected:?}"
                );
            }
        }
    }

    #[test]
    fn tolerances() {
        for (rule, actual, expected, wanted) in [
            ("float:0.5", "10.5", "10", true),
            ("float:abs=0.5", "10.6", "10", false),
            ("float:rel=0.1", "10.6", "10", true),
            ("float:rel=0.1", "0.1", "0", false),
            ("float:rel=0.1", "10", "9.05", false), // of the expected number, not of the answer
            ("float:abs=0.2,rel=0.1", "0.1", "0", true),
            ("float:0", "1.0", "1", true),
            ("float", "inf", "Infinity", true),
            ("float", "1e308", "inf", false),
            ("float:rel=1", "-inf", "inf", false),
            ("float", "1e400", "1e500", false),
            ("float", "1e400", "1e400", true),
            ("float", "nan", "NaN", false),
            ("float", "1_0", "10", false),
        ] {
            assert_eq!(
                same(rule, actual, expected),
                wanted,
                "{rule}: {actual} {expected}"
            );
        }
    }

    #[test]
    fn values_are_close_at_any_depth_and_equal_otherwise() {
        let close = |rule: &str, actual: &str, expected: &str| {
            let values = [actual, expected].map(|text| Value::parse(text.as_bytes()).unwrap());
            named(rule).unwrap().same_value(&values[0], &values[1])
        };
        let (left, right) = (r#"{"a": [1.0000001, "x"]}"#, r#"{"a": [1, "x"]}"#);
        assert_eq!(close("float", left, right), Some(true));
        assert_eq!(close("tokens", left, right), Some(false));
        assert_eq!(close("float", "\"1.0\"", "\"1.00\""), Some(false));
        assert_eq!(close("tokens_ci", "\"A\"", "\"a\""), Some(false));
        assert_eq!(close("float", "[1, 2]", "[1]"), Some(false));
        assert_eq!(close("float", "true", "1.0000001"), Some(false));
        assert_eq!(close("exact", "true", "1"), Some(true));
        let big = "1".repeat(400);
        assert_eq!(
            close("float", &big, &big.replace('1', "2")),
            Some(false),
            "too large for a float"
        );
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_named() {
        for (rule, words) in [
            ("official:2", "must be official"),
            ("Float", "must be official"),
            ("float:", "no tolerance"),
            ("float:-1", "no tolerance"),
            ("float:nan", "no tolerance"),
            ("float:abs=1,abs=2", "given twice"),
            ("float:max=1", "neither abs=NUMBER"),
            ("checker:x.py", "text is missing"),
            ("checker", "must be official"),
        ] {
            let message = named(rule).unwrap_err();
            assert!(
                message.starts_with("compare = ") && message.contains(words),
                "{message}"
            );
        }
    }
}
