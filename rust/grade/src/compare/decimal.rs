//! A number in the text of an output line, as Python's `decimal.Decimal(text)` would read it.
//!
//! In: one token without surrounding white space. Out: a form in which equal values are equal, or None where
//! Decimal refuses the text. No arithmetic: a token of n bytes costs O(n), whatever its exponent.

/// First code point of every run of ten Unicode decimal digits (category Nd, Unicode 14).
const DIGIT_ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// Largest adjusted exponent of C Python's decimal (`MAX_EMAX` on 64 bits); a token beyond it does not parse.
const MAX_EMAX: i128 = 999_999_999_999_999_999;
/// Smallest exponent of a last digit (`MIN_ETINY`).
const MIN_ETINY: i128 = -1_999_999_999_999_999_997;

/// A parsed token. Two finite numbers have equal value exactly when their fields are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decimal {
    /// `digits` has no zero at either end (empty for zero); the value is `digits * 10^exponent`.
    Finite {
        /// Sign; false for every zero.
        negative: bool,
        /// ASCII digits.
        digits: Vec<u8>,
        /// Power of ten of the last digit; 0 for zero.
        exponent: i128,
    },
    /// Positive or negative infinity.
    Infinite {
        /// Sign.
        negative: bool,
    },
    /// Quiet or signalling NaN: equal to nothing, itself included.
    Nan,
}

impl Decimal {
    /// Parse as `decimal.Decimal(text)` does: underscores and Unicode digits included, overflow refused.
    pub(crate) fn parse(token: &[u8]) -> Option<Self> {
        let text = to_ascii(token)?;
        let (negative, rest) = match text.first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, &text[..]),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite { negative });
        }
        if let Some(payload) = strip_word(rest, b"nan").or_else(|| strip_word(rest, b"snan")) {
            return payload.iter().all(u8::is_ascii_digit).then_some(Self::Nan);
        }
        parse_finite(negative, rest)
    }

    /// Python's `==` on two Decimals.
    pub(crate) fn same_value(&self, other: &Self) -> bool {
        !matches!(self, Self::Nan) && self == other
    }
}

fn strip_word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// Unicode digits become ASCII, underscores go; anything else that is not ASCII cannot be part of a number.
fn to_ascii(token: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(token).ok()?;
    let mut ascii = Vec::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '_' => {}
            _ if character.is_ascii() => ascii.push(character as u8),
            _ => {
                let code = u32::from(character);
                let run = DIGIT_ZEROS
                    .partition_point(|&zero| zero <= code)
                    .checked_sub(1)?;
                let digit = code - DIGIT_ZEROS[run];
                if digit > 9 {
                    return None;
                }
                ascii.push(b'0' + digit as u8);
            }
        }
    }
    Some(ascii)
}

fn parse_finite(negative: bool, text: &[u8]) -> Option<Decimal> {
    let (mantissa, written_exponent) =
        match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
    let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[..0]),
    };
    let mut digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut exponent = written_exponent - fraction.len() as i128;
    let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
    if leading == digits.len() {
        // A zero keeps its exponent in Python; one outside the range would be clamped, which Decimal refuses.
        let fits = (MIN_ETINY..=MAX_EMAX).contains(&exponent);
        return fits.then_some(Decimal::Finite {
            negative: false,
            digits: Vec::new(),
            exponent: 0,
        });
    }
    digits.drain(..leading);
    let adjusted = exponent + digits.len() as i128 - 1;
    if adjusted > MAX_EMAX || exponent < MIN_ETINY {
        return None;
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent += 1;
    }
    Some(Decimal::Finite {
        negative,
        digits,
        exponent,
    })
}

/// Sign and digits; a value too long for 64 bits saturates, far outside every accepted range.
fn parse_exponent(text: &[u8]) -> Option<i128> {
    let (sign, digits) = match text.first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0_i128, |value, digit| {
        (value * 10 + i128::from(digit - b'0')).min(i128::from(i64::MAX))
    });
    Some(sign * magnitude)
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn equal(left: &str, right: &str) -> bool {
        match (
            Decimal::parse(left.as_bytes()),
            Decimal::parse(right.as_bytes()),
        ) {
            (Some(left), Some(right)) => left.same_value(&right),
            _ => false,
        }
    }

    #[test]
    fn equal_values_in_other_clothes() {
        for (left, right) in [
            ("3.0", "3"),
            ("0.50", ".5"),
            ("5.", "5"),
            ("1e2", "100"),
            ("+5", "0005"),
            ("-0.0", "0"),
            ("1_000", "1000"),
            ("\u{ff11}\u{ff12}", "12"),
            ("\u{661}", "1"),
            ("inf", "Infinity"),
            ("-INF", "-inf"),
            ("10e999999", "1e1000000"),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn what_differs_or_does_not_parse() {
        for (left, right) in [
            ("0.30000000000000004", "0.3"),
            ("nan", "nan"),
            ("sNaN", "1"),
            ("1e99999999999999999999", "1e99999999999999999999"),
            ("0x10", "16"),
            ("1/2", "0.5"),
            ("1,000", "1000"),
            ("50000000000000000", "50000000000000001"),
            ("", ""),
            (".", "."),
            ("e5", "e5"),
            ("1e", "1e"),
            ("--1", "--1"),
            ("inf", "-inf"),
            ("-1", "1"),
            ("-0.5", "+.5"),
        ] {
            assert!(!equal(left, right), "{left} {right}");
        }
    }
}
