# expect: {RE,WA} kind=stdin -- TCP, UDP and an abstract unix socket of this machine
import socket
for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int("@PORT@"))), (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int("@PORT@"))), (socket.AF_UNIX, socket.SOCK_STREAM, "\0@NAME@")):
    try:
        s = socket.socket(family, kind); s.connect(address); s.send(b"stolen"); print("PWNED sent", family)
    except OSError as e: print("refused", e.errno)
