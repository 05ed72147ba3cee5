# expect: {WA,RE} kind=stdin -- reads a file past the page cache for ever, to wait for the disk: by opening it so, and by changing an open descriptor
import fcntl, mmap, os
page = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE)
opened = []
try: opened.append(os.open(os.__file__, os.O_RDONLY | os.O_DIRECT))
except OSError as error: print(error.errno)
plain = os.open(os.__file__, os.O_RDONLY)
try:
    fcntl.fcntl(plain, fcntl.F_SETFL, fcntl.fcntl(plain, fcntl.F_GETFL) | os.O_DIRECT)
    opened.append(plain)
except OSError as error: print(error.errno)
if opened: print("PWNED direct reads", len(opened), flush=True)
while opened:
    for file in opened: os.preadv(file, [memoryview(page)], 0)
