//! One program's process, as the driver holds it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::driver::input::{Input, OwnInput};
use crate::driver::memory::MemoryLease;
use crate::driver::messages;
use crate::driver::output::Output;
use crate::error::{Error, START_TIMEOUT, broken};
use crate::{sys, wire};

/// A program's process, sealed, waiting for its first input.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: OwnedFd,
    /// Files for standard output and standard error, unless it handles its own streams.
    pub(crate) output: Option<(Output, Output)>,
    pub(crate) report: OwnedFd,
    pub(crate) input: OwnInput,
    /// CPU seconds used when its program started, and when the last input was released.
    pub(crate) cpu_at_start: f64,
    pub(crate) cpu_before: f64,
    /// Tests that it has been given. A program sees the number of each, which begins at 0 in every process: it must
    /// not know whether a test runs for the second time.
    pub(crate) num_tests: usize,
    /// The caller reads its reports.
    pub(crate) is_led: bool,
    /// How many processes the kernel had killed because memory ran out when this one started, where known.
    pub(crate) killed_before: u64,
    /// Its lease, where a governor watches memory.
    pub(crate) lease: Option<MemoryLease>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExitInfo {
    pub(crate) status: i32,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_kib: u64,
    /// The governor killed it: run it again alone.
    pub(crate) evicted: bool,
    /// It was killed, and the kernel has killed a process of the control group since it started.
    pub(crate) oom_killed: bool,
}

impl Child {
    /// Releases the next test's input.
    pub(crate) fn release(&mut self, input: &Input, step: u64) -> Result<(), Error> {
        self.cpu_before = sys::cpu_seconds(self.pid).map_err(broken("read the child's clock"))?;
        let number = self.num_tests;
        self.num_tests += 1;
        self.input
            .release(&self.control, number, input, step)
            .map_err(broken("release the input"))
    }

    /// Waits for READY.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), String> {
        let mut bytes = [0; wire::LENGTH];
        let readable =
            messages::wait_for_message(self.control.as_raw_fd(), self.pid, START_TIMEOUT)
                .map_err(|e| e.to_string())?;
        if !readable {
            return Err(format!("silent for {START_TIMEOUT:?}"));
        }
        match sys::receive_plain(&self.control, &mut bytes) {
            Ok(Some(wire::LENGTH)) if wire::unpack(&bytes)[0] == wire::READY => {
                self.cpu_at_start = wire::unpack(&bytes)[2] as f64 * 1e-9;
                self.cpu_before = self.cpu_at_start;
                Ok(())
            }
            Ok(n) => Err(format!("{n:?} bytes instead of READY")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the process still runs.
    pub(crate) fn alive(&self) -> Result<bool, Error> {
        let [dead] = sys::wait([self.pidfd.as_raw_fd()], Duration::ZERO)
            .map_err(broken("poll the child"))?;
        Ok(!dead)
    }
}
