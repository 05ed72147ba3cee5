//! Grading across the door: the supervisor's entry, and the pure functions that Python shares with it.

use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use opsd_grade::{Error, Rule, Value};
use pyo3::prelude::*;

use crate::crossing::crossing;
use crate::error::Crossed;

/// Serve the process at the other end of the socket on file descriptor 0 until it is gone.
///
/// For the supervisor process alone, which `opsd_rs.grading` starts.
#[pyfunction]
pub(crate) fn supervise(py: Python<'_>) -> Result<(), Crossed> {
    crossing(py, || -> Result<(), Error> {
        // A copy that closes on exec: sandboxes must not inherit the way to the caller.
        let copy = stdin().as_fd().try_clone_to_owned();
        let socket = copy.map_err(|source| Error::Io {
            step: "taking the socket on descriptor 0",
            source,
        })?;
        opsd_grade::supervise(UnixStream::from(socket))
    })
}

/// The code inside `text` by `rule`: "last", "longest" or "official". None: there is no code.
#[pyfunction]
#[pyo3(signature = (text, rule = "last"))]
pub(crate) fn extract_code(
    py: Python<'_>,
    text: &str,
    rule: &str,
) -> Result<Option<String>, Crossed> {
    let found = Rule::named(rule).ok_or_else(|| {
        Crossed::Bad(format!(
            "extract = {rule:?}: no such rule; use \"last\", \"longest\" or \"official\""
        ))
    })?;
    crossing(py, || Ok::<_, Crossed>(opsd_grade::extract(text, found)))
}

/// Whether the standard output `actual` answers `expected` (LiveCodeBench's comparison).
#[pyfunction]
pub(crate) fn same_output(py: Python<'_>, actual: &[u8], expected: &[u8]) -> Result<bool, Crossed> {
    crossing(py, || {
        Ok::<_, Crossed>(opsd_grade::same_output(actual, expected))
    })
}

/// Whether two JSON texts are equal under Python's `==` (how a function's result is judged). A text that is no JSON
/// equals nothing.
#[pyfunction]
pub(crate) fn same_value(py: Python<'_>, actual: &[u8], expected: &[u8]) -> Result<bool, Crossed> {
    crossing(py, || {
        let values = (Value::parse(actual), Value::parse(expected));
        Ok::<_, Crossed>(
            matches!(values, (Some(actual), Some(expected)) if actual.same_value(&expected)),
        )
    })
}
