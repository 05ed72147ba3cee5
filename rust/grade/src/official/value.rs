//! A function's result with its Python type, and what comparing it gives.

use crate::compare::value::Value;

/// A result.
#[derive(Debug, Clone)]
pub(super) enum Typed {
    /// JSON's own types, at every depth.
    Json(Value),
    List(Vec<Typed>),
    Dict(Vec<(Vec<u8>, Typed)>),
    /// numpy's; a scalar has no dimensions.
    Array {
        /// Floats narrower than Python's: a lone Python number is rounded to their width before comparing.
        narrow: bool,
        shape: Vec<usize>,
        items: Vec<Typed>,
    },
    /// The one NaN of the JSON reader.
    SharedNan,
    /// Comparing it raises this.
    Raises(Vec<u8>),
    /// Equals no JSON value.
    Opaque,
}

/// What `result == expected` gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Equal {
    Plain(bool),
    /// numpy's: an array of answers, flattened.
    Each(Vec<bool>),
}

/// The repr of an exception that comparing raises.
pub(super) type Raised = Vec<u8>;
