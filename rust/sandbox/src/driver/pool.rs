//! The sandboxes of one thread, started when first needed: a program's harness and imports decide which one runs it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::driver::input::Input;
use crate::driver::options::Options;
use crate::driver::sandbox::Sandbox;
use crate::driver::steps::Step;
use crate::error::Error;
use crate::limits::Limits;
use crate::types::harness::Harness;
use crate::types::outcome::{Go, TestRun};
use crate::types::program::Program;

/// The sandboxes of one thread. One that broke is dropped and replaced at the next run.
#[derive(Debug)]
pub struct Sandboxes {
    options: Options,
    /// At most one for each harness, with and without numpy.
    running: Vec<Sandbox>,
    given_up: Arc<AtomicBool>,
}

impl Sandboxes {
    /// Starts the sandbox of `options`; the others start when a program needs one.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn start(options: Options) -> Result<Self, Error> {
        let sandbox = Sandbox::start(&options)?;
        Ok(Self::adopt(options, sandbox))
    }

    /// Uses a sandbox that is already running.
    pub fn adopt(options: Options, sandbox: Sandbox) -> Self {
        Self {
            options,
            running: vec![sandbox],
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
        self.with(None, &program.code, |sandbox| {
            sandbox.run(program, inputs, limits, judge)
        })
    }

    /// As [`Sandbox::lead`], with a sandbox of this harness; in a fresh one where the last one broke.
    ///
    /// # Errors
    /// Infrastructure faults only.
    pub fn lead<'a>(
        &mut self,
        harness: &'static Harness,
        text: &str,
        code: &str,
        limits: &Limits,
        deadline: Duration,
        next: &mut dyn FnMut(&TestRun) -> Option<Step<'a>>,
    ) -> Result<(), Error> {
        self.with(Some(harness), code, |sandbox| {
            sandbox.lead(text, code, limits, deadline, next)
        })
    }

    /// Lets `work` use the sandbox that a program needs.
    fn with(
        &mut self,
        harness: Option<&'static Harness>,
        code: &str,
        work: impl FnOnce(&mut Sandbox) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let has_numpy = self.options.packages.iter().any(|p| p.ends_with("numpy"));
        let numpy = has_numpy && imports(code, "numpy");
        let name = |harness: Option<&Harness>| harness.map(|harness| harness.name);
        let fits =
            |sandbox: &Sandbox| sandbox.numpy == numpy && name(sandbox.harness) == name(harness);
        let mut sandbox = match self.running.iter().position(fits) {
            Some(index) => self.running.swap_remove(index),
            None => Sandbox::start(&Options {
                numpy,
                harness,
                ..self.options.clone()
            })?,
        };
        sandbox.give_up_when(&self.given_up);
        work(&mut sandbox)?;
        self.running.push(sandbox);
        Ok(())
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
