# expect: {WA} kind=stdin -- reads installed packages, where a grader's own data may lie
import os, sys, sysconfig
hit = []
for root in {os.path.join(os.path.dirname(os.__file__), "site-packages"), "/usr/lib/python3/dist-packages", "/usr/local/lib/python3.11/dist-packages", sysconfig.get_path("purelib")}:
    for d, ds, fs in os.walk(root):
        if hit or len(d) > len(root) + 40: ds[:] = []
        ds[:] = ds[:8]
        for f in fs[:20]:
            try: open(os.path.join(d, f), "rb").read(1); hit.append(f)
            except OSError: pass
print("PWNED packages" if hit else "nothing", hit[:3])
