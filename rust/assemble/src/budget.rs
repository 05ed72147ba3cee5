//! Keeping a teacher prompt within its token budget by cutting the middle out of its sections.
//!
//! Solution and feedback keep the same share of their characters; the statement, the instruction and the
//! assistant header are never touched. Beginning and end are what a reader needs most: imports and signature,
//! the last lines of a program, the verdict that opens a feedback text.

use std::borrow::Cow;

/// `text` with at most `keep` of its characters, the middle replaced by a marker line.
///
/// ```
/// let cut = opsd_assemble::middle_cut("abcdefghij", 4);
/// assert_eq!(cut, "ab\n[... 6 characters cut ...]\nij");
/// assert_eq!(opsd_assemble::middle_cut("short", 9), "short");
/// ```
pub fn middle_cut(text: &str, keep: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if keep >= length {
        return Cow::Borrowed(text);
    }
    let head = keep.div_ceil(2);
    let tail = keep - head;
    let start = byte_of(text, head);
    let end = byte_of(text, length - tail);
    let cut = length - keep;
    Cow::Owned(format!(
        "{}\n[... {cut} characters cut ...]\n{}",
        &text[..start],
        &text[end..]
    ))
}

fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices()
        .nth(character)
        .map_or(text.len(), |(byte, _)| byte)
}

/// Largest number of characters to keep, out of `total`, that `fits`; `None` when not even 0 does.
///
/// Token counts grow with the text almost always but not strictly, so the answer is one that was itself seen to
/// fit, not a bound that was inferred.
pub(crate) fn largest_fit<E>(
    total: usize,
    mut fits: impl FnMut(usize) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    if !fits(0)? {
        return Ok(None);
    }
    let (mut low, mut high) = (0, total); // low fits, high does not
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

/// A section's share of `keep` characters kept over all sections.
pub(crate) fn share(keep: usize, length: usize, total: usize) -> usize {
    if total == 0 {
        0
    } else {
        (keep as u128 * length as u128 / total as u128) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_between_characters() {
        let text = "äöü€𝄞漢字éß";
        for keep in 0..9 {
            let cut = middle_cut(text, keep);
            assert!(
                cut.contains(&format!("[... {} characters cut ...]", 9 - keep)),
                "{cut}"
            );
            assert!(text.starts_with(&cut[..cut.find('\n').unwrap()]));
            assert!(text.ends_with(&cut[cut.rfind('\n').unwrap() + 1..]));
        }
    }

    #[test]
    fn the_largest_fit_is_found_and_was_seen_to_fit() {
        let find = |bound: usize| largest_fit::<()>(1000, |keep| Ok(keep + 7 <= bound)).unwrap();
        assert_eq!(find(6), None);
        assert_eq!(find(7), Some(0));
        assert_eq!(find(500), Some(493));
        assert_eq!(find(1006), Some(999));
    }

    #[test]
    fn shares_never_sum_to_more_than_is_kept() {
        for keep in 0..=30 {
            assert!(share(keep, 10, 30) + share(keep, 20, 30) <= keep);
        }
    }
}
