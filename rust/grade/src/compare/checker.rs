//! A checker program: the user's own Python program that says whether an output answers a test.
//!
//! It runs as `__main__` in a sandbox of its own, once per test, in a fresh process, never in the caller's and never
//! in that of a candidate. `sys.argv[1:4]` name three files, to be read with `open`: the test's input, the expected
//! output, the candidate's output (for a function problem: the arguments, one JSON value a line, and two JSON values).
//! Standard input is the candidate's output too. It says "right" by ending normally or with exit code 0 (or Kattis's
//! 42), "wrong" by exit code 1 (or 43); what it then printed is the remark on the answer. Everything else, an uncaught
//! exception, another code, a limit, is a failure of the checker. Then it is asked about the expected output: if it can
//! judge that, it is the answer that it could not read, which is wrong; if not, nothing is known about the candidate.

use opsd_sandbox::{End, Entry, Error, Go, Limits, Options, Program, Sandbox, TestRun};

use crate::types::ends::describe_end;
use crate::types::verdict::Judged;

/// Opens the three files and compiles the program, which follows them on descriptor 0.
const START: &str = include_str!("../../python/checker.py");
/// CPU seconds of one check; the other limits are a candidate's defaults.
const CPU_SECONDS: f64 = 10.0;
/// Characters kept of what the checker printed.
const REMARK_CHARS: usize = 300;
const RETRIES: u32 = 2;

/// A checker program's name and source.
#[derive(Debug)]
pub struct Checker {
    /// For messages.
    name: String,
    source: String,
}

impl Checker {
    /// `name` is its path, as given.
    pub(crate) fn new(name: &str, source: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: source.to_owned(),
        }
    }

    fn verdict(&self, run: &TestRun) -> Judged {
        match run.end {
            End::Finished | End::Exited { code: 42 } => Judged::Right,
            End::Exited { code: 1 | 43 } => Judged::Wrong {
                remark: remark(run),
            },
            _ => {
                let line = match &run.end {
                    // The first frame is the line that starts it.
                    End::Raised { frames, .. } => {
                        frames.iter().skip(1).last().map(|frame| frame.line)
                    }
                    _ => None,
                };
                let place = line.map_or_else(String::new, |line| format!(", line {line}"));
                Judged::Unknown {
                    cause: format!("checker {}{place}: {}", self.name, describe_end(&run.end)),
                }
            }
        }
    }
}

/// The end of what the checker printed: standard error, else standard output.
fn remark(run: &TestRun) -> String {
    let said = [&run.stderr, &run.stdout]
        .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let skipped = said.chars().count().saturating_sub(REMARK_CHARS);
    said.chars().skip(skipped).collect()
}

/// The sandbox in which one worker's checkers run. It starts with the first check.
#[derive(Debug)]
pub(crate) struct CheckerSandbox {
    options: Options,
    sandbox: Option<Sandbox>,
}

impl CheckerSandbox {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            sandbox: None,
        }
    }

    /// Runs `checker` on one answer.
    pub(crate) fn check(
        &mut self,
        checker: &Checker,
        input: &[u8],
        expected: &[u8],
        answer: &[u8],
    ) -> Judged {
        let cause = match self.ask(checker, input, expected, answer) {
            Ok(Judged::Unknown { cause }) => cause,
            Ok(judged) => return judged,
            Err(cause) => return Judged::Unknown { cause },
        };
        match self.ask(checker, input, expected, expected) {
            Ok(Judged::Right | Judged::Wrong { .. }) => Judged::Wrong {
                remark: format!("the answer cannot be read: {cause}"),
            },
            Ok(Judged::Unknown { .. }) | Err(_) => Judged::Unknown { cause },
        }
    }

    /// The checker's own words on an answer; an error where the machinery failed.
    fn ask(
        &mut self,
        checker: &Checker,
        input: &[u8],
        expected: &[u8],
        answer: &[u8],
    ) -> Result<Judged, String> {
        let lengths = format!("{} {} {}\n", input.len(), expected.len(), answer.len());
        let data = [
            lengths.as_bytes(),
            input,
            expected,
            answer,
            checker.source.as_bytes(),
        ]
        .concat();
        let mut cause = String::new();
        for _ in 0..=RETRIES {
            match self.run(&data) {
                Ok(Some(run)) if !run.starved => return Ok(checker.verdict(&run)),
                Ok(_) => "starved: the machine gave the checker no time".clone_into(&mut cause),
                Err(error) => cause = error.to_string(),
            }
        }
        Err(format!("checker {}: {cause}", checker.name))
    }

    fn run(&mut self, data: &[u8]) -> Result<Option<TestRun>, Error> {
        // Compiled under its own file name, so that line numbers in messages are those of the user's program.
        let start = serde_json::Value::from(START);
        let program = Program {
            code: format!("exec(compile({start}, '<checker>', 'exec'))\nexec(_start())"),
            entry: Entry::Stdin,
        };
        // A sandbox that fails is dropped; the next attempt starts another.
        let mut sandbox = self
            .sandbox
            .take()
            .map_or_else(|| Sandbox::start(&self.options), Ok)?;
        let mut found = None;
        sandbox.run(
            &program,
            &[data.to_vec().into()],
            &Limits::with_cpu(CPU_SECONDS),
            &mut |_, run| {
                found = Some(run.clone());
                Go::Stop
            },
        )?;
        self.sandbox = Some(sandbox);
        Ok(found)
    }
}
