//! The system calls of this crate, each as one safe function: no policy, no allocation unless the name says so.
//!
//! Every `unsafe` of the crate lives in this folder. `files`: memory files and descriptors; `sockets`: messages with
//! descriptors, and waiting; `memory`: the layout of this process's own; `process`: other processes, their clocks and
//! requests; `restrict`: what a process gives up; `namespaces`: what it no longer shares; `result`: errno as an error.
#![allow(unsafe_code)]

mod files;
mod memory;
mod namespaces;
mod process;
mod restrict;
mod result;
mod sockets;

pub(crate) use files::*;
pub(crate) use memory::*;
pub(crate) use namespaces::*;
pub(crate) use process::*;
pub(crate) use restrict::*;
pub(crate) use result::{Sys, call};
pub(crate) use sockets::*;
