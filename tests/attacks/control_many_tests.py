# expect: {AC} kind=stdin -- control: replaced streams, pools, changed signals and recursion limits do not reach the next test
import io, sys, signal, random
from concurrent.futures import ThreadPoolExecutor
signal.signal(signal.SIGALRM, lambda *a: None); signal.alarm(1)
sys.setrecursionlimit(60)
sys.stdin = io.TextIOWrapper(sys.stdin.buffer); sys.stdout = io.TextIOWrapper(sys.stdout.buffer)
pool = ThreadPoolExecutor(2)
n = int(input()); numbers = list(map(int, input().split()))
print(sum(pool.map(int, numbers)))
