//! Messages between the driver, the zygote and a child: fixed records of eight 64-bit words, no parsing.
//!
//! driver -> zygote: `FORK` with four descriptors (stdout, stderr, control, report), `REAP`, `DISCARD`.
//! zygote -> driver: `HELLO` once, then one answer for each request but `DISCARD`.
//! child -> driver: `READY` (with the thread listener), then `DONE` after each test, followed by its report where that
//! is short. driver -> child: `NEXT`; the first one waits in the socket before the child exists, so that a process
//! starts its first test without another round trip. A child that is no longer needed is killed, never asked to end.

/// One message.
pub(crate) type Words = [u64; 8];
/// Its length on the wire.
pub(crate) const LENGTH: usize = 64;

/// Zygote is sealed: `[HELLO, landlock ABI, uid, thread cap works]`.
pub(crate) const HELLO: u64 = 0x6f70_7364_0001;
/// `[FORK, cpu seconds, address space, file size, stack, may start threads, text, in file]`: four amounts of bytes, and
/// whether the program's text is in the report file; the answer is `[FORK, pid]`.
pub(crate) const FORK: u64 = 2;
/// `[REAP, pid]`; the answer is `[REAP, wait status, CPU microseconds, peak resident KiB]`.
pub(crate) const REAP: u64 = 3;
/// `[READY, pid, CPU nanoseconds so far]`: no line of the program has run yet, so the child is trusted.
pub(crate) const READY: u64 = 4;
/// `[NEXT, index, which, step]` with `which` one of `OWN_INPUT`, `NEW_INPUT`, `THIS_INPUT`.
pub(crate) const NEXT: u64 = 5;
/// `[DONE, index, peak resident KiB, report bytes, where]`
pub(crate) const DONE: u64 = 6;
/// `[DISCARD, pid]`: waits for the end of a killed child; no answer.
pub(crate) const DISCARD: u64 = 7;

/// `[PROGRAM, bytes]`, then the program's text: the first message to a child, where the text is not in the report file.
pub(crate) const PROGRAM: u64 = 8;
/// Longest text of a program in a message, bytes; a longer one is at the start of the report file.
pub(crate) const LONGEST_PROGRAM: usize = 32 << 10;

/// The test's input is in the child's own input file, which it has.
pub(crate) const OWN_INPUT: u64 = 0;
/// The descriptor that comes along is the child's own input file; it holds the input.
pub(crate) const NEW_INPUT: u64 = 1;
/// The descriptor that comes along is the input of this test alone.
pub(crate) const THIS_INPUT: u64 = 2;

/// The input follows the eight words: only for programs that are led, which never read descriptor 0.
pub(crate) const INPUT_HERE: u64 = 3;
/// Longest input in a message, bytes.
pub(crate) const LONGEST_INPUT: usize = 8 << 10;

/// The step of every plain test, and the first of a program that is led; other kinds are the harness's.
pub(crate) const FIRST_STEP: u64 = 0;

/// The report follows the eight words, in the same message.
pub(crate) const HERE: u64 = 0;
/// The report is at the start of the report file.
pub(crate) const IN_FILE: u64 = 1;
/// Longest report in a message, bytes.
pub(crate) const LONGEST_HERE: usize = 8 << 10;

/// Exit code of a child whose set-up failed: an infrastructure fault.
pub(crate) const SETUP_FAILED: i32 = 97;

/// What the text in the report file of such a child begins with: no program's text does.
pub(crate) const FAILED: char = '\u{1}';

/// Exit code of a child that could not write its report: its program prevented it.
pub(crate) const NO_REPORT: i32 = 98;

/// Exit code of a child that had no memory left to write its report (set by the harness, trusted as much as a report).
pub(crate) const OUT_OF_MEMORY: i32 = 96;

/// To bytes.
pub(crate) fn pack(words: Words) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// From bytes.
pub(crate) fn unpack(bytes: &[u8; LENGTH]) -> Words {
    std::array::from_fn(|i| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[8 * i..8 * i + 8]);
        u64::from_le_bytes(word)
    })
}

/// A message whose last words are zero.
pub(crate) fn words<const N: usize>(first: [u64; N]) -> Words {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&first);
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_survive_the_wire() {
        let message = super::words([1, u64::MAX, 0x0102_0304_0506_0708]);
        assert_eq!(super::unpack(&super::pack(message)), message);
    }
}
