//! Ends of a run that are no answer, in words for messages.

use opsd_sandbox::End;

/// A program cannot send it to itself, and our own kills are reported as other ends.
pub(crate) const SIGKILL: i32 = 9;

/// An end in a few words.
pub(crate) fn describe_end(end: &End) -> String {
    match end {
        End::Finished => "finished".to_owned(),
        End::Raised { kind, message, .. } | End::Compile { kind, message, .. } => {
            exception_text(kind, message)
        }
        End::Exited { code } => format!("exit code {code}"),
        End::Signaled { signal } => signal_name(*signal),
        End::Stopped { by } => format!("stopped by its {by:?} limit").to_lowercase(),
        End::Violation { .. } => "a system call that is not allowed".to_owned(),
        End::Missing => "no entry point".to_owned(),
        End::ImportBlocked { .. } => "an import that this level of isolation refuses".to_owned(),
    }
}

/// `ZeroDivisionError: division by zero`.
pub(crate) fn exception_text(kind: &str, message: &str) -> String {
    if message.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}: {message}")
    }
}

pub(crate) fn signal_name(signal: i32) -> String {
    match signal {
        4 => "signal 4 (illegal instruction)".to_owned(),
        6 => "signal 6 (abort)".to_owned(),
        7 => "signal 7 (bus error)".to_owned(),
        8 => "signal 8 (arithmetic exception)".to_owned(),
        11 => "signal 11 (segmentation fault)".to_owned(),
        other => format!("signal {other}"),
    }
}
