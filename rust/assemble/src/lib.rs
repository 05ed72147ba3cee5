//! opsd-assemble.
