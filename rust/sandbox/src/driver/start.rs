//! Starts a sandbox: first of all it runs a program with a known answer.

use crate::driver::footprint;
use crate::driver::input::Input;
use crate::driver::options::Options;
use crate::driver::sandbox::Sandbox;
use crate::driver::steps::Step;
use crate::error::{Error, START_TIMEOUT, broken};
use crate::limits::Limits;
use crate::types::harness::Harness;
use crate::types::outcome::{Go, TestRun};
use crate::types::program::{Entry, Program};

/// Programs run before the first real one.
const REHEARSALS: usize = 3;

impl Sandbox {
    /// Starts a zygote and waits until it is ready for programs.
    ///
    /// # Errors
    /// `Unavailable` when the machine lacks a required layer, `Start` when the interpreter does not start.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let mut sandbox = Self::connect(options)?;
        sandbox.rehearse()?;
        sandbox.mapped_before = footprint::mapped_kib(sandbox.pid() as i32);
        Ok(sandbox)
    }

    /// Runs a program with a known answer a few times. This proves that everything works on this machine. It also gets
    /// the zygote's one-time allocations done, so that all later programs are forked from the same heap, to the byte.
    fn rehearse(&mut self) -> Result<(), Error> {
        for _ in 0..REHEARSALS {
            let (seen, is_right) = match self.harness {
                Some(harness) => self.rehearse_led(harness)?,
                None => self.rehearse_plain()?,
            };
            if !is_right {
                return Err(broken("rehearse")(format!("{seen:?}")));
            }
        }
        Ok(())
    }

    fn rehearse_plain(&mut self) -> Result<(Vec<TestRun>, bool), Error> {
        let program = Program {
            code: "print(int(input()) + 1)".to_owned(),
            entry: Entry::Stdin,
        };
        let inputs = [Input::from(b"5\n".to_vec())];
        let mut seen = Vec::new();
        self.run(&program, &inputs, &Limits::default(), &mut |_, run| {
            seen.push(run.clone());
            Go::Stop
        })?;
        let is_right = seen.last().is_some_and(|run| run.stdout == b"6\n");
        Ok((seen, is_right))
    }

    fn rehearse_led(&mut self, harness: &Harness) -> Result<(Vec<TestRun>, bool), Error> {
        let program = &harness.rehearsal;
        let input = Input::from(program.input.to_vec());
        let step = Step {
            kind: program.step,
            input: Some(&input),
        };
        let (limits, mut seen) = (Limits::default(), Vec::new());
        self.lead(program.text, "", &limits, START_TIMEOUT, &mut |run| {
            seen.push(run.clone());
            (seen.len() == 1).then_some(step)
        })?;
        let report = seen.last().and_then(|run| run.value.as_ref());
        let is_right = report.is_some_and(|report| report.ends_with(program.answer));
        Ok((seen, is_right))
    }
}
