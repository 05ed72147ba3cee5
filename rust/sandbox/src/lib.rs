//! Runs untrusted Python programs, test by test, and says how each test ended.
//!
//! # Theory of operation
//!
//! Three kinds of process, two kinds of socket.
//!
//! * The **driver** is the process that calls [`Sandbox`]. It alone may know expected outputs; this crate never sees
//!   them. It starts zygotes, asks for processes, releases inputs one by one, watches clocks, kills, and copies output.
//! * A **zygote** is an exec'd interpreter (`python -s -P -S -B`, seven environment variables, no address randomisation),
//!   never a fork of the driver. It imports the common modules once, gives up every right that no program needs
//!   (capabilities, Landlock, seccomp stage one, resource limits), and from then on only forks and reaps on request. It
//!   has no program and no input.
//! * A **child** is forked for each program. It takes its descriptors (stdout, stderr, control, report; input comes test by
//!   test), closes the rest, sets its limits, enters seccomp stage two, reports ready, and runs the program on one input
//!   after the other. It is killed when it is no longer needed.
//!
//! driver <-> zygote: fork and reap. driver <-> child: "done" one way, the next input the other way. When a child is
//! done, the driver reads its CPU clock, copies the output once, and only then releases the next input; so CPU time per
//! test is exact and a program cannot look ahead. A test that fails in a process where earlier tests ran may be repeated
//! in a fresh one ([`Go::Again`]), so that state left behind never fails an honest program. A caller with a [`Harness`] of
//! its own leads a program step by step instead.
//!
//! Once a program has started, nothing in its process is trusted, not even our harness. Whatever it emits is an answer
//! to judge: the worst a forged report can do is to give a wrong answer. Every limit is enforced from
//! outside: CPU time by the child's clock, idle time by what remains of wall time, memory by `RLIMIT_AS`, output by
//! `RLIMIT_FSIZE` on files in memory, threads by asking the driver for each one.
//!
//! When the driver ends, everything ends: the zygote sees its socket close (and the thread that started it end), and
//! the child is killed with the zygote.
//!
//! # What it does not protect against
//!
//! Bugs in the kernel; side channels through shared hardware, timing included; a program that finds the right answer
//! by other means than solving the problem. Run as root with an interpreter under root's home, programs stay user 0
//! without capabilities: the filters hold, but they are the only defence. Machines without Landlock are refused.
//!
//! Where to read: `zygote/seal` and `zygote/child` (the isolation, in order), `isolation/seccomp/policy` (which calls),
//! `driver/one_test` (one test), `python/harness.py` (a program's world).

mod driver;
mod error;
mod isolation;
mod levels;
mod limits;
mod sys;
mod types;
mod wire;
mod zygote;

pub use driver::input::Input;
pub use driver::memory::Governor;
pub use driver::options::{Facts, Options};
pub use driver::pool::Sandboxes;
#[cfg(fuzzing)]
pub use driver::report::check as check_any_report;
pub use driver::sandbox::Sandbox;
pub use driver::steps::Step;
pub use error::Error;
pub use levels::ladder::{LevelReport, choose, probe_levels};
pub use levels::probe::{LayerStatus, probe};
pub use limits::Limits;
pub use types::harness::{Harness, Rehearsal};
pub use types::layer::Layer;
pub use types::level::Level;
pub use types::outcome::{End, Frame, Go, Limit, TestRun};
pub use types::program::{Entry, Program};
pub use zygote::child::{ChildStep, next_step, next_test};
pub use zygote::readable::Readable;
pub use zygote::state::Zygote;

/// Lets this process, which drives sandboxes, use all the descriptors that it may.
///
/// # Errors
/// The limits of this process cannot be read or set.
pub fn use_all_descriptors() -> std::io::Result<()> {
    sys::raise_open_files()
}

/// The Python half, run by the zygote's interpreter and inherited by every child; its `serve` is the zygote's main
/// function.
pub const HARNESS: &str = include_str!("../python/harness.py");
/// What the harness imports, in this order: what must come first, imports that do not go through folders, what the
/// zygote runs before it seals itself, values as JSON, what is reset between tests.
pub const MODULES: [(&str, &str); 5] = [
    ("opsd_start", include_str!("../python/start.py")),
    ("opsd_importing", include_str!("../python/importing.py")),
    ("opsd_rehearse", include_str!("../python/rehearse.py")),
    ("opsd_spell", include_str!("../python/spell.py")),
    ("opsd_world", include_str!("../python/world.py")),
];
