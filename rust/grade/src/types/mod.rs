//! Plain data: what is graded, and what is found out about it. Nothing here runs or compares anything.

pub(crate) mod case;
pub(crate) mod choices;
pub(crate) mod ends;
pub(crate) mod grade;
pub(crate) mod official;
pub(crate) mod reason;
pub(crate) mod verdict;
