//! What a program writes: files in memory, to which each test appends.
//!
//! Truncating after each test and allocating a new page for the next one's few bytes costs more than a small test.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::limits::LONGEST_PAST;
use crate::sys;

/// Standard output or standard error of one process.
#[derive(Debug)]
pub(crate) struct Output {
    file: OwnedFd,
    /// Where the current test's part begins.
    start: u64,
    /// Where the copied part ends.
    end: u64,
}

impl AsRawFd for Output {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Output {
    pub(crate) fn new(name: &std::ffi::CStr) -> sys::Sys<Self> {
        let file = sys::memfd(name)?;
        let (start, end) = (0, 0);
        Ok(Self { file, start, end })
    }

    /// One bounded copy of what this test has written; a program may keep the file mapped and write on. The flag says that
    /// it is `cap` bytes or more.
    pub(crate) fn copy(&mut self, cap: u64) -> sys::Sys<(Vec<u8>, bool)> {
        if let Some(whole) = self.short()? {
            return Ok((whole, false));
        }
        self.end = sys::size(&self.file)?.max(self.start);
        let length = self.end - self.start;
        let copy = sys::pread(&self.file, self.start, length.min(cap))?;
        Ok((copy, length >= cap))
    }

    /// The end of what this test has written.
    pub(crate) fn tail(&mut self, most: u64) -> sys::Sys<Vec<u8>> {
        if let Some(whole) = self.short()?
            && whole.len() as u64 <= most
        {
            return Ok(whole);
        }
        self.end = sys::size(&self.file)?.max(self.start);
        let length = most.min(self.end - self.start);
        sys::pread(&self.file, self.end - length, length)
    }

    /// All of a short part in one call; `None` if it is longer.
    fn short(&mut self) -> sys::Sys<Option<Vec<u8>>> {
        let mut bytes = [0; 1024];
        let length = sys::read_at(&self.file, &mut bytes, self.start)?;
        self.end = self.start + length as u64;
        Ok((length < bytes.len()).then(|| bytes[..length].to_vec()))
    }

    /// After the copy: the next test's part begins here.
    pub(crate) fn advance(&mut self) -> sys::Sys<()> {
        if self.end > LONGEST_PAST {
            sys::truncate(&self.file, 0)?;
            self.end = 0;
        }
        self.start = self.end;
        sys::seek(&self.file, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a program does: at the file's own position.
    fn print(output: &Output, bytes: &[u8]) {
        use std::io::Write;
        let copy = output.file.try_clone().unwrap();
        std::fs::File::from(copy).write_all(bytes).unwrap();
    }

    #[test]
    fn each_test_has_its_own_part() {
        let mut output = Output::new(c"output").unwrap();
        for length in [0, 3, 1023, 1024, 5000, 70_000, 4, 0, 2] {
            let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            print(&output, &text);
            let (copy, full) = output.copy(70_000).unwrap();
            assert_eq!((copy == text, full), (true, length >= 70_000), "{length}");
            let tail = output.tail(1000).unwrap();
            assert_eq!(tail, text[text.len().saturating_sub(1000)..], "{length}");
            output.advance().unwrap();
            assert!(output.start <= LONGEST_PAST);
        }
    }

    #[test]
    fn a_program_may_shorten_its_file() {
        let mut output = Output::new(c"output").unwrap();
        print(&output, &[7; 3000]);
        output.copy(1 << 20).unwrap();
        output.advance().unwrap();
        sys::truncate(&output.file, 10).unwrap();
        assert_eq!(output.copy(1 << 20).unwrap(), (Vec::new(), false));
        output.advance().unwrap();
        print(&output, b"next");
        assert_eq!(output.copy(1 << 20).unwrap().0, b"next");
    }
}
