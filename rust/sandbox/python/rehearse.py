"""What the zygote runs before it seals itself: programs of the usual kinds, each several times.

What the interpreter learns on the way (specialised code, method caches, bound symbols) all children then share.
Otherwise each child would learn it itself and copy a page each time.
"""

import linecache
import os
import sys

ROUNDS = 2  # more rounds hardly make children faster
STDIN = """\
import sys
from collections import defaultdict, deque
class Node:
    def __init__(self, key):
        self.key, self.next = key, []
def solve(n, values):
    seen, order, queue = set(), defaultdict(list), deque([0])
    best = [0] * (n + 1)
    for i, x in enumerate(values):
        best[i + 1] = max(best[i], x) + min(x, n) if x % 2 else best[i] - 1
        order[x].append(i)
    while queue:
        u = queue.popleft()
        if u not in seen and u < n:
            seen.add(u)
            queue.append(u + 1)
    return sum(best) + len(seen) + Node(n).key, " ".join(str(x) for x in sorted(values))
n = int(input())
total, text = solve(n, list(map(int, input().split())))
print(total, text)
print(f"{total:.2f}", *[n, n], sep=",")
sys.stdout.write("x" + "\\n")
"""
FUNCTION = """\
class Solution:
    def rehearse(self, nums: List[int], k: int) -> List[int]:
        counts = Counter(nums)
        heap = [(-c, x) for x, c in counts.items()]
        heapq.heapify(heap)
        return [heapq.heappop(heap)[1] for _ in range(min(k, len(heap)))]
"""
TESTS = (("", STDIN, b"3\n3 1 2\n"), ("rehearse", FUNCTION, b"[3,1,3]\n2"))


def rehearse(program_class, written, core, world):
    """Runs each program on two tests, several times; standard output is the null device here. Leaves no trace."""
    main, null = sys.modules["__main__"], os.dup(0)
    for entry, source, text in TESTS * ROUNDS:
        program = program_class(core, f"{entry}\n{source}", 1 << 20)
        world.watch(source)
        for _ in range(2):
            file = os.memfd_create("rehearsal")
            os.write(file, text)
            os.lseek(file, 0, os.SEEK_SET)
            os.dup2(file, 0)
            os.close(file)
            report, value = program.test(world)
            if report["end"] != "finished":
                raise RuntimeError(f"rehearsal: {report}")
            written(report, value)
    os.dup2(null, 0)
    os.close(null)
    sys.modules["__main__"] = main
    sys.modules.pop("solution", None)
    linecache.cache.clear()
    world.prepare()
