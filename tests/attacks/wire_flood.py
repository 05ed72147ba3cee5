# expect: {WA,RE,SV,ILE,TLE} kind=stdin -- writes records of every kind and length to the control socket
import itertools, os, struct
os.set_blocking(3, False)
for kind, words in itertools.product([*range(10), 0x6F7073640001, 2**64 - 1], [(0,) * 7, (2**64 - 1,) * 7, (0, 0, 1 << 63, 1, 0, 0, 0)]):
    try: os.write(3, struct.pack("<8Q", kind, *words))
    except OSError: pass
for length in (0, 1, 63, 65, 8256, 8257, 70_000):
    try: os.write(3, b"\xff" * length)
    except OSError: pass
