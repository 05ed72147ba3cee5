//! Parts that every style uses: blocks cut to their share, source lines, a whole text cut to its budget.

use std::borrow::Cow;

use opsd_sandbox::Frame;

/// Characters of a whole text by default; SDPO's figure.
const DEFAULT_CHARS: usize = 2_000;
const MAX_LINE_CHARS: usize = 250;
const MAX_LINES: usize = 8;
const MAX_FRAMES: usize = 3;
const CUT: &str = "... (cut)";

/// One test as the text shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Standard input, or arguments.
    pub input: &'a [u8],
    /// Expected output.
    pub expected: &'a [u8],
}

/// The shares of one section's blocks in a budget of characters; with the headers they stay below it, so that a long
/// input never displaces the expected output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) input: usize,
    pub(super) answer: usize,
    pub(super) message: usize,
    pub(super) debug: usize,
}

impl Shares {
    pub(super) fn of(max_chars: usize) -> Self {
        // In a small budget the headers and the marks of what was cut weigh more.
        let headers = if max_chars < DEFAULT_CHARS { 200 } else { 0 };
        let percent = |share: usize| (max_chars - headers) * share / 100;
        Self {
            input: percent(45),
            answer: percent(20),
            message: percent(30),
            debug: percent(13),
        }
    }
}

/// A wrong answer as it is shown.
pub(super) fn answer(output: &[u8], max_chars: usize) -> String {
    block(output, Shares::of(max_chars).answer)
}

/// Innermost frame first: the source line, then its place.
pub(super) fn frames(frames: &[Frame], source: &str) -> String {
    let innermost = frames.iter().rev().take(MAX_FRAMES);
    innermost.map(|frame| frame_lines(frame, source)).collect()
}

fn frame_lines(frame: &Frame, source: &str) -> String {
    let line = source
        .split('\n')
        .nth((frame.line as usize).saturating_sub(1))
        .unwrap_or("")
        .trim();
    let code = if line.is_empty() {
        String::new()
    } else {
        format!("\n  {}", cut_line(line, MAX_LINE_CHARS))
    };
    match frame.function.as_str() {
        "" => format!("{code}\nLine {} (Solution.py)", frame.line),
        function => format!(
            "{code}\nLine {} in {} (Solution.py)",
            frame.line,
            cut_line(function, MAX_LINE_CHARS)
        ),
    }
}

fn cut_line(line: &str, max_chars: usize) -> Cow<'_, str> {
    match line.char_indices().nth(max_chars) {
        Some((at, _)) => format!("{}...", &line[..at]).into(),
        None => line.into(),
    }
}

/// At most 8 lines of at most 250 characters, `max_chars` in all (a first line that is longer is cut there).
pub(super) fn block(text: &[u8], max_chars: usize) -> String {
    let end = text
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
        .map_or(0, |last| last + 1);
    let longest = MAX_LINE_CHARS.min(max_chars);
    let mut kept = String::new();
    let mut num_chars = 0;
    for (number, line) in text[..end].split(|&byte| byte == b'\n').enumerate() {
        // Four bytes a character at most: no need to decode a line of megabytes.
        let line = &line[..line.len().min(4 * MAX_LINE_CHARS + 4)];
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let line = cut_line(&line, longest);
        num_chars += line.chars().count() + 1;
        if number == MAX_LINES || (number > 0 && num_chars > max_chars) {
            let more = text[..end].split(|&byte| byte == b'\n').count() - number;
            return format!(
                "{kept}\n... ({more} more {})",
                if more == 1 { "line" } else { "lines" }
            );
        }
        if number > 0 {
            kept.push('\n');
        }
        kept.push_str(&line);
    }
    kept
}

/// `text` if it fits, else whole lines of it and a marker.
pub(super) fn within(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let budget = max_chars - CUT.len() - 1;
    let end = text
        .char_indices()
        .nth(budget)
        .map_or(text.len(), |(at, _)| at);
    let line_end = text[..end].rfind('\n').unwrap_or(end);
    format!("{}\n{CUT}", text[..line_end].trim_end())
}
