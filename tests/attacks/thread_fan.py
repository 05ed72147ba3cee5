# expect: {RE,WA,MLE} kind=stdin -- threads that start threads, all at once: who counts them is asked by many
import _thread, threading, time
threading.stack_size(1 << 16)
forever = threading.Event()
living, refused = [], []
def fan(generation):
    living.append(1)  # nobody ends
    for _ in range(3 if generation < 4 else 0):
        try: _thread.start_new_thread(fan, (generation + 1,))
        except RuntimeError: refused.append(1)
    forever.wait()
threading.Thread(target=fan, args=(0,), daemon=True).start()
end = time.monotonic() + 0.3
while len(living) < 121 and not (refused and time.monotonic() > end): time.sleep(0.01)
print("PWNED threads" if len(living) + 1 > 64 else "stopped", len(living) + 1, len(refused))
