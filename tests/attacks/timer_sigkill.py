# expect: {WA,RE} kind=stdin -- has a POSIX timer send it SIGKILL, as if somebody else had
import ctypes, struct, time
libc = ctypes.CDLL(None)
event, timer = ctypes.create_string_buffer(64), ctypes.c_int()
for notify in (0, 4):  # SIGEV_SIGNAL, SIGEV_THREAD_ID
    struct.pack_into("<Qiii", event, 0, 0, 9, notify, libc.syscall(186))
    print(libc.syscall(222, 1, event, ctypes.byref(timer)))
    libc.syscall(223, timer.value, 0, struct.pack("<4q", 0, 0, 0, 1000), None)
time.sleep(0.05)
