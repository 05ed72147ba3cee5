//! Python bindings of the assembler: strings in, buffers of ids out, one call per batch.

use opsd_assemble::{Budget, ContextTemplate, Error, Packed, Row, Templates, assemble};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyTuple};

use crate::crossing::crossing;
use crate::error::Crossed;

/// One row for `Chat.assemble`: label, prompt, a text per section.
type PyRow = (String, String, Vec<Option<String>>);
/// One row from `Chat.assemble`: token ids, flags.
type PyPrompt<'py> = (Bound<'py, PyTuple>, Vec<String>);

impl From<Error> for Crossed {
    /// Every error of the assembler is one that the user can fix.
    fn from(error: Error) -> Self {
        Self::Bad(error.to_string())
    }
}

/// A context's templates, parsed.
#[pyclass(module = "opsd_rs._core", name = "ContextTemplate", frozen)]
pub(crate) struct PyContextTemplate(ContextTemplate);

#[pymethods]
impl PyContextTemplate {
    #[new]
    #[pyo3(signature = (*, template, sections, bare_template, preamble, is_static))]
    fn new(
        template: String,
        sections: Vec<(String, String)>,
        bare_template: String,
        preamble: String,
        is_static: bool,
    ) -> PyResult<Self> {
        let templates = Templates {
            template,
            sections,
            bare: bare_template,
            preamble,
            is_static,
        };
        Ok(Self(
            ContextTemplate::new(&templates).map_err(Crossed::from)?,
        ))
    }

    /// The user's message, nothing cut.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a list from Python is extracted by value"
    )]
    fn fill(&self, prompt: &str, sections: Vec<Option<String>>) -> String {
        self.0.fill(&Row {
            label: "",
            prompt,
            sections: &texts(&sections),
        })
    }
}

/// The rows, their completions and bounds, as the assembler takes them.
fn assembled(
    chat: &opsd_assemble::Chat,
    context: &ContextTemplate,
    rows: &[PyRow],
    budget: Budget<'_>,
    completions: &[&[u32]],
) -> Result<Packed, Error> {
    let sections: Vec<_> = rows
        .iter()
        .map(|(_, _, sections)| texts(sections))
        .collect();
    let rows: Vec<Row<'_>> = rows
        .iter()
        .zip(&sections)
        .map(|((label, prompt, _), sections)| Row {
            label,
            prompt,
            sections,
        })
        .collect();
    assemble(chat, context, &rows, budget, completions)
}

/// Writable bytes of 64-bit integers, for `numpy.frombuffer`.
fn words(
    py: Python<'_>,
    values: impl ExactSizeIterator<Item = usize>,
) -> PyResult<Bound<'_, PyByteArray>> {
    PyByteArray::new_with(py, 8 * values.len(), |bytes| {
        for (place, value) in bytes.chunks_exact_mut(8).zip(values) {
            place.copy_from_slice(&(value as u64).to_ne_bytes());
        }
        Ok(())
    })
}

fn texts(sections: &[Option<String>]) -> Vec<Option<&str>> {
    sections.iter().map(Option::as_deref).collect()
}

/// A chat template compiled for messages of one user, with its tokenizer.
#[pyclass(module = "opsd_rs._core", name = "Chat", frozen)]
pub(crate) struct PyChat(opsd_assemble::Chat);

#[pymethods]
impl PyChat {
    #[new]
    #[pyo3(signature = (*, tokenizer_json, head, tail, trims))]
    fn new(
        py: Python<'_>,
        tokenizer_json: &str,
        head: &str,
        tail: &str,
        trims: bool,
    ) -> PyResult<Self> {
        let chat = crossing(py, || {
            opsd_assemble::Chat::new(tokenizer_json, head, tail, trims)
        })?;
        Ok(Self(chat))
    }

    /// Token ids of a chat with this one user message.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        label: &str,
        message: &str,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut ids = Vec::new();
        crossing(py, || self.0.encode(label, message, &mut ids))?;
        PyTuple::new(py, ids)
    }

    /// Token ids and flags of many rows `(label, prompt, sections)`, each at most `max_tokens` long.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a list from Python is extracted by value"
    )]
    fn assemble<'py>(
        &self,
        py: Python<'py>,
        context: &PyContextTemplate,
        rows: Vec<PyRow>,
        max_tokens: usize,
    ) -> PyResult<Vec<PyPrompt<'py>>> {
        let packed = crossing(py, || {
            assembled(&self.0, &context.0, &rows, Budget::total(max_tokens), &[])
        })?;
        packed
            .offsets
            .windows(2)
            .zip(packed.flags)
            .map(|(span, flags)| Ok((PyTuple::new(py, &packed.ids[span[0]..span[1]])?, flags)))
            .collect()
    }

    /// The same with completions, into buffers: `input_ids`, `offsets`, `completions`, `spans` and `shared` are
    /// 64-bit integers, `flags` a list per row. Row `i`'s completion is
    /// `completion_ids[completion_offsets[i]:completion_offsets[i + 1]]`.
    #[pyo3(signature = (context, rows, max_tokens, section_tokens, completion_ids, completion_offsets))]
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "one call; lists from Python are extracted by value"
    )]
    fn assemble_packed<'py>(
        &self,
        py: Python<'py>,
        context: &PyContextTemplate,
        rows: Vec<PyRow>,
        max_tokens: usize,
        section_tokens: Vec<Option<usize>>,
        completion_ids: PyBuffer<u32>,
        completion_offsets: PyBuffer<u64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (ids, offsets) = (completion_ids.to_vec(py)?, completion_offsets.to_vec(py)?);
        let budget = Budget {
            total: max_tokens,
            sections: &section_tokens,
        };
        let packed = crossing(py, || {
            let completions: Vec<&[u32]> = offsets
                .windows(2)
                .map(|span| &ids[span[0] as usize..span[1] as usize])
                .collect();
            assembled(&self.0, &context.0, &rows, budget, &completions)
        })?;
        let buffers = PyDict::new(py);
        buffers.set_item(
            "input_ids",
            words(py, packed.ids.iter().map(|id| *id as usize))?,
        )?;
        buffers.set_item("offsets", words(py, packed.offsets.into_iter())?)?;
        buffers.set_item("completions", words(py, packed.completions.into_iter())?)?;
        let pairs = |pairs: Vec<[usize; 2]>| pairs.concat().into_iter();
        buffers.set_item("spans", words(py, pairs(packed.spans))?)?;
        buffers.set_item("shared", words(py, pairs(packed.shared))?)?;
        buffers.set_item("flags", packed.flags)?;
        Ok(buffers)
    }

    /// The chat as text.
    fn render(&self, message: &str) -> String {
        self.0.render(message)
    }

    /// Whether `text` contains a special token of the tokenizer.
    fn spells_special(&self, text: &str) -> bool {
        self.0.spells_special(text)
    }

    /// Ids from the marker that ends the user's turn to the end of the prompt.
    #[getter]
    fn tail_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.tail_ids())
    }
}
