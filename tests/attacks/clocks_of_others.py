# expect: {WA,RE} kind=stdin -- reads, and waits on, the CPU clocks of other processes: what do neighbours do, and when
import ctypes, os
libc = ctypes.CDLL(None)
call = lambda number, *words: libc.syscall(*(ctypes.c_long(word) for word in (number, *words)))
time, timer = ctypes.create_string_buffer(16), ctypes.create_string_buffer(8)
own, seen = os.getpid(), []
for pid in [*range(1, 300), *range(max(own - 300, 300), own + 300)]:
    for what in range(3):
        clock = (~pid << 3) | what
        read = [call(number, clock, ctypes.addressof(time)) for number in (228, 229)]
        armed = call(222, clock, 0, ctypes.addressof(timer))
        if pid == own: assert read == [0, 0], "its own"
        elif 0 in read or armed == 0: seen.append(pid)
print("PWNED clocks of" if seen else "none", seen[:9])
