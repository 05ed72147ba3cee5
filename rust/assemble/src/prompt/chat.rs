//! One user message inside a rendered chat, to token ids.
//!
//! `head` and `tail` are what the chat template writes before and after the message. They are cut at the turn
//! markers nearest to it (the last added token of `head`, the first of `tail`): what lies outside is encoded
//! once, with special tokens parsed; what lies inside is encoded with the message by a tokenizer that takes the
//! spelling of special tokens as plain text, and only as far as it was not encoded before (`line.rs`).

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::encode::encoder::{Encoder, Session};
use crate::encode::memory::{Memory, Part};
use crate::encode::spelling::Spellings;
use crate::error::Error;
use crate::prompt::line::{Line, Parts, inside, is_blank};
use crate::prompt::template::Run;

/// A chat template compiled for messages of one user.
#[derive(Debug)]
pub struct Chat {
    pub(crate) encoder: Encoder,
    pub(crate) memory: Memory,
    head_ids: Vec<u32>,
    tail_ids: Vec<u32>,
    /// Between the marker and the message: `user\n`.
    before: String,
    /// Between the message and the marker; empty in most templates.
    after: String,
    head: String,
    tail: String,
    trims: bool,
    strips_start: bool,
    strips_end: bool,
    /// Spellings that would be special tokens if they were not taken as plain text.
    reserved: Spellings,
    markers: [(u32, String); 2],
}

/// An added token, as far as cutting needs to know it.
struct Added {
    content: String,
    special: bool,
    lstrip: bool,
    rstrip: bool,
}

struct Marker {
    id: u32,
    start: usize,
    end: usize,
}

impl Chat {
    /// Compiles a chat template for a tokenizer.
    ///
    /// `tokenizer_json` is the text of a `tokenizer.json`; `head` and `tail` are the rendered text around the
    /// user's message; `trims` says that the template strips white space around the message.
    pub fn new(tokenizer_json: &str, head: &str, tail: &str, trims: bool) -> Result<Self, Error> {
        let unreadable = |error: &dyn std::fmt::Display| Error::Tokenizer(error.to_string());
        let mut json: Value = serde_json::from_str(tokenizer_json).map_err(|e| unreadable(&e))?;
        let parsing = bare_tokenizer(tokenizer_json)?;
        let added = added_tokens(&json)?;

        let first =
            marker(&parsing, &added, head, true)?.ok_or(Error::Unbounded { side: "before" })?;
        let last =
            marker(&parsing, &added, tail, false)?.ok_or(Error::Unbounded { side: "after" })?;

        // Markers are often, but not always, declared special (`<｜User｜>` is not): make them so, for the
        // tokenizer that takes special spellings as text.
        for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
            if [first.id, last.id].iter().any(|id| token["id"] == *id) {
                token["special"] = Value::Bool(true);
            }
        }
        let mut plain = bare_tokenizer(&json.to_string())?;
        plain.set_encode_special_tokens(true);

        let reserved = added
            .iter()
            .filter(|(id, token)| token.special || **id == first.id || **id == last.id)
            .map(|(_, token)| token.content.as_str());
        Ok(Self {
            head_ids: encode(&parsing, &head[..first.end])?,
            tail_ids: encode(&parsing, &tail[last.start..])?,
            before: head[first.end..].to_owned(),
            after: tail[..last.start].to_owned(),
            head: head.to_owned(),
            tail: tail.to_owned(),
            trims,
            strips_start: added[&first.id].rstrip,
            strips_end: added[&last.id].lstrip,
            reserved: Spellings::new(reserved),
            markers: [first.id, last.id].map(|id| (id, added[&id].content.clone())),
            encoder: Encoder::new(&json, plain),
            memory: Memory::default(),
        })
    }

    /// Appends the ids of the whole chat around `message` to `ids`; `label` names it in errors.
    pub fn encode(&self, label: &str, message: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        let mut session = self.encoder.session();
        let part = self.part(&mut session, message)?;
        let parts = Parts::from_iter([(message, part)]);
        let line = self.line(&mut session, label, &[Run::slot(0, message)], &parts);
        let found = session.found();
        self.encoder.learn(found);
        ids.extend(line?.ids);
        Ok(())
    }

    /// The part of a text, from memory or encoded now.
    pub(crate) fn part(&self, session: &mut Session<'_>, text: &str) -> Result<Arc<Part>, Error> {
        if let Some(part) = self.memory.get(text) {
            return Ok(part);
        }
        let part = Arc::new(Part::new(session, &self.reserved, text)?);
        self.memory.put(text, &part);
        Ok(part)
    }

    /// The whole chat around a message given as runs, whose texts `parts` knows.
    pub(crate) fn line(
        &self,
        session: &mut Session<'_>,
        label: &str,
        runs: &[Run<'_>],
        parts: &Parts<'_>,
    ) -> Result<Line, Error> {
        let runs = inside(
            [&self.before, &self.after],
            runs,
            self.trims,
            [self.strips_start, self.strips_end],
        );
        let mut line = Line::start(&self.head_ids);
        line.write(session, &runs, parts)?;
        let written = &line.ids[self.head_ids.len()..];
        if let Some((_, marker)) = self.markers.iter().find(|(id, _)| written.contains(id)) {
            return Err(Error::Forged {
                label: label.to_owned(),
                marker: marker.clone(),
            });
        }
        line.ids.extend_from_slice(&self.tail_ids);
        Ok(line)
    }

    /// The chat as text, as the chat template renders it.
    pub fn render(&self, message: &str) -> String {
        format!("{}{}{}", self.head, self.trimmed(message), self.tail)
    }

    /// Whether `text` contains a special token.
    pub fn spells_special(&self, text: &str) -> bool {
        self.reserved.occur_in(text)
    }

    /// Ids from the marker that ends the user's turn to the end of the prompt: the generation header.
    pub fn tail_ids(&self) -> &[u32] {
        &self.tail_ids
    }

    fn trimmed<'a>(&self, message: &'a str) -> &'a str {
        if self.trims {
            message.trim_matches(is_blank)
        } else {
            message
        }
    }
}

/// The tokenizer without truncation or padding, whatever its file asks for.
fn bare_tokenizer(json: &str) -> Result<Tokenizer, Error> {
    let mut tokenizer = Tokenizer::from_str(json).map_err(|e| Error::Tokenizer(e.to_string()))?;
    tokenizer
        .with_truncation(None)
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    // No post-processor tokens: a chat template writes its own beginning of text.
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

fn added_tokens(json: &Value) -> Result<HashMap<u32, Added>, Error> {
    let entries = json["added_tokens"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    entries
        .iter()
        .map(|token| {
            let is = |key: &str| token[key].as_bool().unwrap_or(false);
            let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            match (id, token["content"].as_str()) {
                (Some(id), Some(content)) => Ok((
                    id,
                    Added {
                        content: content.to_owned(),
                        special: is("special"),
                        lstrip: is("lstrip"),
                        rstrip: is("rstrip"),
                    },
                )),
                _ => Err(Error::Tokenizer(format!(
                    "added token without id or content: {token}"
                ))),
            }
        })
        .collect()
}

/// The added token nearest to the message: the last of `head`, the first of `tail`; special ones come first.
///
/// Tokens with white space in them (runs of blanks in some tokenizers) are not markers: a longer run across the
/// cut would be another token.
fn marker(
    tokenizer: &Tokenizer,
    added: &HashMap<u32, Added>,
    text: &str,
    last: bool,
) -> Result<Option<Marker>, Error> {
    let encoding = tokenizer
        .encode(text, false)
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    let found = |special: bool| {
        let mut all = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_offsets())
            .filter(|(id, _)| {
                added.get(id).is_some_and(|token| {
                    token.special >= special && !token.content.contains(char::is_whitespace)
                })
            });
        if last { all.next_back() } else { all.next() }
    };
    let nearest = found(true).or_else(|| found(false));
    Ok(nearest.map(|(&id, &(start, end))| Marker { id, start, end }))
}
