//! The outside of one sandbox.

use crate::limits::Limits;
use crate::plan::{Error, Go, Options, Program, TestRun};

/// One warm interpreter, driven by one thread, blocking. Start it on the thread that drives it.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Execs the zygote and waits until it has sealed itself.
    pub fn start(options: &Options) -> Result<Self, Error> {
        Err(Error::Unavailable(format!(
            "not built yet: {}",
            options.python.display()
        )))
    }

    /// Forks one process for the program and hands it the inputs one by one; after each test `judge` says how to go on.
    pub fn run(
        &mut self,
        _program: &Program,
        _inputs: &[Vec<u8>],
        _limits: &Limits,
        _judge: &mut dyn FnMut(usize, &TestRun) -> Go,
    ) -> Result<(), Error> {
        Err(Error::Unavailable("not built yet".to_owned()))
    }
}
