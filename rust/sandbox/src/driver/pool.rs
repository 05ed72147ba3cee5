//! One sandbox for each flavour of zygote, started when first needed; a program's imports decide which one runs it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::driver::input::Input;
use crate::driver::options::{Flavour, Options};
use crate::driver::sandbox::Sandbox;
use crate::driver::steps::{OfficialProgram, Step};
use crate::error::Error;
use crate::limits::Limits;
use crate::types::outcome::{Go, TestRun};
use crate::types::program::Program;

/// The sandboxes of one thread. One that broke is dropped and replaced at the next run.
#[derive(Debug)]
pub struct Sandboxes {
    options: Options,
    /// One place per flavour.
    up: [Option<Sandbox>; Flavour::ALL.len()],
    given_up: Arc<AtomicBool>,
}

impl Sandboxes {
    /// Starts the flavour of `options`; the others start when a program needs one.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn start(options: Options) -> Result<Self, Error> {
        let sandbox = Sandbox::start(&options)?;
        Ok(Self::adopt(options, sandbox))
    }

    /// Uses a sandbox that is already running.
    pub fn adopt(options: Options, sandbox: Sandbox) -> Self {
        let mut up = [const { None }; Flavour::ALL.len()];
        let flavour = sandbox.flavour;
        up[flavour as usize] = Some(sandbox);
        Self {
            options,
            up,
            given_up: Arc::default(),
        }
    }

    /// As [`Sandbox::give_up_when`].
    pub fn give_up_when(&mut self, flag: &Arc<AtomicBool>) {
        self.given_up = Arc::clone(flag);
    }

    /// As [`Sandbox::run`], in a fresh sandbox where the last one broke.
    ///
    /// # Errors
    /// Infrastructure faults only.
    pub fn run(
        &mut self,
        program: &Program,
        inputs: &[Input],
        limits: &Limits,
        judge: &mut dyn FnMut(usize, &TestRun) -> Go,
    ) -> Result<(), Error> {
        self.with(self.flavour(&program.code, false), |sandbox| {
            sandbox.run(program, inputs, limits, judge)
        })
    }

    /// As [`Sandbox::converse`], in a fresh sandbox where the last one broke.
    ///
    /// # Errors
    /// Infrastructure faults only.
    pub fn converse<'a>(
        &mut self,
        program: &OfficialProgram,
        limits: &Limits,
        deadline: Duration,
        next: &mut dyn FnMut(&TestRun) -> Option<Step<'a>>,
    ) -> Result<(), Error> {
        self.with(self.flavour(&program.code, true), |sandbox| {
            sandbox.converse(program, limits, deadline, next)
        })
    }

    /// Lets `work` use the sandbox that a program needs.
    fn with(
        &mut self,
        flavour: Flavour,
        work: impl FnOnce(&mut Sandbox) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let place = &mut self.up[flavour as usize];
        let mut sandbox = match place.take() {
            Some(sandbox) => sandbox,
            None => Sandbox::start(&Options {
                flavour,
                ..self.options.clone()
            })?,
        };
        sandbox.give_up_when(&self.given_up);
        work(&mut sandbox)?;
        *place = Some(sandbox);
        Ok(())
    }

    fn flavour(&self, code: &str, official: bool) -> Flavour {
        let has_numpy = self.options.packages.iter().any(|p| p.ends_with("numpy"));
        match (official, has_numpy && imports(code, "numpy")) {
            (false, false) => Flavour::Std,
            (false, true) => Flavour::Numpy,
            (true, false) => Flavour::Official,
            (true, true) => Flavour::OfficialNumpy,
        }
    }
}

/// Whether the source imports the package, guessed from its lines. A wrong guess only costs time: children of the other
/// zygote can import it too.
fn imports(code: &str, package: &str) -> bool {
    let mut statements = code.lines().flat_map(|line| line.split(';')).map(str::trim);
    statements.any(|statement| {
        let mut words = statement.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        match words.next() {
            Some("from") => words.find(|word| !word.is_empty()) == Some(package),
            Some("import") => words.any(|word| word == package),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::imports;

    #[test]
    fn imports_are_found_and_mentions_are_not() {
        for code in [
            "import numpy",
            "import numpy as np",
            "import sys, numpy as np",
            "x = 1; import numpy.linalg",
            "if 1:\n    from numpy import array",
            "from numpy.linalg import det",
        ] {
            assert!(imports(code, "numpy"), "{code}");
        }
        for code in [
            "# numpy",
            "print('import numpy')",
            "from x import numpyish",
            "numpy = 1",
        ] {
            assert!(!imports(code, "numpy"), "{code}");
        }
    }
}
