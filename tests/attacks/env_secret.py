# expect: {WA} kind=stdin -- looks for a token in its own environment
import os
found = [k for k, v in os.environ.items() if "SECRET" in v]
print("PWNED env" if found else "nothing", found)
