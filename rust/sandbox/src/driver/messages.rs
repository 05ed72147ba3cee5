//! Waits for a message of a process that is to answer soon, and tells a slow one from one that is stuck.

use std::fs;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::driver::naps::Delay;
use crate::sys;

/// A process that is slow but busy gets at most this many times the timeout.
const SLOW_FACTOR: u32 = 10;

/// Seconds that a process with one thread has computed, or waited for a core of a busy machine, so far.
fn busy_seconds(pid: i32) -> f64 {
    let delay = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok();
    let delay = delay.and_then(|text| Delay::parse(pid, &text));
    let waited = delay.map_or(0, |delay| delay.nanoseconds);
    sys::cpu_seconds(pid).unwrap_or(0.0) + waited as f64 * 1e-9
}

/// Waits until the process at the other end of the socket has sent something; `false` after `timeout` without it. A
/// process that is busy for most of that time is slow, not stuck: it gets up to `SLOW_FACTOR` times as long.
pub(crate) fn wait_for_message(socket: RawFd, pid: i32, timeout: Duration) -> sys::Sys<bool> {
    let started = Instant::now();
    // The answer usually comes at once, and reading the clocks would cost more.
    if let [true] = sys::wait([socket], timeout / 10)? {
        return Ok(true);
    }
    let (mut since, mut busy) = (Instant::now(), busy_seconds(pid));
    loop {
        let left = timeout.saturating_sub(since.elapsed());
        let [readable] = sys::wait([socket], left)?;
        if readable {
            return Ok(true);
        }
        if since.elapsed() < timeout {
            continue; // interrupted by a signal
        }
        let now = busy_seconds(pid);
        let is_slow = now - busy > 0.5 * timeout.as_secs_f64();
        if !is_slow || started.elapsed() >= timeout * SLOW_FACTOR {
            return Ok(false);
        }
        (since, busy) = (Instant::now(), now);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_sleeping_process_times_out_and_a_busy_one_gets_more_time() {
        let heard = |script: &str| {
            let (ours, theirs) = sys::socket_pair().unwrap();
            let mut shell = std::process::Command::new("sh");
            let mut child = shell.args(["-c", script]).stdin(theirs).spawn().unwrap();
            drop(shell); // and with it our copy of their end
            let timeout = Duration::from_secs(1);
            let heard = wait_for_message(ours.as_raw_fd(), child.id() as i32, timeout).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            heard
        };
        assert!(!heard("exec sleep 9"));
        assert!(
            heard("(sleep 2; kill -9 $$) & while :; do :; done"),
            "its end closes the socket"
        );
    }
}
