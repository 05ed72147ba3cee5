//! Python bindings of grading: the supervisor's entry, and the pure functions that Python shares with it.

use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use opsd_grade::{Comparator, CompareSpec, Error, Rule, Value};
use pyo3::prelude::*;

use crate::crossing::crossing;
use crate::error::Crossed;

/// Serve the process at the other end of the socket on file descriptor 0 until it is gone.
///
/// Only for the supervisor process, which `opsd_rs.grading` starts.
#[pyfunction]
pub(crate) fn supervise(py: Python<'_>) -> Result<(), Crossed> {
    crossing(py, || -> Result<(), Error> {
        // A copy that closes on exec: sandboxes must not inherit the socket to the caller.
        let copy = stdin().as_fd().try_clone_to_owned();
        let socket = copy.map_err(|source| Error::Io {
            step: "taking the socket on descriptor 0",
            source,
        })?;
        opsd_grade::supervise(UnixStream::from(socket))
    })
}

/// The code inside `text` by the extraction rule of that name. None: there is no code. `truncated`: the text ended at
/// the token limit.
#[pyfunction]
#[pyo3(signature = (text, rule = "last", truncated = false))]
pub(crate) fn extract_code(
    py: Python<'_>,
    text: &str,
    rule: &str,
    truncated: bool,
) -> Result<Option<String>, Crossed> {
    let found = Rule::try_from(rule.to_owned()).map_err(Crossed::Bad)?;
    crossing(py, || {
        Ok::<_, Crossed>(opsd_grade::extract(text, found, truncated).ok())
    })
}

/// A program on standard input as LiveCodeBench's official runner rewrites it: imports, then a function. None where the
/// program's own process must decide.
#[pyfunction]
pub(crate) fn as_official_function(
    py: Python<'_>,
    source: &str,
) -> Result<Option<String>, Crossed> {
    crossing(py, || Ok::<_, Crossed>(opsd_grade::as_function(source)))
}

/// Whether each of the texts is JSON without anything that Python's reader may read differently.
#[pyfunction]
pub(crate) fn all_plain_json(py: Python<'_>, texts: Vec<String>) -> Result<bool, Crossed> {
    crossing(py, move || {
        Ok::<_, Crossed>(texts.iter().all(|text| opsd_grade::is_plain_json(text)))
    })
}

/// Whether the standard output `actual` answers `expected`.
#[pyfunction]
#[pyo3(signature = (actual, expected, compare = "official"))]
pub(crate) fn same_output(
    py: Python<'_>,
    actual: &[u8],
    expected: &[u8],
    compare: &str,
) -> Result<bool, Crossed> {
    let comparator = comparator(compare)?;
    crossing(py, || {
        Ok::<_, Crossed>(comparator.same_output(actual, expected) == Some(true))
    })
}

/// Whether two JSON texts are equal (how a function's result is judged): under Python's `==` except for `float`. A text
/// that is not JSON equals nothing.
#[pyfunction]
#[pyo3(signature = (actual, expected, compare = "official"))]
pub(crate) fn same_value(
    py: Python<'_>,
    actual: &[u8],
    expected: &[u8],
    compare: &str,
) -> Result<bool, Crossed> {
    let comparator = comparator(compare)?;
    crossing(py, || {
        let values = (Value::parse(actual), Value::parse(expected));
        Ok::<_, Crossed>(
            matches!(values, (Some(actual), Some(expected)) if comparator.same_value(&actual, &expected) == Some(true)),
        )
    })
}

/// The comparator of that name; a checker program cannot be asked here.
fn comparator(rule: &str) -> Result<Comparator, Crossed> {
    let spec = CompareSpec {
        rule: rule.to_owned(),
        checker: None,
    };
    Comparator::new(&spec).map_err(Crossed::Bad)
}
