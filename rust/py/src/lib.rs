//! `opsd_rs._core`: the Python bindings of the Rust crates. Extract, detach, call, convert; no logic.

mod assemble;
mod crossing;
mod error;
mod grade;
mod sandbox;
#[cfg(feature = "testing")]
mod testing;

/// Native parts of opsd-rs.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::assemble::{PyChat, PyContextTemplate};
    #[pymodule_export]
    use crate::grade::{
        all_plain_json, as_official_function, extract_code, same_output, same_value, supervise,
    };
    #[pymodule_export]
    use crate::sandbox::{probe, probe_levels, sandbox_zygote};
    #[cfg(feature = "testing")]
    #[pymodule_export]
    use crate::testing::PySandbox;
}
