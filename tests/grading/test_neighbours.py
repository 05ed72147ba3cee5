"""One program changes no other's verdict, and none gets out of having one."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from opsd_rs import Case, Grader, Problem, Solution

SUM = "total = 0\nfor number in range(2_000_000): total += number\nprint(int(input()) + total)"
HONEST = Problem("honest", "", (Case("3\n", str(3 + sum(range(2_000_000)))),))
NAPS = "import ctypes\nnap = ctypes.CDLL(None).usleep\nwhile True: nap(50)"
SPIN = """
import ctypes, mmap, signal, threading
signal.alarm(0)
page = mmap.mmap(-1, 4096, prot=7)
page[:2] = b"\\xeb\\xfe"  # jump to itself
spin = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
for _ in range(30): threading.Thread(target=spin, daemon=True).start()
spin()
"""
TWO_THREADS = """
import threading
import numpy
values = numpy.random.rand(800, 800)
def work():
    own = values
    for _ in range(40): own = numpy.sqrt(numpy.abs(numpy.sin(own)))
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(input())
"""


@pytest.mark.parametrize("level", ["S2", "S3"])
def test_threads_without_end_make_no_neighbour_too_slow(level: str) -> None:
    """Under an official profile wall time counts: seven programs at a time, one of them with 31 threads."""
    honest = [(HONEST, Solution("honest", number, code=f"{SUM}  # {number}")) for number in range(6)]
    spin = (HONEST, Solution("honest", 6, code=SPIN))
    with Grader(workers=7, level=level, profile="lcb-2025-05") as grader:
        started = time.monotonic()
        hostile, *grades = grader.grade([spin, *honest])
        seconds = time.monotonic() - started
    assert [grade.verdict for grade in grades] == ["accepted"] * 6
    assert hostile.verdict == "time_limit"
    assert "starved" in hostile.flags, "it ran again alone"
    assert seconds < 60


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_two_threads_are_legal_under_an_official_profile() -> None:
    pytest.importorskip("numpy")
    problem = Problem("two", "", (Case("3", "3"),))
    with Grader(workers=2, profile="lcb-2025-05") as grader:
        [grade] = grader.grade([(problem, Solution("two", 0, code=TWO_THREADS))])
    assert grade.verdict == "accepted", grade


def test_a_program_that_naps_gets_a_verdict_on_a_busy_machine() -> None:
    """After each nap of 50 us it waits for a core: neither asleep nor computing, for ever."""
    problem = Problem("naps", "", (Case("", "1"),))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with Grader(workers=1) as grader:
            started = time.monotonic()
            [grade] = grader.grade([(problem, Solution("naps", 0, code=NAPS))])
            seconds = time.monotonic() - started
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert grade.verdict == "idle_limit", grade
    assert grade.message.startswith("idle_limit: ")
    assert seconds < 45


HIDE = """
import mmap, time
size, piece = 400 << 20, 8 << 20
held = mmap.mmap(-1, size)  # shared
for start in range(0, size, piece):
    held[start:start + piece] = b"x" * piece
    held.madvise(mmap.MADV_DONTNEED, start, piece)
time.sleep(0.5)
print(sum(held[start] for start in range(0, size, piece)))
"""
TABLES = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
for number in range(30_000):  # each in a page table of its own
    place = libc.mmap(ctypes.c_void_p((1 << 44) + (number << 21)), ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    ctypes.memset(place, 1, 1)
time.sleep(0.5)
print(number)
"""
ANSWERS = {HIDE: str(ord("x") * 50), TABLES: "29999"}


@pytest.mark.parametrize(("code", "least_mib"), [(HIDE, 400), (TABLES, 230)])
def test_memory_that_is_not_resident_counts(code: str, least_mib: int) -> None:
    problem = Problem("memory", "", (Case("", ANSWERS[code]),))
    jobs = [(problem, Solution("memory", number, code=f"{code}  # {number}")) for number in range(2)]
    with Grader(workers=2, memory_budget_mib=300) as grader:
        grades = grader.grade(jobs)
    assert [grade.verdict for grade in grades] == ["accepted"] * 2
    assert sum("killed" in grade.flags for grade in grades) == 1, "one of them had to run again alone"
    assert all((grade.tests[0].memory_mib or 0) >= least_mib for grade in grades)


def test_page_tables_count_against_a_programs_own_limit() -> None:
    problem = Problem("tables", "", (Case("", "1"),), memory_limit_mib=170)
    with Grader(workers=1) as grader:
        [grade] = grader.grade([(problem, Solution("tables", 0, code=TABLES))])
    assert grade.verdict == "memory_limit", grade


def test_the_supervisor_may_use_all_descriptors_that_it_may() -> None:
    script = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900))\n" + (
        "from opsd_rs import Grader\nwith Grader(workers=1) as grader:\n"
        "    print(open(f'/proc/{grader.pid}/limits').read())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    [line] = [line for line in run.stdout.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["900", "900"]
