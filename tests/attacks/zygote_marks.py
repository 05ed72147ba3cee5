# expect: {WA,RE} kind=stdin -- leaves a mark in every module and frame, and looks for one that another process has left
import os, sys
own, found, frames = os.getpid(), [], []
frame = sys._getframe()
while frame:
    frames.append(frame.f_globals)
    frame = frame.f_back
places = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
for place in (*places, *frames):
    if place.get("_left_here", own) != own: found.append(place.get("__name__"))
    place["_left_here"] = own
print("PWNED marks of another process" if found else "none", found[:5])
