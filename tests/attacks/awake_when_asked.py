# expect: {ILE,TLE} kind=stdin -- sleeps, but is awake whenever it makes the supervisor look, by asking for a thread
import threading, time
def spin(over):
    while not over: pass
while True:
    time.sleep(0.08)
    over = []
    spinner = threading.Thread(target=spin, args=(over,)); spinner.start()
    threading.Thread(target=int).start()
    over.append(1); spinner.join()
