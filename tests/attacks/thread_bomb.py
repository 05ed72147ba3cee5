# expect: {RE,WA,MLE} kind=stdin -- starts threads without end
import threading, time
threading.stack_size(1 << 16)
n = 1
try:
    while n < 200:
        threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start(); n += 1
except BaseException as e: print(type(e).__name__)
print("PWNED threads" if n > 64 else "stopped", n)
