//! Which level of isolation this machine gives: tried (`ladder`), proved (`proof`), written down (`fingerprint`).

pub(crate) mod fingerprint;
pub(crate) mod ladder;
pub(crate) mod probe;
pub(crate) mod proof;
