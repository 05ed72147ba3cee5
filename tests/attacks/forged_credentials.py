# expect: {WA,RE} kind=stdin -- sends another process's credentials, and asks a socket who is at its other end
import os, socket, struct
ours, theirs = socket.socketpair()
kept = os.dup(3); os.dup2(ours.fileno(), 3)
end, done = socket.socket(fileno=os.dup(3)), []
for pid, user in ((1, 0), (os.getpid(), 0), (os.getpid(), os.getuid() + 1)):
    try: done.append(end.sendmsg([b"x"], [(socket.SOL_SOCKET, 2, struct.pack("<3i", pid, user, user))]))
    except OSError: pass
for option in (17, 31, 59, 76, 77):
    try: done.append(theirs.getsockopt(socket.SOL_SOCKET, option, 16))
    except OSError: pass
os.dup2(kept, 3)
print("PWNED credentials" if done else "refused", done)
