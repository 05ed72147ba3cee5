//! Reads a function's result with its Python types from the tokens that the program's process writes.
//!
//! The other half, which writes the tokens, is `python/typed.py`: see there for their form.

use std::collections::HashSet;

use super::value::Typed;
use crate::compare::value::Value;

/// A value nested deeper equals nothing.
const MAX_DEPTH: usize = 500;
/// Tokens of one value; three times what the harness writes.
const MOST_TOKENS: usize = 1_000_000;
/// numpy has at most 64.
const MOST_DIMENSIONS: usize = 64;

impl Typed {
    /// Read tokens. None: no harness writes this. A value nested too deeply equals nothing, nor does a plain
    /// part of more than `most` values.
    pub(super) fn parse(bytes: &[u8], most: usize) -> Option<Self> {
        let mut reader = Reader {
            bytes,
            at: 0,
            left: MOST_TOKENS,
            most,
            too_deep: false,
        };
        let value = reader.node(0);
        if reader.too_deep {
            return Some(Self::Opaque);
        }
        value.filter(|_| reader.at == bytes.len())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Tokens that may still follow.
    left: usize,
    /// See [`Typed::parse`].
    most: usize,
    /// Reading stopped at [`MAX_DEPTH`].
    too_deep: bool,
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Option<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn take(&mut self, length: &str) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length.parse().ok()?)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// As many as announced. Memory is taken as they come, not as they are announced.
    fn several<T>(
        &mut self,
        count: usize,
        mut one: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if count > self.left {
            return None;
        }
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }

    fn node(&mut self, depth: usize) -> Option<Typed> {
        self.left = self.left.checked_sub(1)?;
        let line = self.line()?;
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let node = match kind {
            "o" => Typed::Opaque,
            "z" => Typed::SharedNan,
            "j" => {
                Value::parse_up_to(self.take(rest)?, self.most).map_or(Typed::Opaque, Typed::Json)
            }
            "x" => Typed::Raises(self.take(rest)?.to_vec()),
            "l" | "d" | "a" if depth >= MAX_DEPTH => {
                self.too_deep = true;
                return None;
            }
            "l" => Typed::List(self.several(rest.parse().ok()?, |reader| reader.node(depth + 1))?),
            "d" => {
                let pairs = self.several(rest.parse().ok()?, |reader| {
                    let key = reader.line()?.strip_prefix("s ")?;
                    Some((reader.take(key)?.to_vec(), reader.node(depth + 1)?))
                })?;
                let keys: HashSet<_> = pairs.iter().map(|(key, _)| key).collect();
                if keys.len() < pairs.len() {
                    Typed::Opaque // one right item must not count for others
                } else {
                    Typed::Dict(pairs)
                }
            }
            "a" => {
                let (width, sizes) = rest.split_once(' ')?;
                let sizes = sizes.split(' ').map(|size| size.parse().ok());
                let mut shape = sizes.collect::<Option<Vec<usize>>>()?;
                let count = shape.pop()?;
                let holds = shape
                    .iter()
                    .try_fold(1_usize, |holds, size| holds.checked_mul(*size));
                if holds != Some(count) || shape.len() > MOST_DIMENSIONS {
                    return None;
                }
                Typed::Array {
                    narrow: width == "n",
                    shape,
                    items: self.several(count, |reader| reader.node(depth + 1))?,
                }
            }
            _ => return None,
        };
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use crate::compare::value::Value;
    use crate::official::arrays::MOST_ANSWERS;
    use crate::official::equality::{AMBIGUOUS, EMPTY};
    use crate::official::value::{Equal, Typed};

    fn answer(tokens: &str, expected: &str) -> Result<Equal, String> {
        let expected = Value::parse(expected.as_bytes()).unwrap();
        let typed = Typed::parse(tokens.as_bytes(), expected.size());
        typed
            .unwrap_or_else(|| panic!("{tokens:?}"))
            .equals(&expected)
            .map_err(|repr| String::from_utf8(repr).unwrap())
    }

    #[test]
    fn plain_values() {
        let yes = Ok(Equal::Plain(true));
        let no = Ok(Equal::Plain(false));
        assert_eq!(answer("j 3\n[1]", "[1.0]"), yes);
        assert_eq!(answer("l 2\nj 1\n1j 3\n\"a\"", "[true, \"a\"]"), yes);
        assert_eq!(answer("l 2\no\nj 1\n1", "[1, 1]"), no);
        assert_eq!(answer("d 1\ns 1\naj 1\n1", "{\"a\": 1}"), yes);
        assert_eq!(answer("d 1\ns 1\naj 1\n1", "{\"b\": 1}"), no);
        let twice = "d 2\ns 1\naj 1\n1s 1\naj 1\n1";
        assert_eq!(answer(twice, "{\"a\": 1, \"b\": 1}"), no, "one key twice");
        assert_eq!(answer("z\n", "NaN"), no);
        assert_eq!(answer("l 1\nz\n", "[NaN]"), yes);
        assert_eq!(answer("l 1\no\n", "[NaN]"), no);
        assert_eq!(answer("x 2\nE!", "1"), Err("E!".to_owned()));
        assert_eq!(answer("l 2\nj 1\n2x 2\nE!", "[1, 1]"), no, "never reached");
        assert_eq!(answer("x 2\nE!", "\"1\""), no);
        let deep = "l 1\n".repeat(100_000);
        assert_eq!(answer(&deep, "[[]]"), no, "too deep");
    }

    #[test]
    fn arrays() {
        assert_eq!(
            answer("a w 1\nj 1\n1", "1"),
            Ok(Equal::Plain(true)),
            "a scalar"
        );
        assert_eq!(answer("a w 1\nj 1\n1", "[1]"), Ok(Equal::Each(vec![true])));
        let pair = "a w 2 2\nj 1\n1j 1\n2";
        assert_eq!(answer(pair, "[1, 2]"), Ok(Equal::Each(vec![true, true])));
        assert_eq!(answer(pair, "[1, 3]"), Ok(Equal::Each(vec![true, false])));
        assert_eq!(answer(pair, "2"), Ok(Equal::Each(vec![false, true])));
        assert_eq!(
            answer(pair, "[[1], [2]]"),
            Ok(Equal::Each(vec![true, false, false, true]))
        );
        assert!(
            answer(pair, "[1, 2, 3]")
                .unwrap_err()
                .ends_with("shapes (2,) (3,) ')")
        );
        assert!(
            answer(pair, "[[1], [2, 3]]")
                .unwrap_err()
                .contains("after 1 dimensions. The detected shape was (2,) +")
        );
        assert_eq!(
            answer(&format!("l 1\n{pair}"), "[[1, 2]]").unwrap_err(),
            AMBIGUOUS
        );
        assert_eq!(answer("l 1\na w 0 0\n", "[[]]").unwrap_err(), EMPTY);
        assert_eq!(
            answer("a n 1\nj 19\n0.10000000149011612", "0.1"),
            Ok(Equal::Plain(true))
        );
        assert_eq!(
            answer("a w 1\nj 19\n0.10000000149011612", "0.1"),
            Ok(Equal::Plain(false))
        );
        assert_eq!(
            answer("a w 1\nj 16\n9007199254740993", "9007199254740992.0"),
            Ok(Equal::Plain(true)),
            "compared as floats"
        );
        assert_eq!(
            answer(pair, "[1, \"2\"]"),
            Ok(Equal::Each(vec![false, false])),
            "texts all of them"
        );
        assert!(
            answer("a w 1\nj 1\n1", "[1, [2]]")
                .unwrap_err()
                .contains("after 1 dimensions. The detected shape was (2,) +")
        );
    }

    #[test]
    fn what_no_harness_writes() {
        for tokens in [
            "",
            "q\n",
            "j 9\n1",
            "l 2\no\n",
            "a w\n",
            "d 1\no\no\n",
            "o\no\n",
            "l 99999999999\n",
            "a w 5 1\no\n",
            "a w 1099511627776 0\n",
            "a w 4294967296 4294967296 0\n",
            &format!("a w {}1\no\n", "1 ".repeat(100)),
            &format!("l 1200000\n{}", "o\n".repeat(1_200_000)),
        ] {
            assert!(Typed::parse(tokens.as_bytes(), 9).is_none(), "{tokens:.20}");
        }
        let column = format!("a w 3000 1 3000\n{}", "j 1\n1".repeat(3000));
        let row = format!("[{}1]", "1,".repeat(2999));
        assert!(
            matches!(answer(&column, &row), Ok(Equal::Each(some)) if some.len() == MOST_ANSWERS),
            "a table of nine millions"
        );
    }
}
