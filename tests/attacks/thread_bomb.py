# expect: {RE,WA,MLE} kind=stdin -- starts threads without end, each of which lives as long as the program
import threading
threading.stack_size(1 << 16)
forever = threading.Event()
n = 1
try:
    while n < 200:
        threading.Thread(target=forever.wait, daemon=True).start(); n += 1
except BaseException as e: print(type(e).__name__)
print("PWNED threads" if n > 64 else "stopped", n)
