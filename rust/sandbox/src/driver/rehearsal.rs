//! A known program that a fresh sandbox runs before anything else.

use crate::driver::input::Input;
use crate::driver::sandbox::Sandbox;
use crate::driver::steps::{OfficialProgram, Step};
use crate::error::{Error, START_TIMEOUT, broken};
use crate::limits::Limits;
use crate::types::outcome::Go;
use crate::types::program::{Entry, Program};

/// Programs run before the first real one.
const REHEARSALS: usize = 3;

impl Sandbox {
    /// Runs a program with a known answer a few times. This proves that everything works on this machine. It also gets
    /// the zygote's one-time allocations done, so that all later programs are forked from the same heap, to the byte.
    pub(crate) fn rehearse(&mut self) -> Result<(), Error> {
        let (limits, inputs) = (Limits::default(), [Input::from(b"5\n".to_vec())]);
        let code = "print(int(input()) + 1)".to_owned();
        for _ in 0..REHEARSALS {
            let mut seen = Vec::new();
            if self.flavour.is_official() {
                let program = OfficialProgram::on_standard_input(code.clone());
                self.converse(&program, &limits, START_TIMEOUT, &mut |run| {
                    seen.push(run.clone());
                    (seen.len() == 1).then_some(Step::Test(&inputs[0]))
                })?;
            } else {
                let entry = Entry::Stdin;
                let program = Program {
                    code: code.clone(),
                    entry,
                };
                self.run(&program, &inputs, &limits, &mut |_, run| {
                    seen.push(run.clone());
                    Go::Stop
                })?;
            }
            let answer = seen
                .last()
                .map(|run| run.value.as_ref().unwrap_or(&run.stdout));
            if !answer.is_some_and(|answer| answer.ends_with(b"6\n")) {
                return Err(broken("rehearse")(format!("{seen:?}")));
            }
        }
        Ok(())
    }
}
