# expect: {RE,WA} kind=stdin -- opens descriptors without end
import os
n = 0
try:
    while n < 300: os.pipe(); n += 2
except OSError: pass
print("PWNED descriptors" if n > 64 else "stopped", n)
