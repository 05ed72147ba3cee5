//! Which level of isolation works on this machine: `ladder` tries levels, `proof` proves one, `fingerprint` writes its
//! rules as text, `probe` lists the kernel's mechanisms for `doctor`.

pub(crate) mod fingerprint;
pub(crate) mod ladder;
pub(crate) mod probe;
pub(crate) mod proof;
