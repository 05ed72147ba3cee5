# expect: {ILE} kind=stdin -- ends its first thread and lets another sleep: a process that is neither awake nor asleep
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1e6,)).start()
ctypes.CDLL(None).syscall(60, 0)
