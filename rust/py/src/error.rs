//! One table from the crates' errors to `opsd_rs.errors`.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// An error on its way to Python, by who must act.
#[derive(Debug)]
pub(crate) enum Crossed {
    /// The user's input: `opsd_rs.errors.BadInput`.
    Bad(String),
    /// Ours: `opsd_rs.errors.OpsdError`.
    Fault(String),
}

impl From<opsd_grade::Error> for Crossed {
    fn from(error: opsd_grade::Error) -> Self {
        match error {
            opsd_grade::Error::BadProblem(message) => Self::Bad(message),
            other => Self::Fault(other.to_string()),
        }
    }
}

impl From<Crossed> for PyErr {
    fn from(crossed: Crossed) -> Self {
        let (class, message) = match crossed {
            Crossed::Bad(message) => ("BadInput", message),
            Crossed::Fault(message) => ("OpsdError", message),
        };
        Python::attach(|py| {
            // The supervisor runs without site-packages: there the package's own classes cannot be imported.
            match py
                .import("opsd_rs.errors")
                .and_then(|module| module.getattr(class))
            {
                Ok(found) => match found.call1((message,)) {
                    Ok(error) => Self::from_value(error),
                    Err(error) => error,
                },
                Err(_) if class == "BadInput" => PyValueError::new_err(message),
                Err(_) => PyRuntimeError::new_err(message),
            }
        })
    }
}
