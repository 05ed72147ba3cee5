//! The fenced blocks of an answer, as models write them.
//!
//! CommonMark's blocks are found as CommonMark says. Beyond it: a mark may share its line with text (`<answer>```python`,
//! "``` This sums.", a list item, an end token), "```python" inside a block ends it and begins the next one, four marks
//! may be closed by three where no four follow, and the end of the answer closes what is open.

use super::words::is_python_word;

/// What models put behind an answer; never part of a program that the end of the answer closes.
const END_TOKENS: [&str; 10] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "</s>",
    "</answer>",
];

/// One block.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// What stands behind the opening mark.
    pub info: &'a str,
    /// The lines between the marks.
    pub code: String,
    /// False where the end of the answer closed it.
    pub closed: bool,
}

impl Block<'_> {
    pub(super) fn is_blank(&self) -> bool {
        self.code.trim().is_empty()
    }
}

/// All blocks in order, blank ones too.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut hopeless = false;
    while at < lines.len() {
        let Some(fence) = Fence::opening(lines[at]) else {
            at += 1;
            continue;
        };
        let body = &lines[at + 1..];
        let end = fence.end(body, &mut hopeless);
        let (length, last) = end.map_or((body.len(), None), |(line, mark)| (line, mark.code()));
        let mut inside: Vec<&str> = body[..length].to_vec();
        inside.extend(last);
        let mut code = fence.without_container(&inside);
        if end.is_none() {
            let tokens = END_TOKENS.iter().filter_map(|token| code.find(token));
            if let Some(place) = tokens.min() {
                code.truncate(place);
            }
        }
        found.push(Block {
            info: fence.info,
            code,
            closed: end.is_some(),
        });
        at += 1 + length;
        if !matches!(end, Some((_, Mark::Next))) {
            at += 1;
        }
    }
    found
}

/// How a line ends a block.
#[derive(Debug, Clone, Copy)]
enum Mark<'a> {
    /// By a mark at its head, text may follow.
    Closed,
    /// By the opening mark of the next block.
    Next,
    /// By a mark behind text; the text is the block's last line, if it is code.
    Behind(Option<&'a str>),
}

impl<'a> Mark<'a> {
    fn code(self) -> Option<&'a str> {
        match self {
            Self::Behind(text) => text,
            Self::Closed | Self::Next => None,
        }
    }
}

struct Fence<'a> {
    mark: char,
    length: usize,
    info: &'a str,
    /// Characters of indentation and list markers before the mark.
    indent: usize,
    /// Whether the lines are quoted by `>`.
    quoted: bool,
}

impl<'a> Fence<'a> {
    fn opening(line: &'a str) -> Option<Self> {
        let body = without_markers(line);
        let indent = line[..line.len() - body.len()].chars().count();
        let quoted = line.trim_start().starts_with('>');
        let mark = body.chars().next()?;
        if matches!(mark, '`' | '~') {
            let length = run(body, mark);
            let info = body[length..].trim();
            let is_word =
                info.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '{' | '_' | '.'));
            let plain = mark == '~' || !info.contains('`');
            if length >= 3 && plain && (info.is_empty() || is_word || mark == '~') {
                return Some(Self {
                    mark,
                    length,
                    info,
                    indent,
                    quoted,
                });
            }
            if length >= 3 && plain {
                return None;
            }
        }
        // Behind text: the last mark of the line, if those before it come in pairs and one word follows.
        let places = marks(body);
        let (place, length) = *places.last().filter(|_| places.len() % 2 == 1)?;
        let info = body[place + length..].trim();
        let mut words = info.split_whitespace();
        let first = words.next().unwrap_or("");
        let is_info = is_python_word(first) || (words.next().is_none() && is_info_word(first));
        (info.is_empty() || is_info).then_some(Self {
            mark: '`',
            length,
            info,
            indent,
            quoted,
        })
    }

    /// The line that ends the block, and how. `hopeless`: no mark is left but inside lines, so that an answer with many
    /// of those is not searched over and over.
    fn end(&self, lines: &[&'a str], hopeless: &mut bool) -> Option<(usize, Mark<'a>)> {
        let numbered = || {
            lines
                .iter()
                .enumerate()
                .map(|(at, line)| (at, self.unquoted(line)))
        };
        if self.mark == '~' {
            let closes = |line: &str| run(line.trim(), '~') == line.trim().len();
            let found =
                numbered().find(|(_, line)| run(line.trim(), '~') >= self.length && closes(line));
            return found.map(|(at, _)| (at, Mark::Closed));
        }
        let anywhere = || numbered().find_map(|(at, line)| Some((at, anywhere(line)?)));
        if *hopeless {
            return anywhere();
        }
        let whole = numbered().find_map(|(at, line)| {
            let mark = at_head(line, self.length).or_else(|| at_tail(line))?;
            Some((at, mark))
        });
        let short = || numbered().find_map(|(at, line)| Some((at, at_head(line, 3)?)));
        match whole {
            // A longer mark may be closed by a shorter one, before one behind text is looked for.
            Some((at, Mark::Behind(_))) if self.length > 3 => {
                short().filter(|(place, _)| *place < at).or(whole)
            }
            Some(_) => whole,
            None if self.length > 3 => short().or_else(anywhere),
            None => {
                *hopeless = true;
                anywhere()
            }
        }
    }

    /// The lines as they are in the answer, without the indentation or the quote marks of what holds the block.
    fn without_container(&self, lines: &[&str]) -> String {
        let lines: Vec<&str> = lines.iter().map(|line| self.unquoted(line)).collect();
        let common = lines
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| blank_prefix(line))
            .min()
            .unwrap_or(0);
        let cut = if self.quoted {
            0
        } else {
            self.indent.min(common)
        };
        let kept: Vec<&str> = lines
            .iter()
            .map(|line| &line[blank_prefix(line).min(cut)..])
            .collect();
        kept.join("\n")
    }

    fn unquoted<'b>(&self, line: &'b str) -> &'b str {
        if !self.quoted {
            return line;
        }
        let rest = line.trim_start().strip_prefix('>');
        rest.map_or(line, |rest| rest.strip_prefix(' ').unwrap_or(rest))
    }
}

/// A mark of at least `least` backticks at the head of a line.
fn at_head(line: &str, least: usize) -> Option<Mark<'_>> {
    let body = without_markers(line);
    let length = run(body, '`');
    let rest = body[length..].trim();
    if length < least.max(3) || rest.contains('`') {
        return None;
    }
    let attached = body[length..].starts_with(rest);
    let opens = !rest.is_empty() && is_info_word(rest) && (attached || is_python_word(rest));
    Some(if opens { Mark::Next } else { Mark::Closed })
}

/// A mark at the end of a line of code, or before a tag. Not one inside a string.
fn at_tail(line: &str) -> Option<Mark<'_>> {
    let places = marks(line);
    let (place, length) = *places.first().filter(|_| places.len() == 1)?;
    let (before, after) = (&line[..place], line[place + length..].trim());
    let in_string = ['"', '\'']
        .iter()
        .any(|quote| before.matches(*quote).count() % 2 == 1);
    if before.trim().is_empty() || in_string || !(after.is_empty() || after.starts_with('<')) {
        return None;
    }
    Some(Mark::Behind(code_before(before)))
}

fn anywhere(line: &str) -> Option<Mark<'_>> {
    let (place, _) = *marks(line).first()?;
    Some(Mark::Behind(code_before(&line[..place])))
}

/// None for prose and for tags: no statement of Python ends like these.
fn code_before(text: &str) -> Option<&str> {
    let is_prose = text.trim_end().ends_with(['.', '!', '?', ':', '>']);
    (!is_prose && !text.trim().is_empty()).then_some(text)
}

/// Places and lengths of the runs of three or more backticks.
fn marks(line: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = line[at..].find("```") {
        let length = run(&line[at + next..], '`');
        found.push((at + next, length));
        at += next + length;
    }
    found
}

fn run(text: &str, mark: char) -> usize {
    text.chars().take_while(|&c| c == mark).count() // marks are one byte each
}

fn blank_prefix(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// A line without indentation, quote marks and list markers.
fn without_markers(line: &str) -> &str {
    let mut rest = line.trim_start_matches([' ', '\t']);
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let marker = match rest[digits..].chars().next() {
            Some('.' | ')') if (1..=9).contains(&digits) => digits + 1,
            Some('-' | '*' | '+' | '>') if digits == 0 => 1,
            _ => return rest,
        };
        let after = &rest[marker..];
        if !after.starts_with([' ', '\t']) && !(rest.starts_with('>')) {
            return rest;
        }
        rest = after.trim_start_matches([' ', '\t']);
    }
}

/// Whether a text can be the word behind an opening mark.
fn is_info_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '{' | '_'))
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "{}_.+-#:=/\"'".contains(c))
        && !text.ends_with(['.', ':'])
}
