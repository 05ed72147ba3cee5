# expect: {AC} kind=stdin -- control: open(0), /dev/stdin and sys.stdin.buffer all read the input
import os, sys
first = open(0, closefd=False).readline()
os.lseek(0, 0, 0)
with open("/dev/stdin") as f: n = int(f.readline())
os.lseek(0, 0, 0)
data = sys.stdin.buffer.read().split()
assert int(first) == n == int(data[0])
sys.stdout.write(str(sum(map(int, data[1:]))) + "\n")
