# expect: {WA,RE,SV} kind=stdin -- makes calls that are younger than most lists of dangerous ones: mounts, secret memory, module lists, shadow stacks
import ctypes
libc = ctypes.CDLL(None)
room = ctypes.create_string_buffer(4096)
at, done = ctypes.addressof(room), []
for number in (*range(424, 434), *range(438, 444), *range(447, 470), 512, 600):
    if number in (435, 436, 439, 441): continue  # clone3, close_range, faccessat2, epoll_pwait2: old friends
    for words in ((0,) * 6, (-100, at, 0, 0, 0, 0), (1, 0, at, 4096, 0, 0)):
        if libc.syscall(*(ctypes.c_long(word) for word in (number, *words))) >= 0: done.append(number)
print("PWNED calls" if done else "refused", sorted(set(done)))
