//! A context's templates: parsed once, filled per row. Only the template is scanned for slots, never the texts
//! put into it, so braces in a statement or a solution stay what they are.

use crate::error::Error;

/// The four templates of a context and its preamble, as written in its file.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    /// The user's message where there is a context. Slots: prompt, solution, feedback, preamble.
    pub template: String,
    /// Wraps a solution (or hints) before it enters `{solution}`.
    pub solution: String,
    /// Wraps a feedback text before it enters `{feedback}`.
    pub feedback: String,
    /// The user's message where no section applies.
    pub bare: String,
    /// Fixed text for `{preamble}`.
    pub preamble: String,
    /// The template is a context by itself: `bare` is never used.
    pub is_static: bool,
}

/// The texts of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row<'a> {
    /// Names the row in errors: its problem id.
    pub label: &'a str,
    /// The statement, in its final wording.
    pub prompt: &'a str,
    /// A peer's or the row's own solution, or hints.
    pub solution: Option<&'a str>,
    /// The sandbox's words about this row.
    pub feedback: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Prompt,
    Solution,
    Feedback,
    Preamble,
}

impl Slot {
    /// `problem` is the hint prompt's word for the statement.
    const NAMES: [(&'static str, Slot); 5] = [
        ("prompt", Slot::Prompt),
        ("problem", Slot::Prompt),
        ("solution", Slot::Solution),
        ("feedback", Slot::Feedback),
        ("preamble", Slot::Preamble),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(Slot),
}

/// A context's templates, parsed.
#[derive(Debug, Clone)]
pub struct ContextTemplate {
    template: Vec<Piece>,
    solution: Vec<Piece>,
    feedback: Vec<Piece>,
    bare: Vec<Piece>,
    preamble: String,
    is_static: bool,
}

impl ContextTemplate {
    /// Parses the templates; refuses unknown slots and single braces, naming the key.
    pub fn new(templates: &Templates) -> Result<Self, Error> {
        let every = ["prompt", "problem", "solution", "feedback", "preamble"];
        Ok(Self {
            template: parse("template", &templates.template, &every)?,
            solution: parse("solution_template", &templates.solution, &["solution"])?,
            feedback: parse("feedback_template", &templates.feedback, &["feedback"])?,
            bare: parse(
                "bare_template",
                &templates.bare,
                &["prompt", "problem", "preamble"],
            )?,
            preamble: templates.preamble.clone(),
            is_static: templates.is_static,
        })
    }

    /// The user's message of a row.
    pub fn fill(&self, row: &Row<'_>) -> String {
        let mut text = String::new();
        self.write(self.chosen(row), row, &mut text);
        text
    }

    /// Whether the row's solution and feedback reach its message at all.
    pub fn shows(&self, row: &Row<'_>) -> (bool, bool) {
        let has = |slot| self.chosen(row).contains(&Piece::Slot(slot));
        (
            row.solution.is_some() && has(Slot::Solution),
            row.feedback.is_some() && has(Slot::Feedback),
        )
    }

    fn chosen(&self, row: &Row<'_>) -> &[Piece] {
        let bare = row.solution.is_none() && row.feedback.is_none() && !self.is_static;
        if bare { &self.bare } else { &self.template }
    }

    fn write(&self, pieces: &[Piece], row: &Row<'_>, out: &mut String) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slot(Slot::Prompt) => out.push_str(row.prompt),
                Piece::Slot(Slot::Preamble) => out.push_str(&self.preamble),
                Piece::Slot(Slot::Solution) => section(&self.solution, row.solution, out),
                Piece::Slot(Slot::Feedback) => section(&self.feedback, row.feedback, out),
            }
        }
    }
}

/// A section stands whole or not at all.
fn section(pieces: &[Piece], text: Option<&str>, out: &mut String) {
    let Some(text) = text else { return };
    for piece in pieces {
        match piece {
            Piece::Text(fixed) => out.push_str(fixed),
            Piece::Slot(_) => out.push_str(text),
        }
    }
}

/// The grammar of Python's `str.format`, names only: `{slot}`, `{{` and `}}`.
fn parse(key: &'static str, text: &str, allowed: &[&str]) -> Result<Vec<Piece>, Error> {
    let refuse = |problem: String| Error::Template {
        key,
        problem,
        allowed: allowed.join(", "),
    };
    let mut pieces = Vec::new();
    let mut fixed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        fixed.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            fixed.push_str(&rest[..1]);
            rest = &rest[2..];
        } else if rest.starts_with('}') {
            return Err(refuse("a `}` without its `{`".into()));
        } else {
            let end = rest
                .find('}')
                .ok_or_else(|| refuse("a `{` without its `}`".into()))?;
            let name = &rest[1..end];
            let slot = Slot::NAMES
                .iter()
                .find(|(known, _)| *known == name && allowed.contains(&name))
                .ok_or_else(|| refuse(format!("unknown slot {{{name}}}")))?;
            if !fixed.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut fixed)));
            }
            pieces.push(Piece::Slot(slot.1));
            rest = &rest[end + 1..];
        }
    }
    fixed.push_str(rest);
    if !fixed.is_empty() {
        pieces.push(Piece::Text(fixed));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Templates {
        Templates {
            template: "{prompt}{solution}{feedback}\n\nCorrectly solve the original question."
                .into(),
            solution: "\nCorrect solution:\n\n{solution}".into(),
            feedback:
                "\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}"
                    .into(),
            bare: "{prompt}".into(),
            ..Templates::default()
        }
    }

    fn row<'a>(solution: Option<&'a str>, feedback: Option<&'a str>) -> Row<'a> {
        Row {
            label: "p",
            prompt: "Add {a} and {b}.",
            solution,
            feedback,
        }
    }

    #[test]
    fn sections_stand_whole_or_not_at_all() {
        let context = ContextTemplate::new(&templates()).unwrap();
        assert_eq!(context.fill(&row(None, None)), "Add {a} and {b}.");
        assert_eq!(
            context.fill(&row(Some("{x}"), None)),
            "Add {a} and {b}.\nCorrect solution:\n\n{x}\n\nCorrectly solve the original question."
        );
        assert_eq!(
            context.fill(&row(Some("s"), Some("f"))),
            "Add {a} and {b}.\nCorrect solution:\n\ns\nThe following is feedback from your unsuccessful earlier \
             attempt:\n\nf\n\nCorrectly solve the original question."
        );
    }

    #[test]
    fn static_templates_are_never_bare() {
        let templates = Templates {
            template: "{preamble}\n---\n{prompt}".into(),
            preamble: "Think {hard}.".into(),
            bare: "{prompt}".into(),
            is_static: true,
            ..Templates::default()
        };
        let context = ContextTemplate::new(&templates).unwrap();
        assert_eq!(
            context.fill(&row(None, None)),
            "Think {hard}.\n---\nAdd {a} and {b}."
        );
    }

    #[test]
    fn doubled_braces_are_literal_and_single_ones_are_refused() {
        let with = |template: &str| {
            ContextTemplate::new(&Templates {
                template: template.into(),
                ..templates()
            })
        };
        let context = with("{{x}} {prompt}{solution}").unwrap();
        assert_eq!(
            context.fill(&row(Some("s"), None)),
            "{x} Add {a} and {b}.\nCorrect solution:\n\ns"
        );
        for bad in ["{promt}", "{prompt", "prompt}", "{}", "{ prompt }"] {
            let message = with(bad).unwrap_err().to_string();
            assert!(message.starts_with("context.template: "), "{message}");
        }
    }
}
