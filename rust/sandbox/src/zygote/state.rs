//! A zygote's state, from its first moment on.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use libc::sock_filter;

use crate::isolation::seccomp::bpf::Action;
use crate::sys;
use crate::types::layer::Layer;

/// Descriptors below this are for a child; the zygote's own are at or above it.
const FIRST_PRIVATE_FD: RawFd = 10;

/// A request to fork, as received: limits and where the child's descriptors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) stack: u64,
    /// The program may start threads where they are not counted.
    pub(crate) threads: bool,
    /// Bytes of the program, and whether they are in the report file instead of the first message.
    pub(crate) text_length: u64,
    pub(crate) text_in_file: bool,
    /// Files for standard output and standard error, unless the program's harness handles its own.
    pub(crate) output: Option<(RawFd, RawFd)>,
    pub(crate) control: RawFd,
    pub(crate) report: RawFd,
}

/// The zygote's state. One per process; never dropped.
#[derive(Debug)]
pub struct Zygote {
    pub(crate) socket: RawFd,
    without: u64,
    /// The parent's id that its children see.
    pub(crate) parent_id: i32,
    pub(crate) stage_two: Vec<sock_filter>,
    /// The same without threads.
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
        let socket = step("keep the socket", sys::dup_at_least(0, FIRST_PRIVATE_FD))?.into_raw_fd();
        // 0 and 3..10 become /dev/null, so that descriptors received later are above them. For reading and writing: a
        // harness may use it for all three standard streams, even where nothing can be opened later.
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = step("open /dev/null", null)?.into_raw_fd(); // one of those numbers itself
        for fd in std::iter::once(0).chain(3..FIRST_PRIVATE_FD) {
            step("reserve descriptors", sys::dup_to(null, fd))?;
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

    /// Whether the layer is enabled.
    pub fn has(&self, layer: Layer) -> bool {
        self.without & layer.bit() == 0
    }
}

/// A descriptor number to use without owning it.
pub(crate) struct Borrowed(pub(crate) RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
