"""Grading over a Ray cluster of two local nodes, one of them killed in mid-run.

Long (a minute or two): run with OPSD_RS_LONG_TESTS=1 where ray is installed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from graded import ADD, RIGHT, one
from opsd_rs import Problem, Solution
from opsd_rs.errors import BadInput, OpsdError
from processes import alive, family, wait_until

ray = pytest.importorskip("ray")
if os.environ.get("OPSD_RS_LONG_TESTS") != "1":
    pytest.skip("long: OPSD_RS_LONG_TESTS=1 runs it", allow_module_level=True)

from opsd_rs.grading.cluster.grader import RayGrader  # noqa: E402

BUSY = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.2: pass\n"
SLEEP = "import time\ntime.sleep(90)"
SLOW = Problem("slow", "", ADD.tests[:1], time_limit_seconds=20)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    found.wait_for_nodes()
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def busy(number: int) -> tuple[Problem, Solution]:
    end = RIGHT if number % 3 else "print(0)"
    return SLOW, Solution("slow", number, code=f"{BUSY}{end}  # {number}")


def supervisors() -> list[int]:
    """The supervisors of this process's node graders: those whose parent is a Ray actor."""
    found = []
    for folder in (
        Path(f"/proc/{pid}") for pid in family(os.getpid())
    ):  # other checkouts may have clusters, too
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"core.supervise()" in word for word in words) and b"NodeGrader" in _parent(folder):
            found.append(int(folder.name))
    return found


def _parent(folder: Path) -> bytes:
    """The title of a process's parent; Ray names its workers after their actor's class."""
    try:
        parent = (folder / "stat").read_text().rsplit(") ", 1)[1].split()[1]
        return Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return b""


def programs() -> list[int]:
    return [program for pid in supervisors() for program in processes.programs(pid)]


def test_grades_in_order_as_they_finish_and_for_asyncio(cluster: Any) -> None:
    with RayGrader(cluster.address, stop="first-failure", idle_seconds=90) as grader:
        assert wait_until(lambda: grader.workers == 2, 60), "one per core that each node gives Ray"
        assert len(supervisors()) == 2
        grades = grader.grade([busy(number) for number in range(12)])
        assert [grade.sample for grade in grades] == list(range(12))
        assert [grade.passed for grade in grades] == [number % 3 > 0 for number in range(12)]
        assert grades[1].metadata["stop"] == "first-failure", "settings reach the nodes"
        assert grader.identity()["stop"] == "first-failure"
        assert grader.code_of(Solution("add", 0, completion=f"```python\n{RIGHT}\n```")) == RIGHT

        slow = (SLOW, Solution("slow", 0, code="import time\ntime.sleep(2)\n" + RIGHT))
        order = [index for index, _ in grader.stream([slow, busy(1), busy(2)])]
        assert order[-1] == 0, "a sleeper holds nobody up"

        async def main() -> list[int]:
            return sorted([index async for index, _ in grader.stream([busy(n) for n in range(4)])])

        assert asyncio.run(main()) == [0, 1, 2, 3]
        with pytest.raises(BadInput, match="problem empty: has no tests"):
            one(grader, Problem("empty", "", ()), RIGHT)

        asyncio.run(asyncio.wait_for(_start_and_drop(grader), 60))
        assert wait_until(lambda: not programs(), 30), "a cancelled reader ends its programs on every node"
    assert wait_until(lambda: not supervisors(), 20), "nothing is left when it is closed"


async def _start_and_drop(grader: RayGrader) -> None:
    async def read() -> None:
        # Sleepers: loops would take the cores from the node's processes, which are to end them.
        async for _ in grader.astream([(SLOW, Solution("slow", n, code=SLEEP)) for n in range(8)]):
            raise AssertionError("nothing finishes here")

    task = asyncio.create_task(read())
    while len(programs()) < 2:
        await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_lost_node_costs_no_grade(cluster: Any) -> None:
    second = next(node for node in cluster.worker_nodes)
    items = [busy(number) for number in range(60)]
    with RayGrader(cluster.address) as grader:
        assert wait_until(lambda: grader.workers == 2, 60)
        found: dict[int, bool | None] = {}
        for index, grade in grader.stream(items):
            assert grade.verdict in ("accepted", "wrong_answer"), grade
            assert index not in found, "each once"
            found[index] = grade.passed
            if len(found) == 10:
                before = supervisors()
                cluster.remove_node(second, allow_graceful=False)
        assert found == {number: number % 3 > 0 for number in range(60)}
        assert grader.workers == 1
        assert wait_until(lambda: len(supervisors()) == 1, 30), "the lost node's processes are gone"
        assert set(supervisors()) < set(before)
        assert one(grader, ADD, RIGHT).passed

        cluster.add_node(num_cpus=1)
        assert wait_until(lambda: grader.workers == 2, 60), "a node that joins is used"
        assert len(grader.grade([busy(number) for number in range(6)])) == 6


def test_lost_actors_and_supervisors_are_replaced(cluster: Any) -> None:
    with RayGrader(cluster.address) as grader:
        found: dict[int, bool | None] = {}
        for index, grade in grader.stream([busy(number) for number in range(40)]):
            assert grade.verdict in ("accepted", "wrong_answer"), grade
            found[index] = grade.passed
            if len(found) == 8:
                os.kill(supervisors()[0], signal.SIGKILL)
            if len(found) == 20:
                parent = Path(f"/proc/{supervisors()[0]}/stat").read_text().rsplit(") ", 1)[1].split()[1]
                os.kill(int(parent), signal.SIGKILL)
        assert found == {number: number % 3 > 0 for number in range(40)}
        assert wait_until(lambda: len(supervisors()) == 2, 30), "both nodes grade again"


def test_nothing_outlives_a_killed_driver(cluster: Any) -> None:
    script = (
        "import sys\nsys.path.append('../../support')\nfrom test_ray import RayGrader, busy\n"
        "grader = RayGrader(sys.argv[1]).__enter__()\nprint('up', flush=True)\n"
        "list(grader.stream(busy(n) for n in range(10_000)))\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script, cluster.address],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == "up\n"
        below = [member for pid in supervisors() for member in family(pid)]
        driver.kill()
        driver.wait()
    assert wait_until(lambda: not any(map(alive, below)), 60), "nothing outlives a killed driver"


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(BadInput, match="stop = 'later'"):
        RayGrader("local", stop="later")
    with pytest.raises(BadInput, match="no such cluster"):
        RayGrader("127.0.0.1:1").__enter__()
    ray.shutdown()


def test_local_starts_a_cluster_and_ends_it() -> None:
    start = time.monotonic()
    with RayGrader("local", workers=1) as grader:
        assert one(grader, ADD, RIGHT).passed
    assert not ray.is_initialized()
    with pytest.raises(OpsdError, match="was closed"):
        one(grader, ADD, RIGHT)
    assert time.monotonic() - start < 120
