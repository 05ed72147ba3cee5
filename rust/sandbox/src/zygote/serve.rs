//! Inside the zygote: a warm interpreter that seals itself once and then forks a process per program.
//!
//! It holds no job data: code and inputs are read after the fork, in the child. It lives as long as its driver:
//! end of file on its socket, or the death of the thread that started it, ends it.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use libc::sock_filter;

use crate::isolation::seccomp::bpf::Action;
use crate::types::layer::Layer;
use crate::{sys, wire};

/// Descriptors below this are a child's own; what the zygote keeps and receives lies at or above it.
const FIRST_PRIVATE_FD: RawFd = 10;
/// A request to fork, as received: limits and where the child's descriptors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) stack: u64,
    /// Starting threads is allowed where nobody counts them.
    pub(crate) threads: bool,
    /// Bytes of the program, and whether they are in the report file instead of the first message.
    pub(crate) text_length: u64,
    pub(crate) text_in_file: bool,
    /// Files for standard output and standard error, where somebody reads them.
    pub(crate) output: Option<(RawFd, RawFd)>,
    pub(crate) control: RawFd,
    pub(crate) report: RawFd,
}

/// The zygote's state. One per process; never dropped.
#[derive(Debug)]
pub struct Zygote {
    pub(crate) socket: RawFd,
    without: u64,
    /// What its children see as their parent's id.
    pub(crate) parent_id: i32,
    pub(crate) stage_two: Vec<sock_filter>,
    /// The same with threads refused.
    pub(crate) stage_two_single: Vec<sock_filter>,
    pub(crate) listen: bool,
    pub(crate) job: Option<Job>,
}

/// Which step of the set-up failed, and how.
pub(crate) fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{name}: {error}"))
}

impl Zygote {
    /// First thing in the new process: its socket is descriptor 0, everything else that leaked in is closed.
    ///
    /// # Errors
    /// Which step failed; the caller prints it and ends.
    pub fn new(parent: i32, without: u64) -> Result<Self, String> {
        step("close leaked descriptors", sys::close_from(3))?;
        step(
            "die with the driver",
            sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
        )?;
        if sys::parent_pid() != parent {
            return Err("the driver is gone".to_owned());
        }
        let socket = step("keep the socket", sys::raise(0, FIRST_PRIVATE_FD))?.into_raw_fd();
        // 0 and 3..10 become /dev/null, so that what is received later lands above them. For reading and writing: the
        // official profiles have it for all three standard streams, and where nothing can be opened later, too.
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = step("open /dev/null", null)?.into_raw_fd(); // one of those numbers itself
        for fd in std::iter::once(0).chain(3..FIRST_PRIVATE_FD) {
            step("reserve descriptors", sys::place(null, fd))?;
        }
        let mut zygote = Self {
            socket,
            without,
            parent_id: sys::pid(),
            stage_two: Vec::new(),
            stage_two_single: Vec::new(),
            listen: false,
            job: None,
        };
        zygote.listen = zygote.has(Layer::ThreadCap)
            && zygote.has(Layer::Seccomp)
            && sys::knows_action(Action::Notify.code());
        Ok(zygote)
    }

    /// Whether the layer is put on.
    pub fn has(&self, layer: Layer) -> bool {
        self.without & layer.bit() == 0
    }

    /// Forks a process for each program that is asked for, and returns there: the program's text, and the bytes that a
    /// file of its own may have. Reaps on request in between; end of file ends the process.
    ///
    /// The interpreter is not told of the fork: it has one thread, and what it would make anew are locks that nobody
    /// holds, each of them a page to copy.
    pub fn next_program(&mut self) -> (Vec<u8>, u64) {
        loop {
            self.next();
            match sys::fork() {
                Ok(0) => return self.enter(),
                Ok(pid) => self.forked(pid),
                Err(error) => self.forked(-error.raw_os_error().unwrap_or(libc::EAGAIN)),
            }
        }
    }

    /// Blocks until a program is to be forked.
    fn next(&mut self) {
        let mut bytes = [0; wire::LENGTH];
        let mut fds = [-1; sys::MAX_FDS];
        loop {
            match sys::receive(self.socket, &mut bytes, &mut fds) {
                Ok((wire::LENGTH, count)) => match (wire::unpack(&bytes), count) {
                    (
                        [
                            wire::FORK,
                            cpu_seconds,
                            address_space,
                            file_size,
                            stack,
                            threads,
                            text_length,
                            in_file,
                        ],
                        2 | 4,
                    ) => {
                        let [control, report, stdout, stderr] = fds;
                        self.job = Some(Job {
                            cpu_seconds,
                            address_space,
                            file_size,
                            stack,
                            threads: threads == 1,
                            text_length,
                            text_in_file: in_file == 1,
                            output: (count == 4).then_some((stdout, stderr)),
                            control,
                            report,
                        });
                        return;
                    }
                    ([wire::REAP, pid, ..], 0) => {
                        let (status, seconds, peak) = sys::reap(pid as i32).unwrap_or((-1, 0.0, 0));
                        let micros = (seconds * 1e6) as u64;
                        self.answer(wire::words([
                            wire::REAP,
                            u64::from(status as u32),
                            micros,
                            peak,
                        ]));
                    }
                    ([wire::BURY, pid, ..], 0) => {
                        sys::reap(pid as i32).ok(); // nobody asks how it ended
                    }
                    _ => sys::exit(wire::SETUP_FAILED),
                },
                Ok((0, _)) => sys::exit(0), // the driver is gone
                _ => sys::exit(wire::SETUP_FAILED),
            }
        }
    }

    /// In the parent after the fork: tells the driver the pid, lets go of the child's descriptors.
    fn forked(&mut self, pid: i32) {
        if let Some(job) = self.job.take() {
            let (stdout, stderr) = job.output.unzip();
            for fd in [Some(job.control), Some(job.report), stdout, stderr] {
                drop::<Option<OwnedFd>>(fd.map(sys::adopt));
            }
        }
        self.answer(wire::words([wire::FORK, pid as u64]));
    }

    fn answer(&self, words: wire::Words) {
        if sys::send(self.socket, &wire::pack(words), &[]).is_err() {
            sys::exit(0); // the driver is gone
        }
    }
}

/// So that a rule set's number can be entered without owning it.
pub(crate) struct Borrowed(pub(crate) RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
