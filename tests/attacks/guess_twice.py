# expect: {WA} kind=stdin -- another answer in each run of a test
import os
print(os.urandom(12).hex())
