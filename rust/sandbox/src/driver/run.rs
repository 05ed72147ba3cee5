//! One program: its tests one after the other, in one process as long as that lives.

use crate::driver::arguments;
use crate::driver::child::Child;
use crate::driver::input::Input;
use crate::driver::sandbox::Sandbox;
use crate::error::Error;
use crate::limits::Limits;
use crate::types::outcome::{Go, TestRun};
use crate::types::program::Program;
use crate::wire;

impl Sandbox {
    /// Forks one process for the program and gives it the inputs one by one. After each test `judge` says how to
    /// continue; a process that ended is replaced by a fresh one for the remaining tests.
    ///
    /// # Errors
    /// Infrastructure faults only; the sandbox cannot be used after one.
    pub fn run(
        &mut self,
        program: &Program,
        inputs: &[Input],
        limits: &Limits,
        judge: &mut dyn FnMut(usize, &TestRun) -> Go,
    ) -> Result<(), Error> {
        limits.check().map_err(Error::Limits)?;
        self.evicted = false;
        let mut child: Option<Child> = None;
        let mut index = 0;
        while let Some(input) = inputs.get(index) {
            let ready = match child.take() {
                Some(mut child) if child.alive()? => {
                    child.release(input, wire::FIRST_STEP)?;
                    child
                }
                old => {
                    old.map_or(Ok(()), |old| self.kill(old))?;
                    self.fork(&program.text(), limits, input, wire::FIRST_STEP)?
                }
            };
            let (mut run, survivor) = self.test(ready, limits, &program.entry)?;
            self.distrust_import_block(&mut run.end, &program.code);
            arguments::fault(&run, index, &program.entry, input)?;
            child = survivor;
            match judge(index, &run) {
                Go::Next => index += 1,
                Go::Stop => break,
                go @ (Go::Again | Go::NextFresh) => {
                    index += usize::from(go == Go::NextFresh);
                    child.take().map_or(Ok(()), |old| self.kill(old))?;
                }
            }
        }
        // Callers rely on it: no process of the program is left.
        child.map_or(Ok(()), |old| self.reap(old).map(drop))
    }
}
