//! In a program's process, between the fork and its first line: the isolation, in order.
//!
//! No Python here, and no allocation before the process is sealed. Any failure ends the process with
//! [`wire::SETUP_FAILED`], which the driver reports as an infrastructure fault: a program never runs half-sealed.

use std::io;
use std::io::Write;
use std::os::fd::RawFd;

use crate::isolation::seccomp::policy::{self, CONTROL_FD};
use crate::limits::LONGEST_PAST;
use crate::types::layer::Layer;
use crate::zygote::seal::OPEN_FILES;
use crate::zygote::state::{Borrowed, Job, Zygote};
use crate::{sys, wire};

/// Where a child reads a long program's text and writes a long report.
const REPORT_FD: RawFd = 4;
/// A child's own input file, read-only; descriptor 0 is a copy of it.
const INPUT_FD: RawFd = 5;

/// Ends the process; the report file tells the driver which step failed.
fn fail(step: &str, error: &io::Error) -> ! {
    let mut text = [0u8; 128];
    let mut rest = &mut text[..];
    write!(rest, "{}{step}: {error}", wire::FAILED).ok(); // cut if too long
    let left = rest.len();
    let length = text.len() - left;
    let report = Borrowed(REPORT_FD);
    sys::truncate(&report, 0) // it may hold the program
        .and_then(|()| sys::pwrite_all(&report, &text[..length]))
        .ok(); // there is no other way to report it
    sys::exit(wire::SETUP_FAILED)
}

fn must<T>(step: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| fail(step, &error))
}

impl Zygote {
    /// First thing in the child. Returns once the process is sealed and the driver knows it: the program's text, and the
    /// largest size of a file that it may write.
    pub(crate) fn enter(&mut self) -> (Vec<u8>, u64) {
        let Some(job) = self.job.take() else {
            fail("fork", &io::Error::from_raw_os_error(libc::EINVAL))
        };
        must(
            "die with the zygote",
            sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
        );
        if sys::parent_pid() != self.parent_id {
            sys::exit(wire::SETUP_FAILED); // the zygote ended before the line above
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
        (must("read the program", read_text(&job)), job.file_size)
    }

    /// Installs the last filter and tells the driver.
    fn report_ready(&mut self, job: &Job) {
        let pid = sys::pid();
        if self.has(Layer::Seccomp) {
            let stage_two = if job.threads || self.listen {
                &mut self.stage_two
            } else {
                &mut self.stage_two_single
            };
            policy::bind(stage_two, pid as u32);
            must("seccomp stage two", sys::install(stage_two, false));
        }
        let ready = wire::words([wire::READY, pid as u64, sys::own_cpu_nanoseconds()]);
        must(
            "report ready",
            sys::send_plain(CONTROL_FD, &wire::pack(ready)),
        );
    }
}

/// The program's text, from the first message or, if long, from the report file.
fn read_text(job: &Job) -> io::Result<Vec<u8>> {
    if job.text_in_file {
        return sys::pread(&Borrowed(REPORT_FD), 0, job.text_length);
    }
    let mut message = vec![0; wire::LENGTH + job.text_length as usize];
    sys::receive(CONTROL_FD, &mut message, &mut [-1; sys::MAX_FDS])?;
    message.drain(..wire::LENGTH);
    Ok(message)
}

/// 0 is the null device until the first test, 1 stdout, 2 stderr, 3 control, 4 report; nothing else stays open. Least of
/// all the zygote's socket: a program that has it could answer for the zygote. 1 and 2 are the null device too if the
/// driver has sent no files.
fn place_descriptors(job: &Job) {
    // All children share this open file: its flags must not carry a message from one to the next.
    must("null device", sys::clear_flags(0));
    must("control", sys::dup_to(job.control, CONTROL_FD));
    must("report", sys::dup_to(job.report, REPORT_FD));
    let (stdout, stderr) = job.output.unwrap_or((0, 0));
    must("stdout", sys::dup_to(stdout, 1));
    must("stderr", sys::dup_to(stderr, 2));
    // INPUT_FD comes with the first test.
    must("close the rest", sys::close_from(REPORT_FD as u32 + 1));
}

fn limit_resources(job: &Job) {
    // A backstop if the driver ends; hard = soft, because a soft limit alone can be caught.
    must(
        "limit cpu",
        sys::rlimit(libc::RLIMIT_CPU, job.cpu_seconds, job.cpu_seconds),
    );
    must(
        "limit memory",
        sys::rlimit(libc::RLIMIT_AS, job.address_space, job.address_space),
    );
    let most = job.file_size + LONGEST_PAST; // earlier tests' output comes first in the file
    must("limit output", sys::rlimit(libc::RLIMIT_FSIZE, most, most));
    // The hard limit stays: honest programs raise the soft limit, and the address space bounds both.
    must(
        "limit stack",
        sys::soft_rlimit(libc::RLIMIT_STACK, job.stack),
    );
}

/// Tells the driver that test `done` has ended (`None`: none yet), with the harness's report, and blocks until the
/// next test's input is descriptor 0. Returns its index; without a next test the process ends here.
pub fn next_test(done: Option<u64>, report: &[u8]) -> u64 {
    let mut message = [0; wire::LENGTH];
    let next = next_input(done, report, &mut message);
    // It is already 0 if the program has closed its own, as `open(0).read()` does.
    if next.fd != 0 {
        must("stdin", sys::dup_to(next.fd, 0));
        if next.fd != INPUT_FD {
            drop(sys::take_fd(next.fd));
        }
    }
    next.index
}

/// The same for a harness whose programs never read descriptor 0: gives it the input itself.
pub fn next_step(done: Option<u64>, report: &[u8]) -> ChildStep {
    let mut message = [0; wire::LENGTH + wire::LONGEST_INPUT];
    let next = next_input(done, report, &mut message);
    let input = if next.fd < 0 {
        message[wire::LENGTH..next.length].to_vec()
    } else {
        let file = Borrowed(next.fd);
        let input = sys::size(&file).and_then(|length| sys::pread(&file, 0, length));
        if next.fd != INPUT_FD {
            drop(sys::take_fd(next.fd));
        }
        input.unwrap_or_else(|_| sys::exit(0))
    };
    ChildStep {
        index: next.index,
        step: next.step,
        input,
    }
}

/// What a harness is to do next.
#[derive(Debug, Clone)]
pub struct ChildStep {
    /// The test's index.
    pub index: u64,
    /// The kind of step, as in [`crate::Step`].
    pub step: u64,
    /// The test's input.
    pub input: Vec<u8>,
}

/// The driver's answer to a report.
struct Next {
    index: u64,
    step: u64,
    /// The input's descriptor; negative if the input is in the message.
    fd: RawFd,
    /// Length of the message.
    length: usize,
}

/// Sends a report and waits for the answer.
fn next_input(done: Option<u64>, report: &[u8], message: &mut [u8]) -> Next {
    if let Some(index) = done {
        send_report(index, report);
    }
    let mut fds = [-1; sys::MAX_FDS];
    let Ok((length, count)) = sys::receive(CONTROL_FD, message, &mut fds) else {
        sys::exit(0)
    };
    let Some(words) = message[..length].first_chunk() else {
        sys::exit(0)
    };
    let [kind, index, which, step, ..] = wire::unpack(words);
    let fd = match (kind, which, count) {
        (wire::NEXT, wire::OWN_INPUT, 0) => INPUT_FD,
        (wire::NEXT, wire::INPUT_HERE, 0) => -1,
        (wire::NEXT, wire::THIS_INPUT, 1) => fds[0],
        (wire::NEXT, wire::NEW_INPUT, 1) => {
            if fds[0] != INPUT_FD {
                must("own input", sys::dup_to(fds[0], INPUT_FD));
                drop(sys::take_fd(fds[0]));
            }
            INPUT_FD
        }
        _ => sys::exit(0),
    };
    Next {
        index,
        step,
        fd,
        length,
    }
}

fn send_report(index: u64, report: &[u8]) {
    let mut message = [0; wire::LENGTH + wire::LONGEST_HERE];
    let length = report.len() as u64;
    let mut send = |place, rest: &[u8]| {
        let words = wire::words([wire::DONE, index, sys::peak_kib(), length, place]);
        message[..wire::LENGTH].copy_from_slice(&wire::pack(words));
        message[wire::LENGTH..][..rest.len()].copy_from_slice(rest);
        sys::send_plain(CONTROL_FD, &message[..wire::LENGTH + rest.len()])
    };
    // Socket buffers may be small on this machine.
    if report.len() <= wire::LONGEST_HERE && send(wire::HERE, report).is_ok() {
        return;
    }
    if sys::pwrite_all(&Borrowed(REPORT_FD), report).is_err() {
        sys::exit(wire::NO_REPORT) // the program has closed it, or lowered its own file limit
    }
    if send(wire::IN_FILE, &[]).is_err() {
        sys::exit(0);
    }
}
