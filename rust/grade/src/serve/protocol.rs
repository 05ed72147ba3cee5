//! The messages between the caller and the supervisor: frames of a 4-byte big-endian length and one JSON message. The texts
//! of a problem's tests, megabytes at times, follow their message as raw bytes.
//!
//! The caller opens with `Settings`; the supervisor answers `Ready` or `Fault`. From then on the caller puts problems,
//! sends jobs that name them, and drops problems; results come back in the order they finish. A problem must be put
//! before a job names it and may be dropped right after: a job holds its own.

use std::io::{ErrorKind, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::Error;
use crate::types::case::{Case, Problem, Solution};
use crate::types::grade::Grade;

/// From the caller.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Keep a problem under `key`.
    PutProblem {
        /// Chosen by the caller, unique.
        key: u64,
        /// The problem, without its tests.
        problem: Problem,
        /// Bytes of each test's input and output, whose texts follow the frame in this order.
        sizes: Vec<(usize, usize)>,
    },
    /// Drop a problem.
    DropProblem {
        /// Its key.
        key: u64,
    },
    /// Grade a solution.
    Job {
        /// Chosen by the caller, unique; comes back with the result.
        job: u64,
        /// Key of the problem.
        key: u64,
        /// The candidate.
        solution: Solution,
    },
    /// Drop these jobs: those that wait never start, those that run are ended; no reply comes.
    Cancel {
        /// Numbers of jobs; those already done are ignored.
        jobs: Vec<u64>,
    },
}

/// From the supervisor.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// All sandboxes are up.
    Ready {
        /// Level of isolation that holds, `S2`.
        sandbox_level: String,
        /// One line: which protections hold.
        sandbox: String,
        /// The rules that hold, as text; equal texts mean equal rules.
        policy: String,
    },
    /// The supervisor cannot go on; it ends after this.
    Fault {
        /// One line.
        message: String,
    },
    /// A result.
    Done {
        /// Number of the job.
        job: u64,
        /// The result.
        grade: Box<Grade>,
    },
    /// The job's problem cannot be run: the user's data.
    Refused {
        /// Number of the job.
        job: u64,
        /// Which problem, and why.
        message: String,
    },
}

/// The next message, or None at the end of the stream (between frames, or inside one: the caller died).
pub(crate) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, Error> {
    let mut length = [0; 4];
    if !fill(stream, &mut length)? {
        return Ok(None);
    }
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    if !fill(stream, &mut body)? {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// The tests that follow a [`Request::PutProblem`], or None where the caller died.
pub(crate) fn receive_tests(
    stream: &mut impl Read,
    sizes: &[(usize, usize)],
) -> Result<Option<Vec<Case>>, Error> {
    let mut text = |length: usize| -> Result<Option<String>, Error> {
        let mut bytes = vec![0; length];
        if !fill(stream, &mut bytes)? {
            return Ok(None);
        }
        String::from_utf8(bytes).map(Some).map_err(Error::Text)
    };
    let mut tests = Vec::with_capacity(sizes.len());
    for &(input, output) in sizes {
        match (text(input)?, text(output)?) {
            (Some(input), Some(output)) => tests.push(Case { input, output }),
            _ => return Ok(None),
        }
    }
    Ok(Some(tests))
}

fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<bool, Error> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(Error::Io {
            step: "reading from the caller",
            source,
        }),
    }
}

/// Send one message, whole.
pub(crate) fn send<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), Error> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| Error::Io {
        step: "sending to the caller",
        source: ErrorKind::FileTooLarge.into(),
    })?;
    let frame = [&length.to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).map_err(|source| Error::Io {
        step: "sending to the caller",
        source,
    })
}
