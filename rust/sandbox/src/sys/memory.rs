//! The layout of this process's own memory.

use std::io;
use std::ops::Range;
use std::ptr::{copy_nonoverlapping, null_mut};

use super::result::Sys;

/// Size of a huge page.
pub(crate) const HUGE: usize = 2 << 20;

/// Replaces mappings by copies in huge pages, where the kernel has some. `executable`: code, which is not written any
/// more; else data, which is. Returns whether that was done: not if the kernel forbids processes to write code, has no
/// memory for it, or a mapping is sealed (mseal(2)); then it, and those after it, stay as they are.
///
/// Only for a process of one thread, for whole private mappings of its own, and not for its stack. Allocates nothing.
///
/// # Errors
/// A copy could not replace its original: the process cannot continue.
pub(crate) fn remap_huge(mappings: &[Range<usize>], executable: bool) -> Sys<bool> {
    let total: usize = mappings.iter().map(ExactSizeIterator::len).sum();
    let room = total.next_multiple_of(HUGE) + HUGE;
    // SAFETY: a new mapping of our own, large enough for all copies from its first multiple of HUGE on. Nobody else
    // writes to what is copied: this is the only thread. Each copy then replaces its equal original.
    unsafe {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let space = libc::mmap(null_mut(), room, writable, kind, -1, 0);
        if space == libc::MAP_FAILED {
            return Ok(false);
        }
        let start = space.addr().next_multiple_of(HUGE) - space.addr();
        let mut copy = space.byte_add(start);
        libc::madvise(copy, room - start, libc::MADV_HUGEPAGE);
        for mapping in mappings {
            let from: *const u8 = std::ptr::with_exposed_provenance(mapping.start);
            copy_nonoverlapping(from, copy.cast(), mapping.len());
            copy = copy.byte_add(mapping.len());
        }
        copy = space.byte_add(start);
        let code = libc::PROT_READ | libc::PROT_EXEC;
        let mut may_move = !executable || libc::mprotect(copy, total, code) == 0;
        for mapping in mappings {
            if !may_move {
                break;
            }
            let place: *mut libc::c_void = std::ptr::with_exposed_provenance_mut(mapping.start);
            let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(copy, mapping.len(), mapping.len(), how, place) == libc::MAP_FAILED {
                let error = io::Error::last_os_error();
                may_move = false;
                if error.raw_os_error() != Some(libc::EPERM) {
                    return Err(error);
                }
            }
            copy = copy.byte_add(mapping.len());
        }
        libc::munmap(space, room); // what is left of it
        Ok(may_move)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 64 << 10;
    /// mseal(2), Linux 6.10.
    const MSEAL: libc::c_long = 462;

    fn mapping() -> (Range<usize>, &'static mut [u8]) {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping of that length, which nobody takes away.
        let bytes = unsafe {
            let place = libc::mmap(null_mut(), LENGTH, rights, kind, -1, 0);
            assert_ne!(place, libc::MAP_FAILED);
            std::slice::from_raw_parts_mut(place.cast::<u8>(), LENGTH)
        };
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        let start = bytes.as_ptr().expose_provenance();
        (start..start + LENGTH, bytes)
    }

    #[test]
    fn all_is_where_it_was_and_can_be_written() {
        let ((one, first), (two, second)) = (mapping(), mapping());
        assert!(remap_huge(&[one, two], false).unwrap());
        assert_eq!(first, second);
        first[LENGTH - 1] = 7;
        second[0] = 8;
        assert_eq!((first[LENGTH - 1], second[0], first[0]), (7, 8, 0));
    }

    #[test]
    fn what_is_sealed_stays() {
        let ((one, first), (two, second)) = (mapping(), mapping());
        // SAFETY: plain system call; the mapping is never taken away.
        if unsafe { libc::syscall(MSEAL, one.start, LENGTH, 0) } != 0 {
            return; // an older kernel: nothing can be sealed
        }
        assert!(!remap_huge(&[one, two], false).unwrap());
        first[0] = 9;
        assert_eq!((first[0], first[1..] == second[1..]), (9, true));
    }
}
