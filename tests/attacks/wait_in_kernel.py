# expect: {TLE,ILE} kind=stdin -- lets the kernel wait for disks and processors: time that is neither computing nor sleep
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
file = os.open(os.__file__, os.O_RDONLY)
page = ctypes.create_string_buffer(1 << 16)
at = ctypes.c_void_p((ctypes.addressof(page) + 4095) & ~4095)
while True:
    if libc.syscall(324, 1, 0) == 0: print("PWNED membarrier")
    for advice in (12, 20, 21, 25):
        if libc.madvise(at, 4096, advice) == 0: print("PWNED madvise", advice)
    os.fsync(file); os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
