//! How a child gets a test's input: a read-only file of its own that holds nothing else, or a message if the program
//! never reads a file. And how it gets the program's text.

use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::{sys, wire};

/// From this size on, an input is written to one file that every process reopens. Below it, copying into a file that the
/// process already has is cheaper and keeps no descriptor open between runs.
const SHARED_FROM: usize = 256 << 10;

/// One test's input: bytes, and for large ones the sealed file that all programs on all workers share.
#[derive(Debug)]
pub struct Input {
    bytes: Vec<u8>,
    file: OnceLock<OwnedFd>,
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            file: OnceLock::new(),
        }
    }
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Input {
    /// A new descriptor of the shared file; `None` for small inputs.
    pub(crate) fn open(&self) -> sys::Sys<Option<OwnedFd>> {
        if self.bytes.len() < SHARED_FROM {
            return Ok(None);
        }
        if let Some(file) = self.file.get() {
            return sys::reader(file).map(Some);
        }
        let file = sys::memfd(c"stdin")?;
        sys::pwrite_all(&file, &self.bytes)?;
        sys::seal(&file)?;
        // If another worker was faster, its file is the one that stays.
        sys::reader(self.file.get_or_init(|| file)).map(Some)
    }
}

/// A child's own input file: written by the driver, between tests only; the child can read it and nothing else.
#[derive(Debug)]
pub(crate) struct OwnInput {
    /// Created when first needed: short inputs may travel in the message itself.
    own: Option<OwnFile>,
    in_messages: bool,
}

#[derive(Debug)]
struct OwnFile {
    file: OwnedFd,
    /// The open file that the child has too: both share one position.
    reader: OwnedFd,
    length: usize,
}

impl OwnInput {
    /// `in_messages`: the program never reads descriptor 0, so that short inputs need no file.
    pub(crate) fn new(in_messages: bool) -> Self {
        Self {
            own: None,
            in_messages,
        }
    }

    /// Puts the input of test `index` where the child finds it, and sends the message that says where.
    pub(crate) fn release(
        &mut self,
        control: &OwnedFd,
        index: usize,
        input: &Input,
        step: u64,
    ) -> sys::Sys<()> {
        let next = |which| wire::pack(wire::words([wire::NEXT, index as u64, which, step]));
        // Fails if the child has just died, or sends "done" without reading what comes next and its socket is full;
        // watching the test finds out.
        let send = |message: &[u8], fd: Option<&OwnedFd>| {
            let fd = fd.map(AsRawFd::as_raw_fd);
            match sys::try_send(control.as_raw_fd(), message, fd.as_slice()) {
                Err(error) if sys::too_many_in_flight(&error) => Err(error),
                _ => Ok(()),
            }
        };
        if self.in_messages && input.len() <= wire::LONGEST_INPUT {
            let message = [&next(wire::INPUT_HERE), &**input].concat();
            if sys::try_send(control.as_raw_fd(), &message, &[]).is_ok() {
                return Ok(());
            } // socket buffers may be small on this machine
        }
        if let Some(file) = &input.open()? {
            return send(&next(wire::THIS_INPUT), Some(file));
        }
        if let Some(own) = &mut self.own {
            own.fill(input)?;
            return send(&next(wire::OWN_INPUT), None);
        }
        let own = self.own.insert(OwnFile::new()?);
        own.fill(input)?;
        send(&next(wire::NEW_INPUT), Some(&own.reader))
    }
}

impl OwnFile {
    fn new() -> sys::Sys<Self> {
        let file = sys::memfd(c"stdin")?;
        let reader = sys::reader(&file)?;
        Ok(Self {
            file,
            reader,
            length: 0,
        })
    }

    /// Replaces the content and seeks to its start.
    fn fill(&mut self, bytes: &[u8]) -> sys::Sys<()> {
        sys::pwrite_all(&self.file, bytes)?;
        if bytes.len() < self.length {
            sys::truncate(&self.file, bytes.len() as u64)?;
        }
        self.length = bytes.len();
        sys::seek(&self.reader, 0)
    }
}

/// Puts a program's text where a new child reads it: in the first message of its socket or, if it does not fit there,
/// in the report file. Returns whether it is in the file.
pub(crate) fn send_text(text: &str, control: &OwnedFd, report: &OwnedFd) -> sys::Sys<bool> {
    if text.len() <= wire::LONGEST_PROGRAM {
        let words = wire::words([wire::PROGRAM, text.len() as u64]);
        let message = [&wire::pack(words), text.as_bytes()].concat();
        if sys::try_send(control.as_raw_fd(), &message, &[]).is_ok() {
            return Ok(false);
        }
    }
    sys::pwrite_all(report, text.as_bytes()).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_inputs_are_shared_and_cannot_be_written() {
        let input = Input::from(vec![7; SHARED_FROM]);
        let (one, two) = (
            input.open().unwrap().unwrap(),
            input.open().unwrap().unwrap(),
        );
        assert!(sys::pwrite_all(&one, b"x").is_err());
        assert_eq!(sys::pread(&two, 0, u64::MAX >> 40).unwrap(), *input);
        assert!(
            Input::from(vec![7; SHARED_FROM - 1])
                .open()
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_shorter_input_leaves_nothing_of_the_longer_one() {
        let mut own = OwnFile::new().unwrap();
        for text in [b"long input".as_slice(), b"short", b"", b"longer than all"] {
            own.fill(text).unwrap();
            assert_eq!(sys::pread(&own.reader, 0, 100).unwrap(), text);
        }
        assert!(sys::pwrite_all(&own.reader, b"x").is_err());
    }

    #[test]
    fn what_does_not_fit_into_a_socket_goes_into_a_file() {
        let (ours, theirs) = sys::socket_pair().unwrap();
        let report = sys::memfd(c"report").unwrap();
        assert!(!send_text("short", &ours, &report).unwrap());
        let mut first = [0; wire::LENGTH + 5];
        assert_eq!(
            sys::receive_plain(&theirs, &mut first).unwrap(),
            Some(first.len())
        );
        assert_eq!(&first[wire::LENGTH..], b"short");
        let long = "x".repeat(wire::LONGEST_PROGRAM + 1);
        assert!(send_text(&long, &ours, &report).unwrap());
        while sys::try_send(ours.as_raw_fd(), &[0; 4096], &[]).is_ok() {}
        assert!(send_text("short", &ours, &report).unwrap());
        assert_eq!(sys::pread(&report, 0, 5).unwrap(), b"short");
        let mut own = OwnInput::new(true);
        own.release(&ours, 0, &Input::from(b"input".to_vec()), wire::FIRST_STEP)
            .unwrap();
        let file = own.own.expect("made when the message did not go out");
        assert_eq!(sys::pread(&file.reader, 0, 9).unwrap(), b"input");
    }
}
