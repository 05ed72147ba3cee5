"""How jobs find their nodes on a Ray cluster, and what the loss of a node means.

Each node gets one actor (``grading_node``), which holds that node's grader. One thread here decides: it hands out jobs
to the node with most room, a little ahead of its workers, and hears of every end. When a node or an actor is lost, its
jobs are run elsewhere, and the actor is started anew where the node still lives. What a loss does to a program is never
counted against it: a job that was lost four times is ``infra_error``, as is one whose machinery failed on two nodes.
"""

from __future__ import annotations

import itertools
import os
import queue
import socket
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.backend import Mailbox
from opsd_rs.grading.cluster.node import NodeGrader
from opsd_rs.records import CaseResult, Grade, Problem, Solution

START_SECONDS = 120.0
"""Wait for the first node to come up."""
GRACE_SECONDS = 10.0
"""Wait for the others after the first; those that come later are used from then on."""
LOOK_SECONDS = 5.0
"""Between looks for nodes that joined."""
MOST_LOSSES = 3
"""Nodes a job may be lost with and still be tried again; a program that takes nodes down must not take all."""
MOST_STARTS = 3
"""Actors started one after the other on a node that keeps losing them."""
RULES = ("version", "python_version", "sandbox_level", "policy_hash")
"""What must be equal on all nodes; paths may differ."""
SHELF_CHARS = 1 << 28
"""Tests kept in the cluster's object store between calls; least recently used problems make room."""


@dataclass
class _Node:
    """A node with its actor. ``workers`` is 0 until the actor has said that it is up."""

    name: str
    actor: Any
    cpus: int
    starts: int = 1
    workers: int = 0
    under_way: set[int] = field(default_factory=set)

    @property
    def room(self) -> int:
        """Jobs it may still get: a quarter more than run, so that workers seldom wait for this process, and few jobs
        wait behind a slow one while another node is free."""
        return self.workers + self.workers // 4 - len(self.under_way)


@dataclass
class _Job:
    problem: Problem
    solution: Solution
    results: Mailbox
    losses: int = 0
    failed_on: str | None = None
    """The node whose machinery failed it."""
    node: str | None = None


class Cluster:
    """The backend of ``RayGrader``. All but ``check``, ``submit``, ``forget`` and ``close`` runs in its own thread."""

    def __init__(self, ray: Any, address: str, workers: int | None, settings: dict[str, Any]) -> None:
        self._ray = ray
        self._owner = os.getpid()
        self._per_node = workers
        self._settings = settings
        self._failure: str | None = None
        self._numbers = itertools.count()
        self._keys = itertools.count()
        self._events: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._pending: deque[int] = deque()
        self._nodes: dict[str, _Node] = {}
        self._left_out: dict[str, str] = {}
        self._shelf: OrderedDict[int, tuple[Problem, int, Any, int]] = OrderedDict()
        self._shelf_chars = 0
        self.identity: dict[str, Any] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                _knock(address)
                alone = {"include_dashboard": False} if address == "local" else {}
                ray.init(address=address, logging_level="warning", log_to_driver=False, **alone)
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise BadInput(f"ray = {address!r}: no such cluster ({_line(error)})") from None
        self._up, self._all_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._mind, name="opsd-ray", daemon=True)
        self._thread.start()
        self._up.wait(START_SECONDS)
        self._all_up.wait(GRACE_SECONDS)
        if not self.workers:
            reason = self._failure or "no node came up in time"
            self.close(reason)
            raise OpsdError(f"the grader cannot start on this cluster: {reason}")

    @property
    def workers(self) -> int:
        return sum(node.workers for node in list(self._nodes.values()))

    # ---- called by everybody ------------------------------------------------------------------------

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

    def _mind(self) -> None:
        try:
            self._look()
            while True:
                try:
                    event, what, more = self._events.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    self._look()
                    continue
                if event == "stop":
                    self._fail(what)
                    return
                getattr(self, f"_on_{event}")(what, more)
                self._hand_out()
                if not self._nodes:
                    self._look()
                    if not self._nodes:
                        reasons = "; ".join(self._left_out.values())
                        self._fail(f"no node of the cluster is left to grade on ({reasons})")
                        return
        except Exception as error:
            # Ray's own faults have no common class. Whoever waits must be told.
            self._fail(f"the Ray cluster failed: {type(error).__name__}: {error}")
        finally:
            self._up.set()
            self._all_up.set()
            if self._ray.is_initialized():  # else the process is at its end, and Ray was faster
                for node in self._nodes.values():
                    self._ray.kill(node.actor)
                self._shelf.clear()
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

    def _look(self) -> None:
        """Start an actor on every node that has none."""
        for node in self._ray.nodes():
            name, cpus = node["NodeID"], int(node["Resources"].get("CPU", 0))
            if node["Alive"] and cpus and name not in self._nodes and name not in self._left_out:
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
            .remote(self._settings, self._per_node, node.cpus)
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
            self._lose(node, future.exception())
            return
        reply = future.result()
        reason = reply.get("message")
        if reason is None and self.identity:
            pairs = [(key, reply["identity"][key], self.identity[key]) for key in RULES]
            differ = [f"{key} {theirs!r} and not {ours!r}" for key, theirs, ours in pairs if theirs != ours]
            if differ:
                reason = f"grades by other rules than the first node: {', '.join(differ)}"
        if reason is not None:
            self._leave_out(node, reason)
            return
        self.identity = self.identity or reply["identity"]
        node.workers = reply["workers"]
        self._up.set()
        if all(other.workers for other in self._nodes.values()):
            self._all_up.set()

    def _lose(self, node: _Node, error: BaseException) -> None:
        """The actor is gone, and perhaps its node."""
        self._ray.kill(node.actor)
        self._take_back(node, error)
        if node.starts >= MOST_STARTS or not any(
            other["NodeID"] == node.name and other["Alive"] for other in self._ray.nodes()
        ):
            self._leave_out(node, f"lost: {_line(error)}")
            return
        node.starts += 1
        self._start(node)

    def _leave_out(self, node: _Node, reason: str) -> None:
        self._left_out[node.name] = f"node {node.name[:8]}: {reason}"
        self._nodes.pop(node.name)
        self._ray.kill(node.actor)
        self._take_back(node, reason)
        warnings.warn(f"grading goes on without {self._left_out[node.name]}", RuntimeWarning, stacklevel=2)

    def _take_back(self, node: _Node, error: object) -> None:
        under_way, node.under_way = node.under_way, set()
        for number in under_way:
            self._again(number, error)

    # ---- jobs ---------------------------------------------------------------------------------------

    def _on_submit(self, number: int, job: _Job) -> None:
        self._jobs[number] = job
        self._pending.append(number)

    def _on_forget(self, numbers: list[int], _: None) -> None:
        by_node: dict[str, list[int]] = {}
        for number in numbers:
            job = self._jobs.pop(number, None)
            if job is not None and job.node in self._nodes:
                self._nodes[job.node].under_way.discard(number)
                by_node.setdefault(job.node, []).append(number)
        for name, theirs in by_node.items():
            self._nodes[name].actor.forget.remote(theirs)

    def _hand_out(self) -> None:
        for _ in range(len(self._pending)):
            number = self._pending.popleft()
            job = self._jobs.get(number)
            if job is None:
                continue
            nodes = [node for node in self._nodes.values() if node.room > 0]
            node = max(nodes, key=lambda node: (node.name != job.failed_on, node.room), default=None)
            if node is None:
                self._pending.appendleft(number)
                return
            key, ref = self._shelve(job.problem)
            # Inside a list the reference travels as it is: the node reads each problem once, not with every job.
            job.node = node.name
            reply = node.actor.grade.remote(number, key, [ref], job.solution)
            node.under_way.add(number)
            self._when_done(reply, "done", number, (node, node.starts))

    def _shelve(self, problem: Problem) -> tuple[int, Any]:
        known = self._shelf.pop(id(problem), None)
        if known is None:
            num_chars = sum(len(test.input) + len(test.output) for test in problem.tests)
            known = problem, next(self._keys), self._ray.put(problem), num_chars
            self._shelf_chars += num_chars
        self._shelf[id(problem)] = known  # holding the problem keeps its id() from being given away
        while self._shelf_chars > SHELF_CHARS and len(self._shelf) > 1:
            self._shelf_chars -= self._shelf.popitem(last=False)[1][3]
        return known[1], known[2]

    def _on_done(self, number: int, end: tuple[tuple[_Node, int], Any]) -> None:
        (node, starts), future = end
        job = self._jobs.get(number)
        if job is None or number not in node.under_way:
            return  # forgotten, or given to another node meanwhile
        error = future.exception()
        if error is not None:
            gone = not isinstance(error, self._ray.exceptions.RayTaskError)  # else only this call failed
            if gone and self._nodes.get(node.name) is node and node.starts == starts:
                self._lose(node, error)
            elif number in node.under_way:
                node.under_way.discard(number)
                self._again(number, error)
            return
        node.under_way.discard(number)
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

    def _again(self, number: int, error: object) -> None:
        """After a loss: once more, elsewhere if there is an elsewhere."""
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
    message = f"lost {job.losses} times, last by: {_line(error)}"
    return Grade(
        job.solution.problem_id,
        job.solution.sample,
        None,
        "infra_error",
        tests,
        metadata={"message": message},
    )


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray itself would go on trying for many minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
