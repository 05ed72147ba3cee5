//! opsd-grade.
