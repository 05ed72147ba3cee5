//! JSON values under Python's rules: what `json.loads` gives, compared as `==` compares.
//!
//! Integers are exact at any length, `1 == 1.0 == true`, NaN differs from itself, dictionaries ignore order, a
//! later duplicate key wins. `NaN`, `Infinity` and lone surrogates are read as Python reads them.
//! A string is held in generalised UTF-8, so that a lone surrogate has a form of its own.

use std::collections::HashMap;

/// Deeper nesting is refused; Python's own reader stops near 1,000.
const MAX_DEPTH: usize = 500;

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
    /// Read one JSON text as Python's `json.loads` does. None where it would raise, or past 500 levels.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::parse_up_to(text, usize::MAX)
    }

    /// The same, but None where more than `most` values are in it: a text of megabytes can hold millions, and each
    /// takes many times its text.
    pub(crate) fn parse_up_to(text: &[u8], most: usize) -> Option<Self> {
        let mut reader = Reader {
            text,
            at: 0,
            left: most,
        };
        let value = reader.value(0)?;
        reader.skip_space();
        (reader.at == text.len()).then_some(value)
    }

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

    /// As [`Self::same_value`], but two numbers are equal where `close` says so, too. Truth values are no numbers.
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

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Values that may still come.
    left: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.skip_space();
        match self.text.get(self.at)? {
            b'"' => self.string().map(Value::Text),
            b'[' => self.list(depth),
            b'{' => self.dict(depth),
            _ => self.atom(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b"]") {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b"]") {
                return Some(Value::List(items));
            }
            if !self.take(b",") {
                return None;
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut entries = HashMap::new();
        self.skip_space();
        if self.take(b"}") {
            return Some(Value::Dict(entries));
        }
        loop {
            self.skip_space();
            if self.text.get(self.at) != Some(&b'"') {
                return None;
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b":") {
                return None;
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.skip_space();
            if self.take(b"}") {
                return Some(Value::Dict(entries));
            }
            if !self.take(b",") {
                return None;
            }
        }
    }

    fn atom(&mut self) -> Option<Value> {
        for (word, value) in [
            (&b"null"[..], Value::Null),
            (b"true", Value::Bool(true)),
            (b"false", Value::Bool(false)),
            (b"NaN", Value::Float(f64::NAN)),
            (b"Infinity", Value::Float(f64::INFINITY)),
            (b"-Infinity", Value::Float(f64::NEG_INFINITY)),
        ] {
            if self.take(word) {
                return Some(value);
            }
        }
        self.number()
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    /// The grammar of Python's reader: `-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?`; a tail that does not fit is left.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take(b"-");
        if !self.take(b"0") && self.digits() == 0 {
            return None;
        }
        let whole_end = self.at;
        if self.take(b".") && self.digits() == 0 {
            self.at = whole_end;
        }
        let mantissa_end = self.at;
        if self.take(b"e") || self.take(b"E") {
            let _signed = self.take(b"-") || self.take(b"+");
            if self.digits() == 0 {
                self.at = mantissa_end;
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        if self.at > whole_end {
            return text.parse().ok().map(Value::Float);
        }
        Some(Value::Int(if text == "-0" {
            "0".to_owned()
        } else {
            text.to_owned()
        }))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => return Some(bytes),
                b'\\' => {
                    let escape = *self.text.get(self.at)?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' => bytes.push(escape),
                        b'b' => bytes.push(8),
                        b'f' => bytes.push(12),
                        b'n' => bytes.push(b'\n'),
                        b'r' => bytes.push(b'\r'),
                        b't' => bytes.push(b'\t'),
                        b'u' => self.unicode_escape(&mut bytes)?,
                        _ => return None,
                    }
                }
                0..=0x1f => return None, // json.loads is strict about control characters
                _ => bytes.push(byte),
            }
        }
    }

    fn unicode_escape(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            match self.hex4()? {
                low @ 0xdc00..=0xdfff => code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                _ => self.at = back,
            }
        }
        push_code_point(code, bytes);
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &digit| {
            Some(code * 16 + char::from(digit).to_digit(16)?)
        })
    }
}

fn push_code_point(code: u32, bytes: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        // A lone surrogate: the three-byte form that UTF-8 proper forbids.
        bytes.extend([
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]);
    }
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

    #[test]
    fn what_json_loads_refuses() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "01",
            "1.",
            "[1,]",
            "{1:2}",
            "'a'",
            "\"\n\"",
            "\"",
            "1 2",
            "nan",
            "-",
            "\"\\u12\"",
            &deep,
        ] {
            assert!(Value::parse(text.as_bytes()).is_none(), "{text:.20}");
        }
    }
}
