//! What the kernel is asked for: one file per mechanism, each without a view of the others.

pub(crate) mod jail;
pub(crate) mod landlock;
pub(crate) mod namespaces;
pub(crate) mod seccomp;
