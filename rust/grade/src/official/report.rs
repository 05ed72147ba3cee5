//! What a program's process sends at the end of a step: a JSON header, then bytes. It may send anything.

use crate::compare::value::Value;

/// Values in a report's header; the harness writes five.
const MOST_IN_HEADER: usize = 16;
/// Characters of the text for people; the harness writes no more.
const LONGEST_BRIEF: usize = 4000;
/// Bytes of an exception's message in the metadata. The runner keeps all; a program could fill the disk with them.
const LONGEST_TEXT: usize = 64 << 10;

/// A step's report, parsed.
pub(super) struct Report<'r> {
    /// One of `STEPS`.
    pub(super) step: &'r [u8],
    header: Value,
    /// What follows the header.
    pub(super) payload: &'r [u8],
}

impl<'r> Report<'r> {
    pub(super) fn parse(bytes: &'r [u8]) -> Option<Self> {
        let border = bytes.iter().position(|&byte| byte == b'\n')?;
        let header = Value::parse_up_to(&bytes[..border], MOST_IN_HEADER)?;
        let Value::Dict(entries) = &header else {
            return None;
        };
        let step = match entries.get(&b"step"[..]) {
            Some(Value::Text(step)) => STEPS.into_iter().find(|known| *known == step)?,
            _ => return None,
        };
        Some(Self {
            step,
            header,
            payload: &bytes[border + 1..],
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match &self.header {
            Value::Dict(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> &[u8] {
        match self.get(key) {
            Some(Value::Text(text)) => within(text, LONGEST_TEXT),
            _ => b"",
        }
    }

    pub(super) fn brief(&self) -> String {
        let text = String::from_utf8_lossy(self.text("brief"));
        text.chars().take(LONGEST_BRIEF).collect()
    }
}

/// The start of a text, cut between characters.
fn within(text: &[u8], most: usize) -> &[u8] {
    let Some(&next) = text.get(most) else {
        return text;
    };
    let mut end = most;
    if next & 0xc0 == 0x80 {
        end = text[..end]
            .iter()
            .rposition(|byte| byte & 0xc0 != 0x80)
            .unwrap_or(0);
    }
    &text[..end]
}

const STEPS: [&[u8]; 6] = [
    b"ready", b"outside", b"output", b"value", b"error", b"shown",
];
