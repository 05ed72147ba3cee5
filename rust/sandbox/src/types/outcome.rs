//! How one test ended, what it printed and used, and the caller's answer to it: plain data.

/// The limit that ended a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// CPU time.
    Cpu,
    /// Slept, blocked or stopped for too long.
    Idle,
    /// The absolute wall cap, or the program naps: the machine starved the test, or may have; run it again alone.
    Wall,
    /// It wanted more than one core, where that is a limit.
    Cores,
    /// Address space.
    Memory,
    /// Standard output, or a returned value too large to serialise.
    Output,
}

/// One frame of the user's own source in a traceback, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// 1-based line in the user's source.
    pub line: u32,
    /// Function name, `<module>` at top level.
    pub function: String,
}

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The program ran to its end (`sys.exit(0)` included); a function returned.
    Finished,
    /// An uncaught exception.
    Raised {
        /// Class name, `ZeroDivisionError`.
        kind: String,
        /// `str(exception)`, cut to 4 KiB.
        message: String,
        /// Frames of the user's source, outermost first; at most 20 (first and last ten).
        frames: Vec<Frame>,
    },
    /// The source does not compile.
    Compile {
        /// `SyntaxError`, `IndentationError`, `ValueError`, ...
        kind: String,
        /// The compiler's message.
        message: String,
        /// 1-based line in the user's source.
        line: Option<u32>,
    },
    /// Non-zero exit code (for a function: any exit, 0 included, instead of a value).
    Exited {
        /// The code.
        code: i32,
    },
    /// Ended by a signal that we did not send (11: segmentation fault).
    Signaled {
        /// Number of the signal.
        signal: i32,
    },
    /// A limit was reached.
    Stopped {
        /// Which one.
        by: Limit,
    },
    /// A call that no honest program makes; the process was ended for it.
    Violation {
        /// The call's name when known.
        call: Option<String>,
    },
    /// The entry point does not exist.
    Missing,
    /// The program imports a module that exists, but that cannot be loaded any more at this level (S1): not its fault.
    ImportBlocked {
        /// Dotted name.
        module: String,
    },
}

/// What one test of one program did.
#[derive(Debug, Clone, PartialEq)]
pub struct TestRun {
    /// How it ended.
    pub end: End,
    /// Standard output, copied once; at most `output_mib`.
    pub stdout: Vec<u8>,
    /// The last `stderr_kib` of standard error.
    pub stderr: Vec<u8>,
    /// A function's result as JSON text, in Python's spelling (`NaN`, `Infinity` may occur, non-ASCII is escaped).
    /// `None` after `Finished`: the value has no JSON form (set, generator, object, dict with other keys than
    /// strings); it equals no expected output. `note` says which type.
    pub value: Option<Vec<u8>>,
    /// One line about an unusual end, else `None`.
    pub note: Option<String>,
    /// CPU seconds of this test. For the first test of a process compiling is included, starting up is not.
    pub cpu_seconds: f64,
    /// CPU seconds of the process since its program started: this test and those before it.
    pub process_cpu_seconds: f64,
    /// Wall seconds of this test.
    pub wall_seconds: f64,
    /// Seconds of it that the process slept, as far as samples saw: none in a short test.
    pub idle_seconds: f64,
    /// Seconds of it that the thread which waited most has waited for a core, as far as samples saw.
    pub waited_seconds: f64,
    /// By how many seconds its threads together computed, or waited for a core, for longer than the test lasted.
    pub ahead_seconds: f64,
    /// Peak memory of the process so far, MiB: resident, page tables, and shared memory that is not resident.
    pub memory_mib: f64,
    /// It ended by [`Limit::Wall`]: run it again alone, never count it against the program.
    pub starved: bool,
    /// It was starved while it slept and woke thousands of times per CPU second. If that happens with no other
    /// program beside it, it is idle.
    pub naps: bool,
    /// First test of a fresh process. A failure with `fresh == false` may come from state that an earlier test
    /// left behind: answer [`Go::Again`] and believe the second run.
    pub fresh: bool,
}

impl TestRun {
    /// A run without a value and without measurements.
    pub fn bare(end: End, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        Self {
            end,
            stdout,
            stderr,
            value: None,
            note: None,
            cpu_seconds: 0.0,
            process_cpu_seconds: 0.0,
            wall_seconds: 0.0,
            idle_seconds: 0.0,
            waited_seconds: 0.0,
            ahead_seconds: 0.0,
            memory_mib: 0.0,
            starved: false,
            naps: false,
            fresh: false,
        }
    }
}

/// The caller's answer after each test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Release the next input.
    Next,
    /// Run the next test, in a fresh process.
    NextFresh,
    /// End the program.
    Stop,
    /// Run this same test again, in a fresh process (the caller is asked again, with the same index).
    Again,
}
