//! The rules of others, with their surprises: SDPO's longest block, LiveCodeBench's last two lines.

/// The longest text between "```word\n" and the next "```".
pub(super) fn longest_fence(completion: &str) -> Option<String> {
    let mut longest: Option<&str> = None;
    let mut rest = completion;
    while let Some(start) = rest.find("```") {
        let after = &rest[start + 3..];
        let word = after.len()
            - after
                .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                .len();
        let body = after[word..]
            .strip_prefix('\n')
            .and_then(|body| Some((body, body.find("```")?)));
        match body {
            Some((body, end)) => {
                // Of two equally long blocks the first wins, as with Python's max().
                if longest.is_none_or(|found| body[..end].chars().count() > found.chars().count()) {
                    longest = Some(&body[..end]);
                }
                rest = &body[end + 3..];
            }
            // The pattern does not match here; a regular expression would try again one character on.
            None => rest = &rest[start + 1..],
        }
    }
    longest.map(str::to_owned)
}

/// What lies between the last two lines that contain "```".
pub(super) fn between_last_two(completion: &str) -> Option<String> {
    let lines: Vec<&str> = completion.split('\n').collect();
    let mut fences = (0..lines.len())
        .rev()
        .filter(|&at| lines[at].contains("```"));
    let last = fences.next()?;
    let before = fences.next()?;
    Some(lines[before + 1..last].join("\n"))
}
