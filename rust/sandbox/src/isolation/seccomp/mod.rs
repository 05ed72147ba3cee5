//! System-call filters: which calls (`lists`, `policy`), their numbers (`calls`), and the compiler to BPF (`bpf`).

pub(crate) mod bpf;
pub(crate) mod calls;
pub(crate) mod lists;
pub(crate) mod policy;
