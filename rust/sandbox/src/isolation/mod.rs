//! The kernel's isolation mechanisms, one file each. Which of them a sandbox uses is decided elsewhere.

pub(crate) mod jail;
pub(crate) mod landlock;
pub(crate) mod namespaces;
pub(crate) mod seccomp;
