//! The comparators against their plain twin in Python (`tests/support/comparator_twin.py`), which runs as a process and
//! is asked about every pair of texts that the fuzzer finds. The first byte says how the rest is read.
#![no_main]

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use opsd_grade::{Comparator, CompareSpec, Value};

/// As the twin counts them.
const RULES: [&str; 5] = ["official", "exact", "tokens", "tokens_ci", "float"];
/// Two texts are equal more often when they are made of the same pieces: the bits 0 to 5 of a byte choose a piece, bits 6
/// and 7 where it goes: both sides, left, right, or a relative of it on the right.
const PIECES: [(&str, &str); 64] = [
    ("0", "-0"),
    ("1", "1.0"),
    ("2", "02"),
    ("3", "3e0"),
    ("4", "0.4e1"),
    ("5", "+5"),
    ("7", "7."),
    ("9", "9_"),
    (".", ""),
    ("-", "+"),
    ("+", ""),
    ("e", "E"),
    ("_", ""),
    ("E-", "e-"),
    ("e+", "e"),
    ("10", "1e1"),
    (" ", "\t"),
    ("\n", "\r\n"),
    ("\t", "\x0b"),
    ("\r", "\x0c"),
    ("\x1c", "\x1d"),
    ("\x1f", "\x1e"),
    ("\x00", ""),
    ("\u{85}", " "),
    ("\u{a0}", " "),
    ("\u{2028}", "\n"),
    ("\u{2003}", "\u{2009}"),
    ("\u{3000}", "\u{1680}"),
    ("\u{feff}", ""),
    ("\u{200b}", ""),
    ("\u{205f}", "\u{202f}"),
    ("\u{180e}", " "),
    ("nan", "NaN"),
    ("sNaN", "snan"),
    ("inf", "Infinity"),
    ("-inf", "-INFINITY"),
    ("nan12", "nan012"),
    ("0.1", "0.10000001"),
    ("1e400", "10e399"),
    ("1e-400", "0"),
    ("999999999999999999", "1000000000000000000"),
    ("e999999999999999999", "e1000000000000000000"),
    ("e-1999999999999999997", "e-1999999999999999998"),
    ("e99999999999999999999", "e9223372036854775808"),
    ("0.3", "0.30000000000000004"),
    ("1e16", "10000000000000000"),
    ("1e22", "1e23"),
    ("123456789", "123456789.0"),
    ("\u{663}", "3"),
    ("\u{ff11}", "1"),
    ("\u{1d7d8}", "0"),
    ("\u{b2}", "2"),
    ("\u{2460}", "1"),
    ("\u{11f50}", "0"),
    ("A", "a"),
    ("\u{c9}", "\u{e9}"),
    ("\u{df}", "SS"),
    ("\u{3a3}", "\u{3c2}"),
    ("\u{130}", "i\u{307}"),
    ("\u{1e9e}", "\u{df}"),
    ("Yes", "YES"),
    ("[1, 2]", "[1,2]"),
    ("\u{2212}1", "-1"),
    ("\u{10ffff}", "\u{e000}"),
];

struct Twin {
    _process: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

static TWIN: LazyLock<Mutex<Twin>> = LazyLock::new(|| Mutex::new(Twin::start()));

impl Twin {
    fn start() -> Self {
        let python = std::env::var("OPSD_RS_FUZZ_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/twin.py");
        let mut process = Command::new(&python)
            .args(["-S", server])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {python}: {error}"));
        let (ask, answer) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        Self {
            _process: process,
            ask,
            answer: BufReader::new(answer),
        }
    }

    /// One byte per rule, `0`, `1`, or `?` where the texts cannot be asked about.
    fn compare(&mut self, kind: u8, actual: &[u8], expected: &[u8]) -> [u8; RULES.len()] {
        let lengths = [actual, expected].map(|text| (text.len() as u32).to_le_bytes());
        let message = [&[kind][..], &lengths[0], &lengths[1], actual, expected].concat();
        let mut answer = [0; RULES.len()];
        let talked = self.ask.write_all(&message).and_then(|()| self.ask.flush());
        talked
            .and_then(|()| self.answer.read_exact(&mut answer))
            .expect("the twin died: see its words above");
        answer
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let (actual, expected) = if kind & 2 == 0 {
        split(rest)
    } else {
        assemble(rest)
    };
    let comparators = RULES.map(|rule| {
        let spec = CompareSpec {
            rule: rule.to_owned(),
            checker: None,
        };
        Comparator::new(&spec).expect("a known rule")
    });
    if kind & 1 == 0 {
        let ours = comparators.map(|rule| rule.same_output(&actual, &expected));
        for text in [&actual, &expected] {
            let itself = Comparator::Official.same_output(text, text);
            assert_eq!(itself, Some(true), "a text is itself: {text:?}");
        }
        agree(b'o', &actual, &expected, ours);
    } else {
        let (left, right) = (Value::parse(&actual), Value::parse(&expected));
        let ours = comparators.map(|rule| rule.same_value(left.as_ref()?, right.as_ref()?));
        agree(b'v', &actual, &expected, ours);
    }
});

/// `None` of ours: one of the texts is no JSON.
fn agree(kind: u8, actual: &[u8], expected: &[u8], ours: [Option<bool>; RULES.len()]) {
    let twins = TWIN.lock().unwrap().compare(kind, actual, expected);
    for ((rule, ours), twin) in RULES.iter().zip(ours).zip(twins) {
        let ours = match ours {
            None => b'!',
            Some(same) => b'0' + u8::from(same),
        };
        assert!(
            twin == b'?' || ours == twin,
            "{rule}: ours {}, the twin {}: {:?} for {:?}",
            char::from(ours),
            char::from(twin),
            String::from_utf8_lossy(actual),
            String::from_utf8_lossy(expected),
        );
    }
}

/// As they stand, with a byte between them that no text has.
fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match bytes.iter().position(|&byte| byte == 0xff) {
        Some(at) => (bytes[..at].to_vec(), bytes[at + 1..].to_vec()),
        None => (bytes.to_vec(), bytes.to_vec()),
    }
}

fn assemble(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for byte in bytes {
        let (piece, relative) = PIECES[usize::from(byte & 63)];
        match byte >> 6 {
            1 => left.extend(piece.bytes()),
            2 => right.extend(piece.bytes()),
            way => {
                left.extend(piece.bytes());
                right.extend(if way == 0 { piece } else { relative }.bytes());
            }
        }
    }
    (left, right)
}
