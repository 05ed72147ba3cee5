# expect: {WA,RE,SV} kind=stdin -- writes the harness's own "test done" records, early and for tests to come
import os, struct
for index in range(4): os.write(3, struct.pack("<8Q", 6, index, 1, 0, 0, 0, 0, 0))
os.write(4, b'{"end":"finished","value":true}\n1')
print("forged")
