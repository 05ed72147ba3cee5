# expect: {RE,WA} kind=stdin -- reads a file that belongs to the same user
try: print("PWNED", open("@CANARY@").read())
except OSError as e: print("refused", e.errno)
