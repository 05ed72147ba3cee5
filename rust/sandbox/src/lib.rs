//! opsd-sandbox.
