//! Keeping a teacher prompt within its token budget by cutting the middle out of its sections.
//!
//! Solution and feedback keep the same share of their characters; the statement, the instruction and the
//! assistant header are never touched. A reader needs beginning and end most: imports and signature,
//! the last lines of a program, the verdict that opens a feedback text.

use std::borrow::Cow;

/// `text` with the middle replaced by a marker line, so that `keep` of its characters are left.
///
/// A text that the marker would not make shorter stays whole.
///
/// ```
/// let cut = opsd_assemble::middle_cut("import sys, then forty more characters, then print(x)", 16);
/// assert_eq!(cut, "import s\n[... 37 characters cut ...]\nprint(x)");
/// assert_eq!(opsd_assemble::middle_cut("print(1)", 2), "print(1)");
/// ```
pub fn middle_cut(text: &str, keep: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    let cut = length.saturating_sub(keep);
    let marker = marker(cut);
    if keep + marker.len() >= length {
        return Cow::Borrowed(text);
    }
    let head = keep.div_ceil(2);
    let start = byte_of(text, head);
    let end = byte_of(text, head + cut);
    Cow::Owned(format!("{}{marker}{}", &text[..start], &text[end..]))
}

/// The marker in place of all of `text`, even where that is longer: rare characters can take more tokens than it.
pub(crate) fn only_marker(text: &str) -> String {
    marker(text.chars().count())
}

fn marker(cut: usize) -> String {
    format!("\n[... {cut} characters cut ...]\n")
}

fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices()
        .nth(character)
        .map_or(text.len(), |(byte, _)| byte)
}

/// Largest number of characters to keep, out of `total`, that `fits`; `None` when not even 0 does.
///
/// Token counts grow with the text almost always but not strictly, so the answer is a number that was tried and fit,
/// not an inferred bound.
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
    fn cuts_fall_between_characters_and_never_lengthen() {
        let text = "äöü€𝄞漢字éß".repeat(5);
        for keep in 0..=45 {
            let cut = middle_cut(&text, keep);
            assert!(cut.chars().count() <= 45);
            if let Cow::Owned(cut) = cut {
                assert!(
                    cut.contains(&format!("[... {} characters cut ...]", 45 - keep)),
                    "{cut}"
                );
                assert!(text.starts_with(&cut[..cut.find('\n').unwrap()]));
                assert!(text.ends_with(&cut[cut.rfind('\n').unwrap() + 1..]));
            } else {
                assert!(keep >= 15, "{keep}");
            }
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
