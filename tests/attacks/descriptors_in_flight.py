# expect: {WA,RE} kind=stdin -- sends descriptors that nobody receives; they count for the user, who can send none any more
import array, os, socket
kept = os.dup(3)
ours, theirs = socket.socketpair()
os.dup2(ours.fileno(), 3)  # where a rule by number would allow it
sent = 0
for number in (3, ours.fileno()):
    end = socket.socket(fileno=os.dup(number))
    for _ in range(50):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 60))]
        try: end.sendmsg([b"x"], rights, socket.MSG_DONTWAIT)
        except OSError: break
        sent += 60
os.dup2(kept, 3)
print("PWNED in flight" if sent else "refused", sent)
