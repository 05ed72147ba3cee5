//! The system calls of this crate, each as one safe function: no policy, no allocation unless the name says so.
//!
//! Every `unsafe` of the crate lives in this folder. `files`: memory files and descriptors; `sockets`: messages with
//! descriptors, and waiting; `memory`: where this process's own lies; `process`: other processes, their clocks, their questions; `restrict`: what a process
//! gives up; `namespaces`: what it no longer shares.
#![allow(unsafe_code)]

mod files;
mod memory;
mod namespaces;
mod process;
mod restrict;
mod sockets;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::c_long;

pub(crate) use files::*;
pub(crate) use memory::*;
pub(crate) use namespaces::*;
pub(crate) use process::*;
pub(crate) use restrict::*;
pub(crate) use sockets::*;

/// Result of a call; the error is its errno.
pub(crate) type Sys<T> = io::Result<T>;

fn check(result: c_long) -> Sys<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: c_long) -> Sys<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
