# expect: {WA,RE,SV,TLE,ILE} kind=stdin -- announces a long report and cuts its file while that is read
import os, struct, threading
def cut():
    while True:
        for length in (0, 1 << 24):
            try: os.ftruncate(4, length)
            except OSError: pass
threading.Thread(target=cut, daemon=True).start()
for index in range(3):
    os.write(3, struct.pack("<8Q", 6, index, 1, 1 << 24, 1, 0, 0, 0))
