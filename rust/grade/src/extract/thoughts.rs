//! Which parts of a completion are the answer: what models think aloud stands between tags, whole, half or not at all.
//!
//! A template may have opened the thoughts, so that only their end shows; a model may think several times, or never
//! end. Channels (`<|channel|>final<|message|>`) and a reader that drops their marks (`assistantfinal`) are known too.

/// Pairs of tags around thoughts. The first is the one of most models.
const TAGS: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
];
const FINAL_CHANNEL: &str = "<|channel|>final";
const OTHER_CHANNEL: &str = "<|channel|>analysis";
const MESSAGE: &str = "<|message|>";
/// What is left of the channels' marks where special tokens are dropped.
const BARE_CHANNELS: (&str, &str) = ("analysis", "assistantfinal");

/// A completion in parts.
pub(super) struct Parts<'a> {
    /// The answer: what stands outside the thoughts, in order.
    pub answer: Vec<&'a str>,
    /// Thoughts that were opened and never ended: for a model that forgets the end, the answer is in there.
    pub endless: Option<&'a str>,
    /// Whether there are thoughts that ended.
    pub ended: bool,
}

/// The parts of `completion`.
pub(super) fn parts(completion: &str) -> Parts<'_> {
    if let Some(answer) = last_channel(completion) {
        return Parts {
            answer: vec![answer],
            endless: None,
            ended: true,
        };
    }
    if completion.contains(OTHER_CHANNEL) {
        return Parts {
            answer: Vec::new(),
            endless: Some(completion),
            ended: false,
        };
    }
    let mut parts = Parts {
        answer: Vec::new(),
        endless: None,
        ended: false,
    };
    let mut start = 0; // of the text that has no place yet
    let mut inside: Option<&Tags> = None;
    for (place, tags, opens) in marks(completion) {
        match inside {
            _ if place < start => {}
            Some(open) if opens || open != tags => {}
            Some(_) => {
                parts.ended = true;
                inside = None;
                start = place + tags.1.len();
            }
            None if opens => {
                parts.answer.push(&completion[start..place]);
                inside = Some(tags);
                start = place + tags.0.len();
            }
            // An end without a beginning: all before it was thought.
            None => {
                parts.answer.clear();
                parts.ended = true;
                start = place + tags.1.len();
            }
        }
    }
    match inside {
        Some(_) => parts.endless = Some(&completion[start..]),
        None => parts.answer.push(&completion[start..]),
    }
    parts
}

/// What follows the last end of thoughts, for the rules `after-think`. Without any tag all of it is the answer; None
/// where thoughts begin after the last end.
pub(super) fn after_all(completion: &str) -> Option<&str> {
    if let Some(answer) = last_channel(completion) {
        return Some(answer);
    }
    let answer = TAGS
        .iter()
        .filter_map(|(_, close)| Some(completion.rfind(close)? + close.len()))
        .max()
        .map_or(completion, |end| &completion[end..]);
    (!TAGS.iter().any(|(open, _)| answer.contains(open))).then_some(answer)
}

fn last_channel(completion: &str) -> Option<&str> {
    if let Some((_, after)) = completion.rsplit_once(FINAL_CHANNEL) {
        return Some(
            after
                .split_once(MESSAGE)
                .map_or(after, |(_, answer)| answer),
        );
    }
    let (analysis, answer) = BARE_CHANNELS;
    if !completion.trim_start().starts_with(analysis) {
        return None;
    }
    completion.rsplit_once(answer).map(|(_, text)| text)
}

type Tags = (&'static str, &'static str);

/// All tags in their order: place, pair, whether it opens.
fn marks(text: &str) -> Vec<(usize, &'static Tags, bool)> {
    let mut found = Vec::new();
    for tags in &TAGS {
        found.extend(
            text.match_indices(tags.0)
                .map(|(place, _)| (place, tags, true)),
        );
        found.extend(
            text.match_indices(tags.1)
                .map(|(place, _)| (place, tags, false)),
        );
    }
    found.sort_by_key(|(place, ..)| *place);
    found
}
