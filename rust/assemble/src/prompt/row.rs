//! One row within its budgets: unchanged if it fits, else with the middle of its sections cut out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use crate::encode::encoder::Session;
use crate::encode::hash::WordHasher;
use crate::encode::parallel::on_every_core;
use crate::error::Error;
use crate::prompt::budget::{largest_fit, middle_cut, only_marker, share};
use crate::prompt::chat::Chat;
use crate::prompt::line::{Line, Parts};
use crate::prompt::template::{ContextTemplate, Row};

/// How many tokens a row may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget<'a> {
    /// The whole prompt, the chat template's text included.
    pub total: usize,
    /// A bound per section of the template, in its order; those left out at the end are not bounded.
    pub sections: &'a [Option<usize>],
}

impl Budget<'_> {
    /// Only the whole is bounded.
    pub fn total(total: usize) -> Self {
        Self {
            total,
            sections: &[],
        }
    }

    fn section(&self, section: usize) -> usize {
        self.sections
            .get(section)
            .copied()
            .flatten()
            .unwrap_or(usize::MAX)
    }
}

/// One row's prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Token ids of the whole prompt.
    pub ids: Vec<u32>,
    /// `special:prompt`, and `special:NAME` and `cut:NAME` of sections.
    pub flags: Vec<String>,
    /// Tokens of the statement, then of each section; empty where absent. Of a slot written twice, the first.
    pub spans: Vec<Range<usize>>,
}

/// What is left of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Whole,
    Characters(usize),
    /// Not even the marker makes it shorter in characters, but it does in tokens.
    Marker,
}

struct Cutting<'a, 's> {
    chat: &'a Chat,
    context: &'a ContextTemplate,
    row: &'a Row<'a>,
    parts: &'a Parts<'a>,
    budget: Budget<'a>,
    session: &'a mut Session<'s>,
    lengths: Vec<usize>,
}

pub(crate) fn build_prompt(
    chat: &Chat,
    context: &ContextTemplate,
    session: &mut Session<'_>,
    row: &Row<'_>,
    parts: &Parts<'_>,
    budget: Budget<'_>,
) -> Result<Prompt, Error> {
    let shown = |i: usize| row.sections[i].filter(|_| context.shows(row, i));
    let special = |text: &str| parts.get(text).is_some_and(|part| part.special);
    let mut flags = Vec::new();
    if special(row.prompt) {
        flags.push("special:prompt".to_owned());
    }
    for i in 0..row.sections.len() {
        if shown(i).is_some_and(special) {
            flags.push(format!("special:{}", context.name(i)));
        }
    }
    let lengths = (0..row.sections.len())
        .map(|i| shown(i).map_or(0, |text| text.chars().count()))
        .collect();
    let mut cutting = Cutting {
        chat,
        context,
        row,
        parts,
        budget,
        session,
        lengths,
    };
    let whole = vec![Keep::Whole; row.sections.len()];
    let mut line = cutting.line(&whole)?;
    if !cutting.fits(&line) {
        let (keeps, shorter) = cutting.shorten(whole)?;
        line = shorter;
        for (i, keep) in keeps.iter().enumerate() {
            if shown(i).is_some_and(|text| matches!(kept(text, *keep), Cow::Owned(_))) {
                flags.push(format!("cut:{}", context.name(i)));
            }
        }
    }
    let mut spans = vec![0..0; 1 + context.num_sections()];
    for (slot, span) in line.spans.iter().rev() {
        spans[*slot] = span.clone();
    }
    Ok(Prompt {
        ids: line.ids,
        flags,
        spans,
    })
}

fn kept(text: &str, keep: Keep) -> Cow<'_, str> {
    match keep {
        Keep::Whole => Cow::Borrowed(text),
        Keep::Characters(keep) => middle_cut(text, keep),
        Keep::Marker => Cow::Owned(only_marker(text)),
    }
}

impl Cutting<'_, '_> {
    fn line(&mut self, keeps: &[Keep]) -> Result<Line, Error> {
        // A section that the chosen template leaves out still decides that it is not the bare one.
        let short: Vec<Option<Cow<'_, str>>> = self
            .row
            .sections
            .iter()
            .zip(keeps)
            .map(|(text, keep)| text.map(|text| kept(text, *keep)))
            .collect();
        let sections: Vec<Option<&str>> = short.iter().map(Option::as_deref).collect();
        let row = Row {
            sections: &sections,
            ..*self.row
        };
        let runs = self.context.runs(&row);
        self.chat.line(self.session, row.label, &runs, self.parts)
    }

    fn fits(&self, line: &Line) -> bool {
        line.ids.len() <= self.budget.total
            && line
                .spans
                .iter()
                .all(|(slot, span)| *slot == 0 || span.len() <= self.budget.section(slot - 1))
    }

    /// First each section to its own bound, then all of them by the same share to the bound of the whole.
    fn shorten(&mut self, mut keeps: Vec<Keep>) -> Result<(Vec<Keep>, Line), Error> {
        for section in 0..keeps.len() {
            let bound = self.budget.section(section);
            if self.lengths[section] == 0 || bound == usize::MAX {
                continue;
            }
            let within = |line: &Line| {
                line.spans
                    .iter()
                    .all(|(slot, span)| *slot != section + 1 || span.len() <= bound)
            };
            if within(&self.line(&keeps)?) {
                continue;
            }
            let found = largest_fit(self.lengths[section], |keep| {
                keeps[section] = Keep::Characters(keep);
                Ok(within(&self.line(&keeps)?))
            })?;
            keeps[section] = found.map_or(Keep::Marker, Keep::Characters);
        }
        let line = self.line(&keeps)?;
        if self.fits(&line) {
            return Ok((keeps, line));
        }
        let own = keeps;
        let total = self.lengths.iter().sum();
        let alike = |cutting: &Self, keep: usize| -> Vec<Keep> {
            let share = |i: usize| share(keep, cutting.lengths[i], total);
            own.iter()
                .enumerate()
                .map(|(i, own)| match own {
                    _ if cutting.lengths[i] == 0 => Keep::Whole,
                    Keep::Whole => Keep::Characters(share(i)),
                    Keep::Characters(own) => Keep::Characters(share(i).min(*own)),
                    Keep::Marker => Keep::Marker,
                })
                .collect()
        };
        let found = largest_fit(total, |keep| {
            let line = self.line(&alike(self, keep))?;
            Ok(self.fits(&line))
        })?;
        let keeps = match found {
            Some(keep) => alike(self, keep),
            None => (0..own.len())
                .map(|i| {
                    if self.lengths[i] == 0 {
                        Keep::Whole
                    } else {
                        Keep::Marker
                    }
                })
                .collect(),
        };
        let line = self.line(&keeps)?;
        if self.fits(&line) {
            return Ok((keeps, line));
        }
        let over = line
            .spans
            .iter()
            .find(|(slot, span)| *slot > 0 && span.len() > self.budget.section(slot - 1));
        Err(match over {
            Some((slot, span)) if line.ids.len() <= self.budget.total => Error::OverSection {
                label: self.row.label.to_owned(),
                section: self.context.name(slot - 1).to_owned(),
                tokens: span.len(),
                budget: self.budget.section(slot - 1),
            },
            _ => Error::OverBudget {
                label: self.row.label.to_owned(),
                tokens: line.ids.len(),
                budget: self.budget.total,
            },
        })
    }
}

/// Every text of the rows that may be worth encoding once, each once.
pub(crate) fn texts<'a>(context: &'a ContextTemplate, rows: &[&Row<'a>]) -> Vec<&'a str> {
    let mut seen = HashSet::<_, BuildHasherDefault<WordHasher>>::default();
    rows.iter()
        .flat_map(|row| context.runs(row))
        .map(|run| run.text)
        .filter(|text| seen.insert(*text))
        .collect()
}

/// The parts of `texts`: those in memory and those encoded now.
pub(crate) fn parts<'a>(chat: &Chat, texts: &[&'a str]) -> Result<Parts<'a>, Error> {
    let mut parts = Parts::default();
    let mut fresh = Vec::new();
    for text in texts {
        match chat.memory.get(text) {
            Some(part) => drop(parts.insert(*text, part)),
            None => fresh.push(*text),
        }
    }
    let found = on_every_core(&chat.encoder, &fresh, |session, text| {
        chat.part(session, text)
    })?;
    parts.extend(fresh.into_iter().zip(found));
    Ok(parts)
}
