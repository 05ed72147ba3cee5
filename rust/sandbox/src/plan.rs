//! What goes into a sandbox and what comes out: plain data, no behaviour.

use std::path::PathBuf;
use std::sync::Arc;

use crate::governor::Governor;
use crate::level::Level;

/// How the program is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Runs as `__main__`; the test's input is its standard input, its answer is its standard output.
    Stdin,
    /// `name` or `Class.name` is called with the test's arguments (one JSON value a line).
    /// A bare name is the method of class `Solution` where there is one, else the top-level function.
    Function {
        /// `name` or `Class.name`.
        entry_point: String,
    },
}

/// One candidate program. Expected outputs are not part of it and never reach this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Python source.
    pub code: String,
    /// How it is entered.
    pub entry: Entry,
}

impl Program {
    /// What the harness reads: how to run it, then the source.
    pub(crate) fn text(&self) -> String {
        let name = match &self.entry {
            Entry::Stdin => "",
            Entry::Function { entry_point } => entry_point,
        };
        format!("{}\n{}", name.replace('\n', " "), self.code)
    }
}

/// The limit that ended a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// CPU time.
    Cpu,
    /// Slept, blocked or stopped for too long.
    Idle,
    /// The absolute wall cap: the machine starved the test, the program is not to blame.
    Wall,
    /// Address space.
    Memory,
    /// Standard output, or a returned value too large to write down.
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
        /// The compiler's words.
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
    /// A call that no honest program makes; the kernel ended the process.
    Violation {
        /// The call's name when known.
        call: Option<String>,
    },
    /// The entry point does not exist.
    Missing,
    /// The program imports a module that exists, but that this level (S1) cannot load any more: not its fault.
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
    /// Wall seconds of this test.
    pub wall_seconds: f64,
    /// Peak resident memory of the process so far, MiB.
    pub memory_mib: f64,
    /// The wall cap was reached: run it again alone, never count it against the program.
    pub starved: bool,
    /// First test of a fresh process. A failure with `fresh == false` may come from state that an earlier test
    /// left behind: answer [`Go::Again`] and believe the second run.
    pub fresh: bool,
}

impl TestRun {
    /// A run without a value and without measurements.
    pub(crate) fn bare(end: End, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        Self {
            end,
            stdout,
            stderr,
            value: None,
            note: None,
            cpu_seconds: 0.0,
            wall_seconds: 0.0,
            memory_mib: 0.0,
            starved: false,
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

/// One protection. Tests remove layers one by one, to see that the attack each one stops then works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// System-call filters, both stages (and with them the thread cap).
    Seccomp,
    /// File, abstract-socket and signal rules.
    Landlock,
    /// Resource limits of the child.
    Rlimits,
    /// The zygote's empty environment (removed: the parent's is inherited).
    CleanEnv,
    /// Thread cap by user notification.
    ThreadCap,
    /// No new privileges, not dumpable, capabilities dropped. Seccomp and Landlock need the first when not root.
    Privileges,
    /// No address randomisation, fixed hash seed: equal output in every run.
    Determinism,
    /// User, pid, network, IPC and mount namespaces.
    Namespaces,
    /// A root folder of its own that holds only what may be read.
    Jail,
    /// Nothing is opened after the zygote has sealed itself.
    NoOpen,
}

impl Layer {
    /// All of them; no level has all, see [`crate::Level::has`].
    pub const ALL: [Self; 10] = [
        Self::Seccomp,
        Self::Landlock,
        Self::Rlimits,
        Self::CleanEnv,
        Self::ThreadCap,
        Self::Privileges,
        Self::Determinism,
        Self::Namespaces,
        Self::Jail,
        Self::NoOpen,
    ];

    /// Lower-case name, as tests and `doctor` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Rlimits => "rlimits",
            Self::CleanEnv => "clean_env",
            Self::ThreadCap => "thread_cap",
            Self::Privileges => "privileges",
            Self::Determinism => "determinism",
            Self::Namespaces => "namespaces",
            Self::Jail => "jail",
            Self::NoOpen => "no_open",
        }
    }

    /// The layer of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }

    /// Its bit in the mask that travels to the zygote.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// How a sandbox is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interpreter, 3.11 or later. It need not be the trainer's.
    pub python: PathBuf,
    /// The extension module's shared object, loaded by absolute path: `-S` hides every site-packages.
    pub core: PathBuf,
    /// Extra folders the programs may import from, readable and on `sys.path`.
    pub site_packages: Vec<PathBuf>,
    /// Folders of single packages (`.../numpy`, `.../numpy.libs`): importable by their names, their neighbours not.
    pub packages: Vec<PathBuf>,
    /// What the zygote imports beforehand.
    pub flavour: Flavour,
    /// Exactly its layers are put on.
    pub level: Level,
    /// Watches over the memory of all programs of this process.
    pub governor: Option<Arc<Governor>>,
    /// For tests of the tests: layers of the level left out. Empty in every real run.
    pub without: Vec<Layer>,
}

impl Options {
    /// Whether the layer is put on.
    pub fn has(&self, layer: Layer) -> bool {
        self.level.has(layer) && !self.without.contains(&layer)
    }
}

/// What a started sandbox found out about its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// 0 without Landlock.
    pub landlock_abi: u64,
    /// The kernel asks the driver about threads and forbidden calls.
    pub thread_cap: bool,
}

/// What a zygote has imported before it forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// Common modules of the standard library; kept small, because a fork costs by the page.
    #[default]
    Std,
    /// numpy as well.
    Numpy,
    /// For the official profiles: what their runner puts in place is there before the fork.
    Official,
    /// That with numpy.
    OfficialNumpy,
}

impl Flavour {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Std, Self::Numpy, Self::Official, Self::OfficialNumpy];

    /// As the zygote is told.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Numpy => "numpy",
            Self::Official => "official",
            Self::OfficialNumpy => "official-numpy",
        }
    }

    /// Whether programs are led step by step ([`crate::Sandbox::converse`]) instead of run.
    pub(crate) const fn is_official(self) -> bool {
        matches!(self, Self::Official | Self::OfficialNumpy)
    }
}

/// An infrastructure fault: never the program's doing, never a verdict. Retry with a fresh [`crate::Sandbox`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine does not give the level of isolation that is asked for, and why.
    #[error("sandbox unavailable: {0}")]
    Unavailable(String),
    /// The interpreter did not come up.
    #[error("sandbox: starting {python}: {cause}")]
    Start {
        /// Which interpreter.
        python: PathBuf,
        /// What it said.
        cause: String,
    },
    /// The zygote or the fresh child failed before any user code ran.
    #[error("sandbox: {step}: {cause}")]
    Broken {
        /// What was being done.
        step: &'static str,
        /// What happened.
        cause: String,
    },
    /// A limit outside its range.
    #[error("sandbox limits: {0}")]
    Limits(String),
}

#[cfg(test)]
mod tests {
    use super::Layer;

    #[test]
    fn layer_names_and_bits_are_distinct() {
        let mut mask = 0;
        for layer in Layer::ALL {
            assert_eq!(Layer::parse(layer.name()), Some(layer));
            assert_eq!(mask & layer.bit(), 0);
            mask |= layer.bit();
        }
        assert_eq!(Layer::parse("nothing"), None);
    }
}
