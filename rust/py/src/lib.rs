//! `opsd_rs._core`: the door between Python and the Rust crates. Extract, detach, call, convert; no logic.

/// Native parts of opsd-rs.
#[pyo3::pymodule]
mod _core {}
