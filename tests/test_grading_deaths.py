"""What happens when one of the grader's processes dies: no hang, no orphan, no false verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from graded import ADD, LOOP, RIGHT, one, verdicts
from opsd_rs import Grader, Problem, Solution
from opsd_rs.errors import OpsdError
from processes import alive, children, family, wait_until


def test_a_killed_supervisor_is_an_error_at_once() -> None:
    with Grader(workers=2) as grader:
        pid = grader.pid
        assert pid is not None
        before = family(pid)
        assert len(before) >= 3, "supervisor and two sandboxes"
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(OpsdError, match="supervisor died: signal 9"):
            grader.grade([(ADD, Solution("add", n, code=LOOP)) for n in range(4)])
        assert time.monotonic() - start < 5
        with pytest.raises(OpsdError, match="supervisor died"):
            one(grader, ADD, RIGHT)
        assert wait_until(lambda: not any(map(alive, before))), "sandboxes outlive the supervisor"


PARENT = """
import os, sys, time
from opsd_rs import Case, Grader, Problem, Solution
grader = Grader(workers=2).__enter__()
problem = Problem("p", "", (Case("", ""),), time_limit_seconds=60)
stream = grader.stream([(problem, Solution("p", n, code="while True: pass")) for n in range(2)])
if sys.argv[1] == "forked" and os.fork() == 0:
    time.sleep(8)  # holds a copy of the socket after its parent is dead
    os._exit(0)
print(grader.pid, flush=True)
next(stream)
"""


@pytest.mark.parametrize("kind", ["alone", "forked"])
def test_nothing_outlives_a_killed_caller(kind: str) -> None:
    caller = subprocess.Popen([sys.executable, "-c", PARENT, kind], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    with caller.stdout:
        supervisor = int(caller.stdout.readline())
        assert wait_until(lambda: len(family(supervisor)) >= 5), "supervisor, two sandboxes, two programs"
        below = family(supervisor)
        caller.kill()
        caller.wait()
        assert wait_until(lambda: not any(map(alive, below)), 5.0), [pid for pid in below if alive(pid)]


def test_a_killed_sandbox_is_replaced_and_the_verdict_stands() -> None:
    problem = Problem("slow", "", ADD.tests, time_limit_seconds=5)
    busy = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.5: pass\n" + RIGHT
    with Grader(workers=1) as grader:
        pid = grader.pid
        assert pid is not None
        [sandbox] = children(pid)
        threading.Timer(0.7, os.kill, (sandbox, signal.SIGKILL)).start()
        grade = one(grader, problem, busy)
    assert grade.verdict == "accepted"
    assert grade.flags == ("retried",)


def test_our_own_fault_is_never_a_failed_program() -> None:
    stop = threading.Event()
    problem = Problem("slow", "", ADD.tests, time_limit_seconds=20)
    with Grader(workers=1) as grader:
        pid = grader.pid
        assert pid is not None

        def kill_sandboxes() -> None:
            while not stop.wait(0.05):
                for sandbox in children(pid):
                    for program in children(sandbox):
                        os.kill(program, 0)
                        os.kill(sandbox, signal.SIGKILL)

        killer = threading.Thread(target=kill_sandboxes)
        killer.start()
        try:
            grade = one(grader, problem, LOOP)
        finally:
            stop.set()
            killer.join()
        assert grade.verdict == "infra_error"
        assert grade.passed is None
        assert grade.feedback == ""
        assert verdicts(grade) == ["infra_error", "not_run", "not_run"]
        assert one(grader, ADD, RIGHT).passed, "the grader itself goes on"


def test_a_forked_copy_of_the_caller_is_told_and_harms_nothing() -> None:
    with Grader(workers=1) as grader:
        pid = os.fork()
        if pid == 0:
            try:
                one(grader, ADD, RIGHT)
            except OpsdError as error:
                os._exit(0 if "forked" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert one(grader, ADD, RIGHT).passed
