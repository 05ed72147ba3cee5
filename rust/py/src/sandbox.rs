//! Bindings of the sandbox: the zygote's half, which its own interpreter calls, and what `doctor` asks.
#![expect(clippy::needless_pass_by_value)] // arguments arrive owned

use std::ffi::CString;
use std::path::PathBuf;

use opsd_sandbox::{Error, Layer, Level, Options, Readable};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::crossing::crossing;
use crate::error::Crossed;

impl From<Error> for Crossed {
    fn from(error: Error) -> Self {
        match error {
            Error::Limits(_) => Self::Bad(error.to_string()),
            other => Self::Fault(other.to_string()),
        }
    }
}

/// What the harness calls. One for each zygote process, inherited by its children.
#[pyclass(unsendable, name = "Zygote")]
struct PyZygote(opsd_sandbox::Zygote);

#[pymethods]
impl PyZygote {
    #[getter]
    fn no_open(&self) -> bool {
        self.0.has(Layer::NoOpen)
    }

    fn seal(
        &mut self,
        library: PathBuf,
        prefix: PathBuf,
        site_packages: Vec<PathBuf>,
        packages: Vec<PathBuf>,
    ) -> PyResult<()> {
        let sealed = self.0.seal(&Readable {
            library,
            prefix,
            site_packages,
            packages,
        });
        sealed.map_err(PyRuntimeError::new_err)
    }

    /// Returns in a new process for each program, with the interpreter lock held as before: it has one thread. The
    /// program's text, and the largest size of a file that it may write.
    fn next_program(&mut self) -> (String, u64) {
        let (text, file_bytes) = self.0.next_program();
        (String::from_utf8_lossy(&text).into_owned(), file_bytes)
    }

    /// Detaches: threads that the program has started continue while the main thread waits here.
    #[staticmethod]
    fn next_test(py: Python<'_>, done: Option<u64>, report: &[u8]) -> u64 {
        py.detach(|| opsd_sandbox::next_test(done, report))
    }

    /// As `next_test`, for a harness whose programs do not read the input from descriptor 0: (index, step, input).
    #[staticmethod]
    fn next_step<'py>(
        py: Python<'py>,
        done: Option<u64>,
        report: &[u8],
    ) -> (u64, u64, Bound<'py, PyBytes>) {
        let next = py.detach(|| opsd_sandbox::next_step(done, report));
        (next.index, next.step, PyBytes::new(py, &next.input))
    }
}

/// Become a zygote: only for the interpreter that `Sandbox` starts. Does not return.
#[pyfunction]
pub(crate) fn sandbox_zygote(
    py: Python<'_>,
    parent: i32,
    without: u64,
    numpy: u8,
    num_packages: usize,
    harness: &str,
    folders: Vec<String>,
) -> PyResult<()> {
    let zygote = opsd_sandbox::Zygote::new(parent, without).map_err(PyRuntimeError::new_err)?;
    let module = |source: &str, name: &str| {
        let (file, name) = (CString::new(format!("{name}.py"))?, CString::new(name)?);
        PyModule::from_code(py, &CString::new(source)?, &file, &name)
    };
    let custom = opsd_grade::HARNESSES
        .iter()
        .find(|custom| custom.name == harness);
    let more = custom.map_or(&[][..], |custom| custom.modules);
    for (name, source) in opsd_sandbox::MODULES.iter().chain(more) {
        module(source, name)?;
    }
    let harness = module(opsd_sandbox::HARNESS, "opsd_harness")?;
    let (packages, site_packages) = folders.split_at(num_packages.min(folders.len()));
    let entered = more.last().map(|(name, _)| *name);
    let arguments = (
        PyZygote(zygote),
        site_packages,
        packages,
        numpy == 1,
        entered,
    );
    harness.call_method1("serve", arguments).map(drop)
}

/// Tries every level on this machine, best first: a list of (level, holds, detail, policy).
#[pyfunction]
pub(crate) fn probe_levels(
    py: Python<'_>,
    python: PathBuf,
    core: PathBuf,
) -> Result<Vec<(&'static str, bool, String, String)>, Crossed> {
    let options = Options {
        python,
        core,
        site_packages: Vec::new(),
        packages: Vec::new(),
        numpy: false,
        harness: None,
        level: Level::S2,
        governor: None,
        without: Vec::new(),
    };
    let reports = crossing(py, || {
        Ok::<_, Crossed>(opsd_sandbox::probe_levels(&options))
    })?;
    let row = |report: opsd_sandbox::LevelReport| {
        (
            report.level.name(),
            report.holds,
            report.detail,
            report.policy,
        )
    };
    Ok(reports.into_iter().map(row).collect())
}

/// What this machine offers: a list of (name, required, available, detail).
#[pyfunction]
pub(crate) fn probe() -> Vec<(&'static str, bool, bool, String)> {
    let statuses = opsd_sandbox::probe().into_iter();
    statuses
        .map(|s| (s.name, s.required, s.available, s.detail))
        .collect()
}
