# expect: {WA,RE} kind=stdin -- leaves a word in memory that all children of a zygote might share, and looks for one
import gc, mmap, os, sys
places, frame = [x for x in gc.get_objects() if type(x) is mmap.mmap], sys._getframe()
while frame:
    places += [x for x in frame.f_globals.values() if type(x) is mmap.mmap]
    frame = frame.f_back
for place in places:
    mine = b"%016d" % os.getpid()
    if place[:16] not in (mine, bytes(16)): print("PWNED a word of process", place[:16])
    place[:16] = mine
print(len(places))
