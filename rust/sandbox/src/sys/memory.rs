//! Where this process's own memory lies.

use std::io;
use std::ops::Range;
use std::ptr::{copy_nonoverlapping, null_mut};

use super::Sys;

/// What one entry of a page table can map where the kernel has huge pages of that size.
pub(crate) const HUGE: usize = 2 << 20;

/// Puts copies of mappings, made of huge pages where the kernel has some, in their places. `executable`: for code, which
/// is not written any more; else for data, which is. Whether that was done: not where the kernel lets no process write
/// code, or has no room.
///
/// Only for a process of one thread, for whole private mappings of its own, and not for its stack. Allocates nothing.
///
/// # Errors
/// A copy could not be put in its place: the process cannot go on.
pub(crate) fn regroup(mappings: &[Range<usize>], executable: bool) -> Sys<bool> {
    let total: usize = mappings.iter().map(ExactSizeIterator::len).sum();
    let room = total.next_multiple_of(HUGE) + HUGE;
    // SAFETY: a new mapping of our own, large enough for all copies from its first multiple of HUGE on. Nobody else
    // writes to what is copied: there is one thread, and it is here. Each copy then takes the place of what it equals.
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
        let may_move = !executable || libc::mprotect(copy, total, code) == 0;
        for mapping in mappings.iter().filter(|_| may_move) {
            let place: *mut libc::c_void = std::ptr::with_exposed_provenance_mut(mapping.start);
            let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(copy, mapping.len(), mapping.len(), how, place) == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            copy = copy.byte_add(mapping.len());
        }
        libc::munmap(space, room); // what is left of it
        Ok(may_move)
    }
}
