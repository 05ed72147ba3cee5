//! A step's rows, all at once: equal rows are built once, distinct ones on every core, results packed.

use crate::encode::hash::Map;
use crate::encode::parallel::on_every_core;
use crate::error::Error;
use crate::prompt::chat::Chat;
use crate::prompt::prefix::shared_prefixes;
use crate::prompt::row::{Budget, Prompt, build_prompt, parts, texts};
use crate::prompt::template::{ContextTemplate, Row};

/// Rows end to end: row `i` is `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Token ids of all rows: each prompt, and its completion if one was given.
    pub ids: Vec<u32>,
    /// `rows + 1` ascending offsets, the first 0.
    pub offsets: Vec<usize>,
    /// Flags per row.
    pub flags: Vec<Vec<String>>,
    /// Where each row's completion starts in `ids`; it ends with the row.
    pub completions: Vec<usize>,
    /// Start and end in `ids` of the statement and of each section, row by row; both the row's start where absent.
    pub spans: Vec<[usize; 2]>,
    /// For each row, an earlier row whose prompt begins with as many of the same ids as any earlier one's, and how
    /// many; the row itself and 0 for the first.
    pub shared: Vec<[usize; 2]>,
}

/// Fills, cuts to `budget` and encodes every row, in the order given, and appends its completion verbatim.
///
/// `completions` holds the ids of row `i` at `i`; without any, rows are prompts alone.
pub fn assemble(
    chat: &Chat,
    context: &ContextTemplate,
    rows: &[Row<'_>],
    budget: Budget<'_>,
    completions: &[&[u32]],
) -> Result<Packed, Error> {
    // Siblings that read the same solution have the same prompt.
    let mut place = Map::default();
    let mut distinct = Vec::new();
    let places: Vec<usize> = rows
        .iter()
        .map(|row| {
            *place.entry(row).or_insert_with(|| {
                distinct.push(row);
                distinct.len() - 1
            })
        })
        .collect();
    let parts = parts(chat, &texts(context, &distinct))?;
    let built = on_every_core(&chat.encoder, &distinct, |session, row| {
        build_prompt(chat, context, session, row, &parts, budget)
    })?;
    Ok(pack(&places, &built, completions))
}

fn pack(places: &[usize], built: &[Prompt], completions: &[&[u32]]) -> Packed {
    let prompts = places.iter().map(|place| built[*place].ids.len());
    let total = prompts.sum::<usize>() + completions.iter().map(|ids| ids.len()).sum::<usize>();
    let mut packed = Packed {
        ids: Vec::with_capacity(total),
        offsets: vec![0],
        ..Packed::default()
    };
    for (i, place) in places.iter().enumerate() {
        let row = &built[*place];
        let start = packed.ids.len();
        packed.ids.extend_from_slice(&row.ids);
        packed.completions.push(packed.ids.len());
        packed
            .ids
            .extend_from_slice(completions.get(i).copied().unwrap_or_default());
        packed.offsets.push(packed.ids.len());
        packed.flags.push(row.flags.clone());
        packed.spans.extend(
            row.spans
                .iter()
                .map(|span| [start + span.start, start + span.end]),
        );
    }
    let prompts: Vec<&[u32]> = places.iter().map(|place| &built[*place].ids[..]).collect();
    packed.shared = shared_prefixes(&prompts);
    packed
}
