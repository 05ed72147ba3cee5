//! One sandbox as a Python class, for the tests: programs, limits and layers without a grader around them.
//!
//! Built with the cargo feature `testing` only; the wheel does not have it.
#![expect(clippy::needless_pass_by_value)] // arguments arrive owned

use std::path::PathBuf;

use opsd_sandbox::{End, Entry, Go, Input, Layer, Level, Limit, Limits, Options, Program, TestRun};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::crossing::crossing;
use crate::error::Crossed;

/// One warm interpreter whose programs are isolated; the thread that made it drives it.
#[pyclass(unsendable, name = "Sandbox")]
pub(crate) struct PySandbox(opsd_sandbox::Sandbox);

#[pymethods]
impl PySandbox {
    #[new]
    #[pyo3(signature = (
        python, core, *, level = "S2", site_packages = Vec::new(), packages = Vec::new(), numpy = false,
        without = Vec::new()
    ))]
    #[expect(clippy::too_many_arguments)] // keyword arguments on the other side
    fn new(
        py: Python<'_>,
        python: PathBuf,
        core: PathBuf,
        level: &str,
        site_packages: Vec<PathBuf>,
        packages: Vec<PathBuf>,
        numpy: bool,
        without: Vec<String>,
    ) -> Result<Self, Crossed> {
        let without = without
            .iter()
            .map(|name| {
                let known = Layer::ALL.map(Layer::name).join(", ");
                Layer::parse(name)
                    .ok_or_else(|| Crossed::Bad(format!("no layer {name:?}; there are {known}")))
            })
            .collect::<Result<_, _>>()?;
        let options = Options {
            python,
            core,
            site_packages,
            packages,
            numpy,
            harness: None,
            level: parse_level(level)?,
            governor: None,
            without,
        };
        crossing(py, || opsd_sandbox::Sandbox::start(&options)).map(Self)
    }

    /// Run `code` on each input. `judge(index, result)` returns "next", "next_fresh", "stop" or "again" (None: next).
    #[pyo3(signature = (
        code, inputs, *, entry_point = None, judge = None, cpu_seconds = 6.0, idle_seconds = 3.0,
        wall_seconds = 90.0, memory_mib = 1024, output_mib = 16, stderr_kib = 64, threads = 32
    ))]
    #[expect(clippy::too_many_arguments)] // keyword arguments on the other side
    fn run<'py>(
        &mut self,
        py: Python<'py>,
        code: String,
        inputs: Vec<Vec<u8>>,
        entry_point: Option<String>,
        judge: Option<Py<PyAny>>,
        cpu_seconds: f64,
        idle_seconds: f64,
        wall_seconds: f64,
        memory_mib: u64,
        output_mib: u64,
        stderr_kib: u64,
        threads: u32,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let entry = match entry_point {
            None => Entry::Stdin,
            Some(entry_point) => Entry::Function { entry_point },
        };
        let program = Program { code, entry };
        let inputs: Vec<Input> = inputs.into_iter().map(Input::from).collect();
        let limits = Limits {
            cpu_seconds,
            idle_seconds,
            wall_seconds,
            memory_mib,
            output_mib,
            stderr_kib,
            threads,
            ..Limits::default()
        };
        let mut runs: Vec<(usize, TestRun)> = Vec::new();
        let mut failed: Option<PyErr> = None;
        let mut decide = |index: usize, run: &TestRun| {
            runs.push((index, run.clone()));
            judge.as_ref().map_or(Go::Next, |judge| {
                Python::attach(|py| call_judge(py, judge, index, run)).unwrap_or_else(|error| {
                    failed = Some(error);
                    Go::Stop
                })
            })
        };
        crossing(py, || self.0.run(&program, &inputs, &limits, &mut decide))?;
        match failed {
            Some(error) => Err(error),
            None => runs
                .iter()
                .map(|(index, run)| as_dict(py, *index, run))
                .collect(),
        }
    }

    /// Let small hostile programs try what the level promises to stop: how many held, or the first breach.
    fn prove(&mut self, py: Python<'_>) -> Result<usize, Crossed> {
        crossing(py, || self.0.prove().map_err(Crossed::Fault))
    }

    /// The zygote's process id.
    #[getter]
    fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Which protections hold, in one line. Not a second getter: pyo3 keeps a class's getters in a map of random
    /// order, and the zygote's heap, which loads this class, must be the same each time.
    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn parse_level(level: &str) -> Result<Level, Crossed> {
    let known = Level::ALL.map(Level::name).join(", ");
    Level::parse(level)
        .ok_or_else(|| Crossed::Bad(format!("no level {level:?}; there are {known}")))
}

fn call_judge(py: Python<'_>, judge: &Py<PyAny>, index: usize, run: &TestRun) -> PyResult<Go> {
    let answer: Option<String> = judge
        .call1(py, (index, as_dict(py, index, run)?))?
        .extract(py)?;
    match answer.as_deref() {
        None | Some("next") => Ok(Go::Next),
        Some("stop") => Ok(Go::Stop),
        Some("again") => Ok(Go::Again),
        Some("next_fresh") => Ok(Go::NextFresh),
        Some(other) => Err(Crossed::Bad(format!("judge returned {other:?}")).into()),
    }
}

fn as_dict<'py>(py: Python<'py>, index: usize, run: &TestRun) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("index", index)?;
    let end = |name: &str, kind: Option<&str>, message: Option<&str>, number: Option<i64>| {
        result.set_item("end", name)?;
        result.set_item("kind", kind)?;
        result.set_item("message", message)?;
        result.set_item("number", number)
    };
    match &run.end {
        End::Finished => end("finished", None, None, None)?,
        End::Raised {
            kind,
            message,
            frames,
        } => {
            let line = frames.last().map(|frame| i64::from(frame.line));
            end("raised", Some(kind), Some(message), line)?;
        }
        End::Compile {
            kind,
            message,
            line,
        } => {
            end("compile", Some(kind), Some(message), line.map(i64::from))?;
        }
        End::Exited { code } => end("exited", None, None, Some((*code).into()))?,
        End::Signaled { signal } => end("signaled", None, None, Some((*signal).into()))?,
        End::Stopped { by } => {
            let name = match by {
                Limit::Cpu => "cpu",
                Limit::Idle => "idle",
                Limit::Wall => "wall",
                Limit::Cores => "cores",
                Limit::Memory => "memory",
                Limit::Output => "output",
            };
            end("stopped", Some(name), None, None)?;
        }
        End::Violation { call } => end("violation", call.as_deref(), None, None)?,
        End::Missing => end("missing", None, None, None)?,
        End::ImportBlocked { module } => end("blocked", Some(module), None, None)?,
    }
    result.set_item("stdout", PyBytes::new(py, &run.stdout))?;
    result.set_item("stderr", PyBytes::new(py, &run.stderr))?;
    result.set_item(
        "value",
        run.value.as_deref().map(|value| PyBytes::new(py, value)),
    )?;
    result.set_item("note", &run.note)?;
    result.set_item("cpu_seconds", run.cpu_seconds)?;
    result.set_item("wall_seconds", run.wall_seconds)?;
    result.set_item("memory_mib", run.memory_mib)?;
    result.set_item("process_cpu_seconds", run.process_cpu_seconds)?;
    result.set_item("waited_seconds", run.waited_seconds)?;
    result.set_item("ahead_seconds", run.ahead_seconds)?;
    result.set_item("starved", run.starved)?;
    result.set_item("naps", run.naps)?;
    result.set_item("fresh", run.fresh)?;
    Ok(result)
}
