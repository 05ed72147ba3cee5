"""How jobs are distributed over the nodes of a Ray cluster, and what happens when a node is lost.

Each node gets one actor (``cluster.node``), which holds that node's grader. One thread here runs an event loop: it
assigns each job to the node with the most free slots, slightly more jobs than the node has workers, and gets an event
for every job that ends. When a node or an actor is lost, its jobs run elsewhere, and the actor is restarted if the node
is still alive. A loss is never counted against a program: a job that was lost four times is ``infra_error``, as is one
that hit an infrastructure fault on two nodes.
"""

from __future__ import annotations

import itertools
import os
import queue
import socket
import threading
import warnings
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsd_rs.base import MOST_TEST_CHARS, SizedLru, num_test_chars
from opsd_rs.config import GraderSettings
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.backend import Mailbox
from opsd_rs.grading.cluster.node import NodeGrader
from opsd_rs.records import CaseResult, Grade, Problem, Solution

START_SECONDS = 120.0
"""Longest wait for the first node to start."""
GRACE_SECONDS = 10.0
"""Longest wait for the others after the first; nodes that start later are used from then on."""
DISCOVERY_SECONDS = 5.0
"""Between checks for nodes that joined."""
MOST_LOSSES = 3
"""Times a job may be lost and still be tried again, so that a program that kills nodes cannot kill all of them."""
MOST_STARTS = 3
"""Actors started one after the other on a node that keeps losing them."""
RULES = ("version", "python_version", "sandbox_level", "policy_hash")
"""What must be equal on all nodes; paths may differ."""


@dataclass
class _Node:
    """A node with its actor. ``workers`` is 0 until the actor has started."""

    name: str
    actor: Any
    cpus: int
    starts: int = 1
    workers: int = 0
    assigned: set[int] = field(default_factory=set)

    @property
    def free_slots(self) -> int:
        """Jobs it may still get: a quarter more than its workers, so that workers seldom wait for this process, and
        few jobs wait behind a slow one while another node is free."""
        return self.workers + self.workers // 4 - len(self.assigned)


class _Stored(NamedTuple):
    """A problem in the cluster's object store. Keeping the object here keeps its ``id()`` from being reused."""

    problem: Problem
    key: int
    ref: Any


@dataclass
class _Job:
    problem: Problem
    solution: Solution
    results: Mailbox
    losses: int = 0
    failed_on: str | None = None
    """The node where it hit an infrastructure fault."""
    node: str | None = None


class Cluster:
    """The backend of ``RayGrader``. Its own thread runs all but ``check``, ``submit``, ``forget`` and ``close``."""

    def __init__(self, ray: Any, address: str, settings: GraderSettings) -> None:
        self._ray = ray
        self._owner = os.getpid()
        self._settings = settings
        self._failure: str | None = None
        self._numbers = itertools.count()
        self._keys = itertools.count()
        self._events: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._pending: deque[int] = deque()
        self._nodes: dict[str, _Node] = {}
        self._excluded: dict[str, str] = {}
        self._stored = SizedLru[int, _Stored](MOST_TEST_CHARS, lambda stored: num_test_chars(stored.problem))
        self.identity: dict[str, Any] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                check_reachable(address)
                alone = {"include_dashboard": False} if address == "local" else {}
                ray.init(address=address, logging_level="warning", log_to_driver=False, **alone)
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise BadInput(f"ray = {address!r}: no such cluster ({_one_line(error)})") from None
        self._started, self._all_started = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._event_loop, name="opsd-ray", daemon=True)
        self._thread.start()
        self._started.wait(START_SECONDS)
        self._all_started.wait(GRACE_SECONDS)
        if not self.workers:
            reason = self._failure or "no node started in time"
            self.close(reason)
            raise OpsdError(f"the grader cannot start on this cluster: {reason}")

    @property
    def workers(self) -> int:
        return sum(node.workers for node in list(self._nodes.values()))

    # ---- called from any thread ---------------------------------------------------------------------

    def check(self) -> None:
        if os.getpid() != self._owner:
            raise OpsdError("this RayGrader belongs to the process that forked this one; make a new one here")
        if self._failure is not None:
            raise OpsdError(self._failure)

    def submit(self, problem: Problem, solution: Solution, results: Mailbox) -> int:
        self.check()
        number = next(self._numbers)
        self._events.put(("submit", number, _Job(problem, solution, results)))
        return number

    def forget(self, jobs: Iterable[int]) -> None:
        if os.getpid() == self._owner:
            self._events.put(("forget", list(jobs), None))

    def close(self, reason: str) -> None:
        if os.getpid() != self._owner or not self._thread.is_alive():
            return
        self._events.put(("stop", reason, None))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- the thread ---------------------------------------------------------------------------------

    def _event_loop(self) -> None:
        try:
            self._discover_nodes()
            while True:
                try:
                    event, what, more = self._events.get(timeout=DISCOVERY_SECONDS)
                except queue.Empty:
                    self._discover_nodes()
                    continue
                if event == "stop":
                    self._fail(what)
                    return
                getattr(self, f"_on_{event}")(what, more)
                self._assign()
                if not self._nodes:
                    self._discover_nodes()
                    if not self._nodes:
                        reasons = "; ".join(self._excluded.values())
                        self._fail(f"no node of the cluster is left to grade on ({reasons})")
                        return
        except Exception as error:
            # Ray's own errors have no common class. Callers that wait must be told.
            self._fail(f"the Ray cluster failed: {type(error).__name__}: {error}")
        finally:
            self._started.set()
            self._all_started.set()
            if self._ray.is_initialized():  # else the process is ending, and Ray has shut down first
                for node in self._nodes.values():
                    self._ray.kill(node.actor)
                self._stored.clear()
                if self._ours:
                    self._ray.shutdown()
            self._nodes.clear()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        jobs, self._jobs = self._jobs, {}
        self._pending.clear()
        while True:  # jobs that were submitted but not yet seen
            try:
                event, what, more = self._events.get_nowait()
            except queue.Empty:
                break
            if event == "submit":
                jobs[what] = more
        for results in {id(job.results): job.results for job in jobs.values()}.values():
            results.put({"kind": "fault", "message": self._failure})

    def _discover_nodes(self) -> None:
        """Start an actor on every node that has none."""
        for node in self._ray.nodes():
            name, cpus = node["NodeID"], int(node["Resources"].get("CPU", 0))
            if node["Alive"] and cpus and name not in self._nodes and name not in self._excluded:
                self._nodes[name] = _Node(name, None, cpus)
                self._start(self._nodes[name])

    def _start(self, node: _Node) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node.workers = 0
        node.actor = (
            self._ray.remote(NodeGrader)
            .options(
                num_cpus=0,
                max_concurrency=1000,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.name, soft=False),
            )
            .remote(self._settings, node.cpus)
        )
        self._when_done(node.actor.start.remote(), "started", node.name, node.starts)

    def _when_done(self, ref: Any, event: str, what: Any, more: Any) -> None:
        events = self._events
        ref.future().add_done_callback(lambda future: events.put((event, what, (more, future))))

    def _on_started(self, name: str, end: tuple[int, Any]) -> None:
        starts, future = end
        node = self._nodes.get(name)
        if node is None or node.starts != starts:
            return
        if future.exception() is not None:
            self._on_lost(node, future.exception())
            return
        reply = future.result()
        reason = reply.get("message")
        if reason is None and self.identity:
            pairs = [(key, reply["identity"][key], self.identity[key]) for key in RULES]
            differ = [f"{key} {theirs!r} and not {ours!r}" for key, theirs, ours in pairs if theirs != ours]
            if differ:
                reason = f"grades by other rules than the first node: {', '.join(differ)}"
        if reason is not None:
            self._exclude(node, reason)
            return
        self.identity = self.identity or reply["identity"]
        node.workers = reply["workers"]
        self._started.set()
        if all(other.workers for other in self._nodes.values()):
            self._all_started.set()

    def _on_lost(self, node: _Node, error: BaseException) -> None:
        """The actor is gone, and perhaps its node."""
        self._ray.kill(node.actor)
        self._reassign(node, error)
        if node.starts >= MOST_STARTS or not any(
            other["NodeID"] == node.name and other["Alive"] for other in self._ray.nodes()
        ):
            self._exclude(node, f"lost: {_one_line(error)}")
            return
        node.starts += 1
        self._start(node)

    def _exclude(self, node: _Node, reason: str) -> None:
        """Use this node no more."""
        self._excluded[node.name] = f"node {node.name[:8]}: {reason}"
        self._nodes.pop(node.name)
        self._ray.kill(node.actor)
        self._reassign(node, reason)
        warnings.warn(f"grading continues without {self._excluded[node.name]}", RuntimeWarning, stacklevel=2)

    def _reassign(self, node: _Node, error: object) -> None:
        """Run the jobs of a lost node elsewhere."""
        assigned, node.assigned = node.assigned, set()
        for number in assigned:
            self._retry(number, error)

    # ---- jobs ---------------------------------------------------------------------------------------

    def _on_submit(self, number: int, job: _Job) -> None:
        self._jobs[number] = job
        self._pending.append(number)

    def _on_forget(self, numbers: list[int], _: None) -> None:
        by_node: dict[str, list[int]] = {}
        for number in numbers:
            job = self._jobs.pop(number, None)
            if job is not None and job.node in self._nodes:
                self._nodes[job.node].assigned.discard(number)
                by_node.setdefault(job.node, []).append(number)
        for name, theirs in by_node.items():
            self._nodes[name].actor.forget.remote(theirs)

    def _assign(self) -> None:
        """Give waiting jobs to nodes with free slots."""
        for _ in range(len(self._pending)):
            number = self._pending.popleft()
            job = self._jobs.get(number)
            if job is None:
                continue
            nodes = [node for node in self._nodes.values() if node.free_slots > 0]
            node = max(nodes, key=lambda node: (node.name != job.failed_on, node.free_slots), default=None)
            if node is None:
                self._pending.appendleft(number)
                return
            stored = self._store(job.problem)
            job.node = node.name
            # Inside a list the reference is passed as it is: the node reads each problem once, not with every job.
            reply = node.actor.grade.remote(number, stored.key, [stored.ref], job.solution)
            node.assigned.add(number)
            self._when_done(reply, "done", number, (node, node.starts))

    def _store(self, problem: Problem) -> _Stored:
        """The problem in the object store, where it is put now if it is not there."""
        stored = self._stored.get(id(problem))
        if stored is None:
            stored = _Stored(problem, next(self._keys), self._ray.put(problem))
            self._stored.put(id(problem), stored)
        return stored

    def _on_done(self, number: int, end: tuple[tuple[_Node, int], Any]) -> None:
        (node, starts), future = end
        job = self._jobs.get(number)
        if job is None or number not in node.assigned:
            return  # cancelled, or assigned to another node meanwhile
        error = future.exception()
        if error is not None:
            gone = not isinstance(error, self._ray.exceptions.RayTaskError)  # else only this call failed
            if gone and self._nodes.get(node.name) is node and node.starts == starts:
                self._on_lost(node, error)
            elif number in node.assigned:
                node.assigned.discard(number)
                self._retry(number, error)
            return
        node.assigned.discard(number)
        reply = future.result()
        if (
            reply["kind"] == "done"
            and reply["grade"].passed is None
            and job.failed_on is None
            and len(self._nodes) > 1
        ):
            job.failed_on = node.name
            self._pending.appendleft(number)
            return
        del self._jobs[number]
        job.results.put({**reply, "job": number})

    def _retry(self, number: int, error: object) -> None:
        """After a loss: run the job again, on another node if there is one."""
        job = self._jobs[number]
        job.losses += 1
        job.node = None
        if job.losses <= MOST_LOSSES:
            self._pending.appendleft(number)
            return
        del self._jobs[number]
        job.results.put({"kind": "done", "job": number, "grade": _lost(job, error)})


def _lost(job: _Job, error: object) -> Grade:
    tests = tuple(CaseResult(index, "not_run") for index in range(len(job.problem.tests)))
    message = f"lost {job.losses} times, last by: {_one_line(error)}"
    return Grade(job.solution.problem_id, job.solution.sample, None, "infra_error", tests, message=message)


def check_reachable(address: str) -> None:
    """Raise OSError at once if nothing listens at the address; Ray itself would retry for many minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
