//! Grading for a caller at the other end of a socket, in a process that alone knows the expected outputs.

pub(crate) mod isolation;
pub(crate) mod protocol;
pub(crate) mod supervisor;
