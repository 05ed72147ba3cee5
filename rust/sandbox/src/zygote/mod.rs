//! The warm interpreter and the processes forked from it, up to a program's first line.
//!
//! `seal` gives up rights once, `serve` forks on request, `child` isolates each new process, in order.

pub(crate) mod child;
pub(crate) mod huge_pages;
pub(crate) mod readable;
pub(crate) mod seal;
pub(crate) mod serve;
pub(crate) mod state;
