//! A step's rows, all at once: equal rows are encoded once, distinct ones on every core, results packed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::budget::{largest_fit, middle_cut, share};
use crate::chat::Chat;
use crate::error::Error;
use crate::template::{ContextTemplate, Row};

/// One row's prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Token ids of the whole prompt.
    pub ids: Vec<u32>,
    /// `special:prompt`, and `special:NAME` and `cut:NAME` of sections.
    pub flags: Vec<String>,
}

/// Rows end to end: row `i` is `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// `rows + 1` ascending offsets, the first 0.
    pub offsets: Vec<usize>,
    /// Flags per row.
    pub flags: Vec<Vec<String>>,
}

/// Fills, cuts to `max_tokens` and encodes every row, in the order given.
pub fn assemble(
    chat: &Chat,
    context: &ContextTemplate,
    rows: &[Row<'_>],
    max_tokens: usize,
) -> Result<Packed, Error> {
    // Siblings that read the same solution have the same prompt.
    let mut place = HashMap::new();
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
    let prepared = on_every_core(&distinct, |row| prepare(chat, context, row, max_tokens))?;

    let mut packed = Packed {
        offsets: vec![0],
        ..Packed::default()
    };
    for place in places {
        packed.ids.extend_from_slice(&prepared[place].ids);
        packed.offsets.push(packed.ids.len());
        packed.flags.push(prepared[place].flags.clone());
    }
    Ok(packed)
}

/// One row: as it is if it fits, else with its sections cut.
fn prepare(
    chat: &Chat,
    context: &ContextTemplate,
    row: &Row<'_>,
    max_tokens: usize,
) -> Result<Prepared, Error> {
    let encode = |row: &Row<'_>| -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        chat.encode(row.label, &context.fill(row), &mut ids)?;
        Ok(ids)
    };
    let shown: Vec<Option<&str>> = row
        .sections
        .iter()
        .enumerate()
        .map(|(i, text)| text.filter(|_| context.shows(row, i)))
        .collect();

    let mut flags = Vec::new();
    if chat.spells_special(row.prompt) {
        flags.push("special:prompt".to_owned());
    }
    for (i, text) in shown.iter().enumerate() {
        if text.is_some_and(|text| chat.spells_special(text)) {
            flags.push(format!("special:{}", context.name(i)));
        }
    }

    let ids = encode(row)?;
    if ids.len() <= max_tokens {
        return Ok(Prepared { ids, flags });
    }

    let lengths: Vec<usize> = shown
        .iter()
        .map(|text| text.map_or(0, |text| text.chars().count()))
        .collect();
    let total = lengths.iter().sum();
    let cut_to = |keep: usize| -> Result<Prepared, Error> {
        let short: Vec<Option<Cow<'_, str>>> = shown
            .iter()
            .zip(&lengths)
            .map(|(text, length)| text.map(|text| middle_cut(text, share(keep, *length, total))))
            .collect();
        // A section that the chosen template leaves out still decides that it is not the bare one.
        let sections: Vec<Option<&str>> = short
            .iter()
            .zip(row.sections)
            .map(|(text, whole)| text.as_deref().or(*whole))
            .collect();
        let ids = encode(&Row {
            sections: &sections,
            ..*row
        })?;
        let mut flags = flags.clone();
        for (i, text) in short.iter().enumerate() {
            if matches!(text, Some(Cow::Owned(_))) {
                flags.push(format!("cut:{}", context.name(i)));
            }
        }
        Ok(Prepared { ids, flags })
    };
    match largest_fit(total, |keep| Ok(cut_to(keep)?.ids.len() <= max_tokens))? {
        Some(keep) => cut_to(keep),
        None => Err(Error::OverBudget {
            label: row.label.to_owned(),
            tokens: cut_to(0)?.ids.len(),
            budget: max_tokens,
        }),
    }
}

/// Maps `work` over `items` on as many threads as there are cores, keeping their order.
///
/// Threads live for this call only: a pool kept in the process would not survive the forks around a trainer.
fn on_every_core<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let cores = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(items.len());
    if cores <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, Result<R, Error>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(at) else {
                            return mine;
                        };
                        mine.push((at, work(item)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("an assembling thread panicked"))
            .collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
