//! What a call returned, as a `Result`.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::c_long;

/// Result of a call; the error is its errno.
pub(crate) type Sys<T> = io::Result<T>;

pub(super) fn check(result: c_long) -> Sys<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(super) fn owned(result: c_long) -> Sys<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Raw system call with integer arguments, for the few that need no pointers.
pub(crate) fn call(number: c_long, a: u64, b: u64, c: u64) -> Sys<c_long> {
    // SAFETY: callers pass integers only.
    check(unsafe { libc::syscall(number, a, b, c) })
}
