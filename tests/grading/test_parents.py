"""A grader is started from processes that must not be forked: large ones, with many threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PARENT = """
import ctypes, json, mmap, os, sys, threading, time
sys.path.insert(0, sys.argv[2])
from graded import ADD, RIGHT, one
from opsd_rs import Grader

# pthread_atfork(3): called before every fork(2) of this process, by whomever; not before vfork or posix_spawn.
forks = []
prepare = ctypes.CFUNCTYPE(None)(lambda: forks.append(1))
register = ctypes.CDLL(None).__register_atfork
register.argtypes = [ctypes.c_void_p] * 4
assert register(ctypes.cast(prepare, ctypes.c_void_p), None, None, None) == 0
python_forks = []
os.register_at_fork(before=lambda: python_forks.append(1))

mapped = mmap.mmap(-1, 4 << 30)  # 4 GiB mapped, of which so much is touched:
for page in range(0, int(sys.argv[1]) << 20, 4096):
    mapped[page] = 1
over = threading.Event()
threads = [threading.Thread(target=over.wait) for _ in range(100)]
for thread in threads:
    thread.start()

before, wall = time.process_time(), time.monotonic()
with Grader(workers=1) as grader:
    started, started_wall = time.process_time() - before, time.monotonic() - wall
    passed = one(grader, ADD, RIGHT).passed
forks_of_the_grader = len(forks), len(python_forks)
pid = os.fork()  # the same hooks see a real fork
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
over.set()
print(json.dumps({
    "passed": passed, "forks": forks_of_the_grader, "control": (len(forks), len(python_forks)),
    "start_cpu_seconds": started, "start_wall_seconds": started_wall,
}))
"""


def parent(touched_mib: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(touched_mib), str(Path(__file__).parents[1] / "support")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_large_threaded_parent_is_never_forked() -> None:
    found = parent(16)
    assert found["passed"] is True
    assert found["control"] == [1, 1], "the hooks see forks"
    assert found["forks"] == [0, 0]


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("OPSD_RS_LONG_TESTS") != "1", reason="long: OPSD_RS_LONG_TESTS=1 runs it")
def test_the_start_does_not_grow_with_the_parent() -> None:
    """A fork copies page tables: about 80 microseconds per MiB resident (0.15 s at 2 GiB)."""
    small = min(parent(16)["start_cpu_seconds"] for _ in range(3))
    large = min(parent(2048)["start_cpu_seconds"] for _ in range(3))
    print(f"CPU of the parent for a start: {small:.4f} s at 16 MiB, {large:.4f} s at 2048 MiB resident")
    assert large < small + 0.03
