//! In a program's process, between the fork and its first line: the isolation, in order.
//!
//! No allocation and no Python here. Any failure ends the process with [`wire::SETUP_FAILED`], which the driver
//! reports as an infrastructure fault: a program never runs half-sealed.

use std::io;
use std::io::Write;
use std::os::fd::RawFd;

use crate::plan::Layer;
use crate::policy::{self, CONTROL_FD};
use crate::zygote::{Borrowed, Job, OPEN_FILES, Zygote};
use crate::{sys, wire};

/// Where a child keeps its code before the test and its report after it.
pub const REPORT_FD: RawFd = 4;
/// A child's own input file, read-only; what descriptor 0 is made from.
const INPUT_FD: RawFd = 5;

/// Ends the process; standard error tells the driver which step it was.
fn give_up(step: &str, error: &io::Error) -> ! {
    let mut text = [0u8; 128];
    let mut rest = &mut text[..];
    write!(rest, "{step}: {error}").ok(); // too long: cut
    let left = rest.len();
    let length = text.len() - left;
    sys::write(2, &text[..length]);
    sys::exit(wire::SETUP_FAILED)
}

fn must<T>(step: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| give_up(step, &error))
}

impl Zygote {
    /// First thing in the child. Returns when the process is sealed and the driver knows it: the bytes that a file of
    /// its own may have.
    pub fn enter(&mut self) -> u64 {
        let Some(job) = self.job.take() else {
            give_up("fork", &io::Error::from_raw_os_error(libc::EINVAL))
        };
        must(
            "die with the zygote",
            sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
        );
        if sys::parent_pid() != self.parent_id {
            sys::exit(wire::SETUP_FAILED); // it died before the line above
        }
        place_descriptors(&job);
        if self.has(Layer::Rlimits) {
            limit_resources(&job);
        }
        self.report_ready(&job);
        if self.has(Layer::Rlimits) {
            must(
                "limit descriptors",
                sys::rlimit(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
            );
        }
        job.file_size
    }

    /// The last filter, and word to the driver, with the listener that belongs to the filter.
    fn report_ready(&mut self, job: &Job) {
        let pid = sys::pid() as u64;
        let ready = || wire::pack(wire::words([wire::READY, pid, sys::own_cpu_nanoseconds()]));
        if !self.has(Layer::Seccomp) {
            return must("report ready", sys::send(CONTROL_FD, &ready(), &[]));
        }
        let stage_two = if job.threads || self.listen {
            &mut self.stage_two
        } else {
            &mut self.stage_two_single
        };
        policy::bind(stage_two, sys::pid() as u32);
        let listener = must("seccomp stage two", sys::install(stage_two, self.listen)) as RawFd;
        if self.listen {
            must(
                "send the listener",
                sys::send(CONTROL_FD, &ready(), &[listener]),
            );
            drop(sys::adopt(listener));
        } else {
            must("report ready", sys::send(CONTROL_FD, &ready(), &[]));
        }
    }
}

/// 0 the null device until the first test, 1 stdout, 2 stderr, 3 control, 4 report; nothing else stays open. The
/// zygote's socket in particular: a program that holds it could answer for the zygote.
fn place_descriptors(job: &Job) {
    // One open file for all children; no sign from one to the next.
    must("null device", sys::plain_flags(0));
    must("stdout", sys::place(job.stdout, 1));
    must("stderr", sys::place(job.stderr, 2));
    must("control", sys::place(job.control, CONTROL_FD));
    must("report", sys::place(job.report, REPORT_FD));
    // INPUT_FD comes with the first test.
    must("close the rest", sys::close_from(REPORT_FD as u32 + 1));
}

fn limit_resources(job: &Job) {
    // Backstop if the driver dies; hard = soft, because a soft limit alone can be caught.
    must(
        "limit cpu",
        sys::rlimit(libc::RLIMIT_CPU, job.cpu_seconds, job.cpu_seconds),
    );
    must(
        "limit memory",
        sys::rlimit(libc::RLIMIT_AS, job.address_space, job.address_space),
    );
    must(
        "limit output",
        sys::rlimit(libc::RLIMIT_FSIZE, job.file_size, job.file_size),
    );
    // Hard stays where it was: honest programs raise the soft limit, and the address space bounds both.
    must(
        "limit stack",
        sys::soft_rlimit(libc::RLIMIT_STACK, job.stack),
    );
}

/// Tells the driver that test `done` has ended (`None`: none yet), with the harness's report, and blocks until the
/// next one's input is descriptor 0. Returns its index; without a next one the process ends here.
pub fn next_test(done: Option<u64>, report: &[u8]) -> u64 {
    let next = next_input(done, report);
    // It is 0 already where the program has closed its own, as `open(0).read()` does.
    if next.fd != 0 {
        must("stdin", sys::place(next.fd, 0));
        if next.fd != INPUT_FD {
            drop(sys::adopt(next.fd));
        }
    }
    next.index
}

/// What a harness is to do next.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// Of the test.
    pub index: u64,
    /// See `wire::TEST` and its neighbours.
    pub step: u64,
    /// Where the input is.
    pub fd: RawFd,
    /// The descriptor is for this step alone: to be closed after it.
    pub once: bool,
}

/// The same, but leaves the input at a descriptor of its own.
pub fn next_input(done: Option<u64>, report: &[u8]) -> Next {
    if let Some(index) = done {
        tell(index, report);
    }
    let mut bytes = [0; wire::LENGTH];
    let mut fds = [-1; sys::MAX_FDS];
    let Ok((wire::LENGTH, count)) = sys::receive(CONTROL_FD, &mut bytes, &mut fds) else {
        sys::exit(0)
    };
    let [kind, index, which, step, ..] = wire::unpack(&bytes);
    let (fd, once) = match (kind, which, count) {
        (wire::NEXT, wire::OWN_INPUT, 0) => (INPUT_FD, false),
        (wire::NEXT, wire::THIS_INPUT, 1) => (fds[0], true),
        (wire::NEXT, wire::NEW_INPUT, 1) => {
            if fds[0] != INPUT_FD {
                must("own input", sys::place(fds[0], INPUT_FD));
                drop(sys::adopt(fds[0]));
            }
            (INPUT_FD, false)
        }
        _ => sys::exit(0),
    };
    Next {
        index,
        step,
        fd,
        once,
    }
}

fn tell(index: u64, report: &[u8]) {
    let mut message = [0; wire::LENGTH + wire::LONGEST_HERE];
    let place = if report.len() <= wire::LONGEST_HERE {
        message[wire::LENGTH..][..report.len()].copy_from_slice(report);
        wire::HERE
    } else if sys::pwrite_all(&Borrowed(REPORT_FD), report).is_ok() {
        wire::IN_FILE
    } else {
        sys::exit(wire::NO_REPORT) // the program has closed it, or lowered its own file limit
    };
    let length = report.len() as u64;
    let words = wire::words([wire::DONE, index, sys::own_peak_kib(), length, place]);
    message[..wire::LENGTH].copy_from_slice(&wire::pack(words));
    let rest = if place == wire::HERE { report.len() } else { 0 };
    if sys::send(CONTROL_FD, &message[..wire::LENGTH + rest], &[]).is_err() {
        sys::exit(0);
    }
}
