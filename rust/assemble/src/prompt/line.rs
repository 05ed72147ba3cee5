//! One prompt built from parts: what lies between cuts is copied, what lies around a join is encoded.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use crate::encode::encoder::Session;
use crate::encode::hash::Map;
use crate::encode::memory::{Core, Part};
use crate::error::Error;
use crate::prompt::template::Run;

/// Known parts, by their text.
pub(crate) type Parts<'a> = Map<&'a str, Arc<Part>>;

/// A run without what the chat template strips.
pub(crate) struct Visible<'a> {
    run: Run<'a>,
    shown: Range<usize>,
}

impl Visible<'_> {
    fn text(&self) -> &str {
        &self.run.text[self.shown.clone()]
    }

    /// The run's core, unless so much was stripped that it no longer ends before a blank.
    fn core<'p>(&self, parts: &'p Parts<'_>) -> Option<&'p Core> {
        let core = parts.get(self.run.text)?.core.as_ref()?;
        (self.shown.start < core.first && core.last < self.shown.end).then_some(core)
    }
}

/// All text between the turn's markers: the message, stripped as the template strips it, between what the
/// template writes around it, and the whole stripped where a marker swallows the white space beside it.
pub(crate) fn inside<'a>(
    around: [&'a str; 2],
    runs: &[Run<'a>],
    trims: bool,
    swallowed: [bool; 2],
) -> Vec<Visible<'a>> {
    let visible = |run: Run<'a>| Visible {
        run,
        shown: 0..run.text.len(),
    };
    let mut all: Vec<_> = runs.iter().copied().map(visible).collect();
    if trims {
        strip_start(&mut all, is_blank);
        strip_end(&mut all, is_blank);
    }
    all.insert(0, visible(Run::fixed(around[0])));
    all.push(visible(Run::fixed(around[1])));
    if swallowed[0] {
        strip_start(&mut all, char::is_whitespace);
    }
    if swallowed[1] {
        strip_end(&mut all, char::is_whitespace);
    }
    all
}

/// What Python's `str.strip` strips, which Jinja's `trim` calls: the four ASCII separators too.
pub(crate) fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

fn strip_start(all: &mut [Visible<'_>], blank: fn(char) -> bool) {
    for one in all {
        let kept = one.text().trim_start_matches(blank).len();
        one.shown.start = one.shown.end - kept;
        if kept > 0 {
            return;
        }
    }
}

fn strip_end(all: &mut [Visible<'_>], blank: fn(char) -> bool) {
    for one in all.iter_mut().rev() {
        let kept = one.text().trim_end_matches(blank).len();
        one.shown.end = one.shown.start + kept;
        if kept > 0 {
            return;
        }
    }
}

/// A prompt while it is written.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Its token ids.
    pub(crate) ids: Vec<u32>,
    /// Slot and token range of each slot, in the order written. A word that lies across a slot's edge counts where
    /// it begins.
    pub(crate) spans: Vec<(usize, Range<usize>)>,
    /// Text since the last cut, and the edges of slots in it.
    seam: String,
    marks: Vec<usize>,
    edges: Vec<Edge>,
}

#[derive(Debug, Clone, Copy)]
enum Edge {
    Start(usize),
    End,
}

impl Line {
    pub(crate) fn start(head: &[u32]) -> Self {
        Self {
            ids: head.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn write(
        &mut self,
        session: &mut Session<'_>,
        runs: &[Visible<'_>],
        parts: &Parts<'_>,
    ) -> Result<(), Error> {
        for visible in runs {
            if let Some(slot) = visible.run.slot {
                self.mark(Edge::Start(slot));
            }
            if let Some(core) = visible.core(parts) {
                let text = visible.run.text;
                self.seam.push_str(&text[visible.shown.start..core.first]);
                self.close(session)?;
                self.ids.extend_from_slice(&core.ids);
                self.seam.push_str(&text[core.last..visible.shown.end]);
            } else {
                self.seam.push_str(visible.text());
            }
            if visible.run.slot.is_some() {
                self.mark(Edge::End);
            }
        }
        self.close(session)
    }

    fn mark(&mut self, edge: Edge) {
        self.marks.push(self.seam.len());
        self.edges.push(edge);
    }

    /// Encodes the seam.
    fn close(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        let first = self.ids.len();
        let seam = mem::take(&mut self.seam);
        let places = session.encode_marked(&seam, &self.marks, &mut self.ids)?;
        for (edge, place) in self.edges.drain(..).zip(places) {
            match edge {
                Edge::Start(slot) => self.spans.push((slot, first + place..first + place)),
                Edge::End => {
                    if let Some((_, span)) = self.spans.last_mut() {
                        span.end = first + place;
                    }
                }
            }
        }
        self.marks.clear();
        self.seam = seam;
        self.seam.clear();
        Ok(())
    }
}
