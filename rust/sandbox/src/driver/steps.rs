//! One process for a whole program, led step by step: how the official profiles run.
//!
//! The program keeps its state, the steps come in the caller's order, and one deadline holds for all of them together.
//! What a step reports is the caller's to read; this crate only knows whether the process still lives.

use std::time::{Duration, Instant};

use crate::driver::input::Input;
use crate::driver::sandbox::Sandbox;
use crate::error::Error;
use crate::limits::Limits;
use crate::types::outcome::{End, TestRun};
use crate::types::program::Entry;
use crate::wire;

/// A program for the harness of the official profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfficialProgram {
    /// Python source.
    pub code: String,
    /// The same as a function, where somebody knows how it is to be rewritten: the process need not find out then.
    pub wrapped: Option<String>,
    /// Name of the function or method that tests call; `None`: tests feed standard input.
    pub function: Option<String>,
    /// Which standard input: `2025-05` or `2025-01`.
    pub vintage: &'static str,
    /// Wall seconds per test, enforced in the process by `signal.alarm`.
    pub timeout_seconds: u32,
}

impl OfficialProgram {
    /// One that reads standard input.
    pub(crate) fn on_standard_input(code: String) -> Self {
        Self {
            code,
            wrapped: None,
            function: None,
            vintage: "2025-05",
            timeout_seconds: 60,
        }
    }
}

/// What the process is asked to do next.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Run one test on this input.
    Test(&'a Input),
    /// Spell the last result and the arguments it came from.
    Show,
    /// Spell the arguments alone: comparing the result raised.
    ShowInputs,
}

/// CPU and idle time are no limit here.
const NO_LIMIT_SECONDS: f64 = 999_999.0;

impl Sandbox {
    /// Starts a process for the program and asks it to compile; then `next` reads each step's run and names the next
    /// step. `None`, or the end of the process, ends it. For a sandbox of an official flavour only.
    ///
    /// A run's `value` is the raw report; there is none when the process died. `End::Stopped` by the wall limit means
    /// that the deadline was reached, `End::ImportBlocked` that this level could not give the program a module. Of
    /// `limits` only memory, stack, output and threads count.
    ///
    /// # Errors
    /// Infrastructure faults only; the sandbox is then of no further use.
    pub fn converse<'a>(
        &mut self,
        program: &OfficialProgram,
        limits: &Limits,
        deadline: Duration,
        next: &mut dyn FnMut(&TestRun) -> Option<Step<'a>>,
    ) -> Result<(), Error> {
        let seconds = deadline.as_secs_f64();
        let mut limits = Limits {
            cpu_seconds: NO_LIMIT_SECONDS,
            idle_seconds: NO_LIMIT_SECONDS,
            wall_seconds: seconds,
            ..limits.clone()
        };
        limits.check().map_err(Error::Limits)?;
        // No JSON: a parser would copy many pages in the new process.
        let name = program.function.as_deref();
        let name_length = name.map_or(-1, |name| name.chars().count() as i64);
        let text = format!(
            "{} {} {name_length} {}\n{}{}{}",
            program.vintage,
            program.timeout_seconds,
            program.code.chars().count(),
            name.unwrap_or_default(),
            program.code,
            program.wrapped.as_deref().unwrap_or_default(),
        );
        let entry = program
            .function
            .as_ref()
            .map_or(Entry::Stdin, |name| Entry::Function {
                entry_point: name.clone(),
            });
        let (started, nothing) = (Instant::now(), Input::from(Vec::new()));
        let mut child = self.fork(&text, &limits, 1, 0, &nothing, wire::COMPILE)?;
        self.evicted = false; // it runs alone if it was; the next one need not
        for index in 0.. {
            limits.wall_seconds = (seconds - started.elapsed().as_secs_f64()).max(1e-3);
            let (mut run, survivor) = self.test(child, index, &limits, &entry)?;
            if let Some(module) = run.value.as_deref().and_then(blocked) {
                run.end = End::ImportBlocked { module };
                self.distrust_import_block(&mut run.end, &program.code);
            }
            let wanted = next(&run);
            let Some(mut survivor) = survivor else {
                break;
            };
            let Some(wanted) = wanted else {
                return self.reap(survivor).map(drop);
            };
            let (input, step) = match wanted {
                Step::Test(input) => (input, wire::TEST),
                Step::Show => (&nothing, wire::SHOW),
                Step::ShowInputs => (&nothing, wire::SHOW_INPUTS),
            };
            survivor.release(index + 1, input, step)?;
            child = survivor;
        }
        Ok(())
    }
}

/// The module whose import was blocked, if a report says so.
fn blocked(report: &[u8]) -> Option<String> {
    let line = report.split(|&byte| byte == b'\n').next()?;
    if !line.starts_with(br#"{"step": "blocked""#) {
        return None;
    }
    let report: serde_json::Value = serde_json::from_slice(line).ok()?;
    report.get("module")?.as_str().map(str::to_owned)
}
