//! One process for a whole program, led step by step: what a [`Harness`](crate::Harness) of the caller's own is for.
//!
//! The program keeps its state, the steps come in the caller's order, and one deadline holds for all of them together.
//! The caller reads what a step reports; this crate only knows whether the process still runs.

use std::time::{Duration, Instant};

use crate::driver::input::Input;
use crate::driver::sandbox::Sandbox;
use crate::error::{Error, broken};
use crate::limits::Limits;
use crate::types::outcome::{End, TestRun};
use crate::types::program::Entry;
use crate::wire;

/// What the process is asked to do next.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// One of the harness's own numbers; 0 is the first step of every program.
    pub kind: u64,
    /// For steps that have an input.
    pub input: Option<&'a Input>,
}

/// CPU and idle time are no limit here.
const NO_LIMIT_SECONDS: f64 = 999_999.0;

impl Sandbox {
    /// Starts a process that runs the first step of the program in `text`; then `next` reads each step's run and names
    /// the next step. `None`, or the end of the process, ends it. `code` is the program's own source.
    ///
    /// A run's `value` is the raw report; there is none when the process ended. `End::Stopped` by the wall limit means
    /// that the deadline was reached, `End::ImportBlocked` that this level could not give the program a module. Of
    /// `limits` only memory, stack, output and threads count, `wall_seconds` for each step, and `ahead_seconds` for all
    /// steps together.
    ///
    /// # Errors
    /// Infrastructure faults only; the sandbox cannot be used after one. One without a harness leads no programs.
    pub fn lead<'a>(
        &mut self,
        text: &str,
        code: &str,
        limits: &Limits,
        deadline: Duration,
        next: &mut dyn FnMut(&TestRun) -> Option<Step<'a>>,
    ) -> Result<(), Error> {
        let Some(harness) = self.harness else {
            return Err(broken("lead a program")("this sandbox has no harness"));
        };
        let (seconds, step_seconds) = (deadline.as_secs_f64(), limits.wall_seconds);
        let mut limits = Limits {
            cpu_seconds: NO_LIMIT_SECONDS,
            idle_seconds: NO_LIMIT_SECONDS,
            wall_seconds: seconds,
            ..limits.clone()
        };
        limits.check().map_err(Error::Limits)?;
        let (started, nothing) = (Instant::now(), Input::from(Vec::new()));
        let mut child = self.fork(text, &limits, &nothing, wire::FIRST_STEP)?;
        self.evicted = false; // it runs alone if it was; the next one need not
        loop {
            let left = (seconds - started.elapsed().as_secs_f64()).max(1e-3);
            limits.wall_seconds = left.min(step_seconds);
            let (mut run, survivor) = self.test(child, &limits, &Entry::Stdin)?;
            limits.ahead_seconds = (limits.ahead_seconds - run.ahead_seconds.max(0.0)).max(0.0);
            if let Some(module) = run.value.as_deref().and_then(harness.blocked_import) {
                run.end = End::ImportBlocked { module };
                self.distrust_import_block(&mut run.end, code);
            }
            let wanted = next(&run);
            let Some(mut survivor) = survivor else {
                break;
            };
            let Some(step) = wanted else {
                return self.reap(survivor).map(drop);
            };
            survivor.release(step.input.unwrap_or(&nothing), step.kind)?;
            child = survivor;
        }
        Ok(())
    }
}
