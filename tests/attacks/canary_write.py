# expect: {RE,WA} kind=stdin -- overwrites, truncates and replaces a file that belongs to the same user
import os
p = "@CANARY@"
for f in (lambda: open(p, "a").write("damaged"), lambda: os.truncate(p, 1), lambda: os.chmod(p, 0o600), lambda: os.rename(p, p + ".gone"), lambda: os.symlink("/etc/passwd", p + ".link")):
    try: f(); print("PWNED wrote")
    except OSError: print("refused")
