//! Files in memory and descriptor numbers.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long};

use super::result::{Sys, call, check, owned};

/// An anonymous file in memory, close-on-exec.
pub(crate) fn memfd(name: &std::ffi::CStr) -> Sys<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: name is a NUL-terminated string.
    owned(c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), flags)
    }))
}

/// Makes a memfd read-only, permanently.
pub(crate) fn seal(fd: &OwnedFd) -> Sys<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: plain fcntl on an open descriptor.
    check(c_long::from(unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals)
    }))
    .map(drop)
}

/// Writes all of it at the start of the file; the offset stays where it is.
pub(crate) fn pwrite_all(fd: &impl AsRawFd, mut bytes: &[u8]) -> Sys<()> {
    let mut offset = 0;
    while !bytes.is_empty() {
        // SAFETY: pointer and length describe one live slice.
        let n = check(unsafe {
            libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) as c_long
        })?;
        bytes = &bytes[n as usize..];
        offset += n;
    }
    Ok(())
}

/// Size of an open file.
pub(crate) fn size(fd: &impl AsRawFd) -> Sys<u64> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the struct when it returns 0.
    check(c_long::from(unsafe {
        libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr())
    }))?;
    // SAFETY: filled, see above.
    Ok(unsafe { stat.assume_init() }.st_size as u64)
}

/// A copy of `length` bytes at `offset`, less if the file ends before. Allocates.
pub(crate) fn pread(fd: &impl AsRawFd, offset: u64, length: u64) -> Sys<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length describe one live slice.
        let n = check(unsafe {
            let at = offset as i64 + filled as i64;
            libc::pread(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), at) as c_long
        })?;
        if n == 0 {
            break;
        }
        filled += n as usize;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads into `bytes` from `offset` with one call; returns how many bytes.
pub(crate) fn read_at(fd: &OwnedFd, bytes: &mut [u8], offset: u64) -> Sys<usize> {
    let (place, most) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: pointer and length describe one live slice.
    let n = unsafe { libc::pread(fd.as_raw_fd(), place, most, offset as i64) };
    check(n as c_long).map(|n| n as usize)
}

/// Truncates a file to `length` bytes.
pub(crate) fn truncate(fd: &impl AsRawFd, length: u64) -> Sys<()> {
    // SAFETY: plain call on an open descriptor.
    check(c_long::from(unsafe {
        libc::ftruncate(fd.as_raw_fd(), length as i64)
    }))
    .map(drop)
}

/// Sets the position in a file, for all who share the open file.
pub(crate) fn seek(fd: &OwnedFd, offset: u64) -> Sys<()> {
    // SAFETY: plain call on an open descriptor.
    check(unsafe { libc::lseek(fd.as_raw_fd(), offset as i64, libc::SEEK_SET) as c_long }).map(drop)
}

/// The same file, reopened for reading only: a position of its own, and no way to write.
pub(crate) fn reader(fd: &OwnedFd) -> Sys<OwnedFd> {
    let path = format!("/proc/self/fd/{}\0", fd.as_raw_fd());
    // SAFETY: a NUL-terminated string.
    owned(c_long::from(unsafe {
        libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC)
    }))
}

/// Opens a path as a name only (`O_PATH`).
pub(crate) fn open_path(path: &std::ffi::CStr) -> Sys<OwnedFd> {
    // SAFETY: a NUL-terminated string.
    owned(c_long::from(unsafe {
        libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC)
    }))
}

/// Whether an extended attribute of a path is the text `1`.
pub(crate) fn attribute_is_one(path: &std::ffi::CStr, name: &std::ffi::CStr) -> bool {
    let mut value = [0u8; 2];
    // SAFETY: NUL-terminated strings; pointer and length describe one live array.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    length == 1 && value[0] == b'1'
}

/// `dup2` onto a fixed number, not close-on-exec.
pub(crate) fn dup_to(fd: RawFd, at: RawFd) -> Sys<()> {
    // SAFETY: integers; the callers own both numbers.
    check(c_long::from(unsafe { libc::dup2(fd, at) })).map(drop)
}

/// Clears what `F_SETFL` may have set on an open file.
pub(crate) fn clear_flags(fd: RawFd) -> Sys<()> {
    // SAFETY: integers.
    check(c_long::from(unsafe { libc::fcntl(fd, libc::F_SETFL, 0) })).map(drop)
}

/// A copy of a descriptor at `least` or above, close-on-exec.
pub(crate) fn dup_at_least(fd: RawFd, least: c_int) -> Sys<OwnedFd> {
    // SAFETY: integers.
    owned(c_long::from(unsafe {
        libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least)
    }))
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> Sys<()> {
    call(libc::SYS_close_range, first.into(), u32::MAX.into(), 0).map(drop)
}
