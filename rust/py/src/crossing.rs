//! How every binding calls Rust: release the interpreter lock, call, map the error.

use pyo3::prelude::*;

use crate::error::Crossed;

/// Run `call` without the interpreter lock; its error becomes a Python exception (see `error`).
pub(crate) fn crossing<T, E>(
    py: Python<'_>,
    call: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, Crossed>
where
    T: Send,
    E: Into<Crossed> + Send,
{
    py.detach(call).map_err(Into::into)
}
