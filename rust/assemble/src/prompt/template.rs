//! A context's templates: parsed once, filled per row. Only the template is scanned for slots, never the texts
//! put into it, so braces in a statement or a solution stay what they are.

use crate::error::Error;

/// A context's templates and its preamble, as written in its file.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    /// The user's message where there is a context. Slots: prompt, preamble and the names of `sections`.
    pub template: String,
    /// Name and wrapper of each section: the wrapper holds the slot of that name, and is written where there is a text.
    pub sections: Vec<(String, String)>,
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
    /// A text per section of the template, in its order (a solution, feedback, a note...); those left
    /// out at the end are absent.
    pub sections: &'a [Option<&'a str>],
}

impl<'a> Row<'a> {
    fn text(&self, section: usize) -> Option<&'a str> {
        self.sections.get(section).copied().flatten()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Prompt,
    Preamble,
    Section(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(Slot),
}

/// One section: its name and what is written around its text.
#[derive(Debug, Clone)]
struct Section {
    name: String,
    wrapper: Vec<Piece>,
}

/// A context's templates, parsed.
#[derive(Debug, Clone)]
pub struct ContextTemplate {
    template: Vec<Piece>,
    sections: Vec<Section>,
    bare: Vec<Piece>,
    preamble: String,
    is_static: bool,
}

impl ContextTemplate {
    /// Parses the templates; refuses unknown slots and single braces, naming the key.
    pub fn new(templates: &Templates) -> Result<Self, Error> {
        // `problem` is the statement's name in templates that ask a model to write something.
        let fixed = [
            ("prompt", Slot::Prompt),
            ("problem", Slot::Prompt),
            ("preamble", Slot::Preamble),
        ];
        let mut every = fixed.to_vec();
        for (i, (name, _)) in templates.sections.iter().enumerate() {
            every.push((name, Slot::Section(i)));
        }
        let section = |(i, (name, wrapper)): (usize, &(String, String))| {
            let slot = [(name.as_str(), Slot::Section(i))];
            Ok(Section {
                name: name.clone(),
                wrapper: parse(&format!("{name}_template"), wrapper, &slot)?,
            })
        };
        Ok(Self {
            template: parse("template", &templates.template, &every)?,
            sections: templates
                .sections
                .iter()
                .enumerate()
                .map(section)
                .collect::<Result<_, Error>>()?,
            bare: parse("bare_template", &templates.bare, &fixed)?,
            preamble: templates.preamble.clone(),
            is_static: templates.is_static,
        })
    }

    /// The name of a section.
    pub fn name(&self, section: usize) -> &str {
        &self.sections[section].name
    }

    /// How many sections there are.
    pub fn num_sections(&self) -> usize {
        self.sections.len()
    }

    /// The user's message of a row.
    pub fn fill(&self, row: &Row<'_>) -> String {
        self.runs(row).iter().map(|run| run.text).collect()
    }

    /// The user's message of a row, run by run.
    pub(crate) fn runs<'a>(&'a self, row: &Row<'a>) -> Vec<Run<'a>> {
        let mut runs = Vec::new();
        for piece in self.chosen(row) {
            match piece {
                Piece::Text(fixed) => runs.push(Run::fixed(fixed)),
                Piece::Slot(Slot::Prompt) => runs.push(Run::slot(0, row.prompt)),
                Piece::Slot(Slot::Preamble) => runs.push(Run::fixed(&self.preamble)),
                Piece::Slot(Slot::Section(i)) => {
                    // A section is written whole or not at all.
                    let Some(text) = row.text(*i) else { continue };
                    runs.extend(self.sections[*i].wrapper.iter().map(|piece| match piece {
                        Piece::Text(fixed) => Run::fixed(fixed),
                        Piece::Slot(_) => Run::slot(1 + *i, text),
                    }));
                }
            }
        }
        runs
    }

    /// Whether a section of the row is part of its message.
    pub fn shows(&self, row: &Row<'_>, section: usize) -> bool {
        row.text(section).is_some()
            && self
                .chosen(row)
                .contains(&Piece::Slot(Slot::Section(section)))
    }

    fn chosen(&self, row: &Row<'_>) -> &[Piece] {
        let bare = row.sections.iter().all(Option::is_none) && !self.is_static;
        if bare { &self.bare } else { &self.template }
    }
}

/// A stretch of a message that comes from one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) text: &'a str,
    /// 0 for the statement, `1 + i` for section `i`; `None` for the template's own text.
    pub(crate) slot: Option<usize>,
}

impl<'a> Run<'a> {
    pub(crate) fn fixed(text: &'a str) -> Self {
        Self { text, slot: None }
    }

    pub(crate) fn slot(slot: usize, text: &'a str) -> Self {
        Self {
            text,
            slot: Some(slot),
        }
    }
}

/// The grammar of Python's `str.format`, names only: `{slot}`, `{{` and `}}`.
fn parse(key: &str, text: &str, allowed: &[(&str, Slot)]) -> Result<Vec<Piece>, Error> {
    let refuse = |problem: String| Error::Template {
        key: key.to_owned(),
        problem,
        allowed: allowed
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", "),
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
            let slot = allowed
                .iter()
                .find(|(known, _)| *known == name)
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
            sections: [
                ("solution", "\nCorrect solution:\n\n{solution}"),
                (
                    "feedback",
                    "\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}",
                ),
            ]
            .map(|(name, wrapper)| (name.into(), wrapper.into()))
            .to_vec(),
            bare: "{prompt}".into(),
            ..Templates::default()
        }
    }

    fn row<'a>(sections: &'a [Option<&'a str>; 2]) -> Row<'a> {
        Row {
            label: "p",
            prompt: "Add {a} and {b}.",
            sections,
        }
    }

    #[test]
    fn sections_stand_whole_or_not_at_all() {
        let context = ContextTemplate::new(&templates()).unwrap();
        assert_eq!(context.fill(&row(&[None, None])), "Add {a} and {b}.");
        assert_eq!(
            context.fill(&row(&[Some("{x}"), None])),
            "Add {a} and {b}.\nCorrect solution:\n\n{x}\n\nCorrectly solve the original question."
        );
        assert_eq!(
            context.fill(&row(&[Some("s"), Some("f")])),
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
            context.fill(&row(&[None, None])),
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
            context.fill(&row(&[Some("s"), None])),
            "{x} Add {a} and {b}.\nCorrect solution:\n\ns"
        );
        for bad in ["{promt}", "{prompt", "prompt}", "{}", "{ prompt }"] {
            let message = with(bad).unwrap_err().to_string();
            assert!(message.starts_with("context.template: "), "{message}");
        }
    }
}
