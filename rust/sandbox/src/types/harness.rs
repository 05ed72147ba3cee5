//! A harness that the caller brings: Python code that runs programs in another way than the built-in one.

/// A harness whose programs are led step by step ([`crate::Sandbox::lead`]). What its steps and reports mean is between
/// it and the caller.
#[derive(Debug)]
pub struct Harness {
    /// The zygote's interpreter finds it by this name.
    pub name: &'static str,
    /// Its Python modules, name and source, in the order in which they are imported; each name begins with `opsd_`. The
    /// last one has `prepare(core, prelude)`, which runs in the zygote before it seals itself and returns
    /// `begin(text, file_bytes)`, which runs one program in a process of its own.
    pub modules: &'static [(&'static str, &'static str)],
    /// The module named by a report that says that its import was blocked.
    pub blocked_import: fn(&[u8]) -> Option<String>,
    /// A program with a known answer, for every fresh sandbox.
    pub rehearsal: Rehearsal,
}

/// A program that runs before any other: its first step, then one with an input.
#[derive(Debug)]
pub struct Rehearsal {
    /// What the harness reads.
    pub text: &'static str,
    /// Kind of the second step.
    pub step: u64,
    /// Its input.
    pub input: &'static [u8],
    /// What its report must end with.
    pub answer: &'static [u8],
}
