# expect: {WA,RE} kind=stdin -- asks the control socket who is at its other end: a pid, a handle on the process
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for option in (17, 77):  # SO_PEERCRED, SO_PEERPIDFD
    answer, size = ctypes.create_string_buffer(64), ctypes.c_int(64)
    if libc.getsockopt(3, 1, option, answer, ctypes.byref(size)) == 0: print("PWNED option", option, answer.raw[:12])
