"""The sweep itself: starts what can start, takes the rows of what has ended, repeats what failed, stops when asked.

One process and one thread: a look at every child a few times a second. Everything that it knows is on disk before it
acts on it, so it may be killed at any moment: the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from opsd_rs.base import StopNow, StopSignals
from opsd_rs.errors import BadInput
from opsd_rs.sweep.children import Child
from opsd_rs.sweep.folder import Rows, set_aside, share_done, standing, tidy
from opsd_rs.sweep.grid import Grid
from opsd_rs.sweep.journal import Journal, longest, usual
from opsd_rs.sweep.skips import forecast_that_skips
from opsd_rs.sweep.slots import Slot, together
from opsd_rs.sweep.tasks import Task, command

LOOK_SECONDS = 0.1
STARTING_MINUTES = 15.0
"""A run that has shown no sign of its start for so long no longer keeps its GPU's other runs from starting."""
KILL_SECONDS = 20.0
"""How long a run that was asked twice to end may take."""


@dataclass
class Counts:
    """Runs by state.

    >>> Counts(total=8, done=3, running=2, failed=1, skipped=0).left
    2
    """

    total: int
    done: int
    running: int
    failed: int
    skipped: int

    @property
    def left(self) -> int:
        """Not started, or to be started again."""
        return self.total - self.done - self.running - self.failed - self.skipped


class Schedule:
    """Runs the tasks of a grid on the slots of a machine."""

    def __init__(
        self,
        grid: Grid,
        tasks: Sequence[Task],
        slots: Sequence[Slot],
        *,
        journal: Journal,
        rows: Rows,
        stop: StopSignals,
        say: Callable[[str], None],
        end: float | None = None,
    ) -> None:
        """``end``: on the monotonic clock, before which every run that is started ought to end."""
        self._grid, self._tasks, self._slots = grid, tasks, slots
        self._journal, self._rows, self._stop, self._say = journal, rows, stop, say
        self._out = Path(grid.out)
        self._running: dict[int, tuple[Task, Child]] = {}
        self._end = end
        self._held: set[str] = set()
        self._blocked: dict[str, str] = {}
        self._skipped: set[str] = set()
        self._run_names = {task.name for task in tasks if task.kind == "run"}

    # ---- what there is to do ------------------------------------------------------------------------

    @property
    def runs(self) -> list[Task]:
        return [task for task in self._tasks if task.kind == "run"]

    @property
    def held(self) -> list[str]:
        """Runs that were not started because they would not have ended in time."""
        return [task.name for task in self.runs if task.name in self._held]

    def counts(self) -> Counts:
        """The runs by state."""
        runs = self.runs
        return Counts(
            total=len(runs),
            done=sum(self._is_done(task) for task in runs),
            running=sum(task.kind == "run" for task, _ in self._running.values()),
            failed=len(self.failed()),
            skipped=len(self._skipped),
        )

    def failed(self) -> dict[str, str]:
        """Runs that are given up, and those whose measurement is, with the reason."""
        found = {
            task.name: self._journal.of(task.name).reason or ""
            for task in self.runs
            if self._journal.of(task.name).given_up and not self._is_done(task)
        }
        return {name: why for name, why in self._blocked.items() if name in self._run_names} | found

    def _is_done(self, task: Task) -> bool:
        if task.measurement is None:
            return task.name in self._rows.of
        return task.measurement.is_in(self._journal.of(task.name).last)

    # ---- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until nothing is left that can start, or a signal or the time limit ends it.

        :raises Stopped: on a signal, once every run has stopped
        """
        self._take_rows()
        try:
            while True:
                self._reap()
                self._stop.check()
                self._fill()
                if not self._running:
                    return
                time.sleep(LOOK_SECONDS)
        except StopNow:
            self._end_all(patience=KILL_SECONDS)
            raise
        finally:
            self._end_all(patience=None)

    def _end_all(self, patience: float | None) -> None:
        """Ask every run to stop and wait for it; with ``patience`` kill what takes longer."""
        for _, child in self._running.values():
            child.stop()
        end = None if patience is None else time.monotonic() + patience
        try:
            while self._running:
                self._reap(stopping=True)
                if end is not None and time.monotonic() > end:
                    break
                time.sleep(LOOK_SECONDS)
        except StopNow:
            for _, child in self._running.values():
                child.stop()  # for the second time: it ends where it stands
            end = time.monotonic() + KILL_SECONDS
            while any(child.ended() is None for _, child in self._running.values()):
                if time.monotonic() > end:
                    break
                time.sleep(LOOK_SECONDS)
            raise
        finally:
            for _, child in self._running.values():
                child.kill()
            self._running.clear()

    def _fill(self) -> None:
        for slot in self._slots:
            if slot not in self._free() or self._is_starting(slot.gpu):
                continue
            task = self._next()
            if task is None:
                return
            if task.measurement is not None:
                # Runs wait for it: it takes all that is free beside it.
                slot = together([slot, *(s for s in self._free() if s.gpu == slot.gpu and s != slot)])
            self._start(task, slot)

    def _free(self) -> list[Slot]:
        taken = {
            number for _, child in self._running.values() for number in (child.slot.number, *child.slot.also)
        }
        return [slot for slot in self._slots if slot.number not in taken]

    def _next(self) -> Task | None:
        running = {task.name for task, _ in self._running.values()}
        for task in self._tasks:
            history = self._journal.of(task.name)
            if task.name in running or task.name in self._skipped or history.given_up:
                continue
            if self._is_done(task):
                continue
            if task.measurement is not None and not self._is_needed(task):
                continue
            waits = self._waits_for(task)
            if waits or task.name in self._blocked or not self._fits(task):
                continue
            if task.kind == "run" and self._skips(task):
                continue
            return task
        return None

    def _is_needed(self, measured: Task) -> bool:
        """Whether a run is left that takes this measurement."""
        return any(
            measured.measurement in task.needs and not self._is_done(task)
            for task in self._tasks
            if not self._journal.of(task.name).given_up and task.name not in self._skipped
        )

    def _waits_for(self, task: Task) -> bool:
        by_name = {other.name: other for other in self._tasks}
        for needed in task.needs:
            if self._is_done(by_name[needed.name]):
                continue
            if self._journal.of(needed.name).given_up or needed.name in self._blocked:
                why = self._journal.of(needed.name).reason or self._blocked.get(needed.name)
                self._blocked[task.name] = f"measurement {needed.name} failed: {why}"
            return True
        return False

    def _fits(self, task: Task) -> bool:
        """Whether it can end in time, by the longest run of its model and recipe so far and the steps it has saved."""
        if self._end is None:
            return True
        expected = self._expected(task) or 0.0
        if task.kind == "run":
            expected *= 1.0 - share_done(task.cell)
        fits = time.monotonic() + 60 * expected <= self._end
        if not fits and task.kind == "run":
            self._held.add(task.name)
        return fits

    def _expected(self, task: Task) -> float | None:
        """Minutes of a task: the longest of its kind, model and recipe so far, else of its kind."""
        done = [other for other in self._tasks if other.kind == task.kind and self._minutes(other)]
        alike = [
            other
            for other in done
            if (other.cell.model, other.cell.recipe) == (task.cell.model, task.cell.recipe)
        ]
        return longest(self._minutes(other) for other in alike or done)

    def _minutes(self, task: Task) -> float:
        if not self._is_done(task):
            return 0.0
        row = self._rows.of.get(task.name)
        return self._journal.of(task.name).minutes or float((row or {}).get("minutes") or 0.0)

    def _skips(self, task: Task) -> bool:
        """Whether the law says that the run need not be made; it is listed, then."""
        law, gaps = self._grid.skip_by_law, [found for found in task.needs if found.kind == "gap"]
        history = self._journal.of(task.name)
        if law is None or history.attempts:
            return False
        table = gaps[0].table if gaps else Path(str(task.cell.config.gap.from_))
        try:
            forecast = forecast_that_skips(law, table, task.cell.config)
        except BadInput as error:  # no advice is no reason to leave a run out
            self._say(f"run {task.name} is run, {law} has no forecast of it: {error}")
            return False
        if forecast is not None:
            self._skipped.add(task.name)
            if history.skipped != forecast:
                self._journal.add(task.name, "skipped", reason=forecast)
            self._say(f"run {task.name} is skipped by {law}: {forecast}")
        return forecast is not None

    # ---- starting and ending ------------------------------------------------------------------------

    def _is_starting(self, gpu: str | None) -> bool:
        """Whether a vLLM is measuring the memory of this GPU: it fails where a neighbour's memory moves meanwhile."""
        for task, child in self._running.values():
            if child.slot.gpu == gpu and gpu is not None and task.cell.config.rollout.engine == "vllm":
                mark = _folder(task) / "progress.json"  # written when the first phase begins
                is_up = mark.exists() and mark.stat().st_mtime >= child.started
                # A baseline leaves no such mark: it gets a few minutes.
                patience = STARTING_MINUTES if task.kind != "baseline" else STARTING_MINUTES / 5
                if not is_up and child.minutes < patience:
                    return True
        return False

    def _start(self, task: Task, slot: Slot) -> None:
        history = self._journal.of(task.name)
        if task.kind == "run":
            run_dir, found = _folder(task), standing(task.cell)
            refused = history.last.get("event") == "failed" and history.last.get("exit") == 2
            if found == "lost" or (found == "begun" and refused):
                why = "it cannot be resumed" if refused else "no checkpoint of it is there"
                self._say(f"run {task.name} begins again: {why}; {set_aside(run_dir)} has what it left")
        words = command(task, self._grid, slot)
        self._journal.add(task.name, "started", gpu=slot.gpu, words=words)
        child = Child(words, slot, self._out / "logs" / f"{task.name}.log")
        self._running[slot.number] = (task, child)
        where = "CPU" if slot.gpu is None else f"GPU {slot.gpu}"
        again = f", start {history.attempts}" if history.attempts > 1 else ""
        self._say(f"{task.title} starts on {where}{again}")

    def _reap(self, *, stopping: bool = False) -> None:
        for number, (task, child) in list(self._running.items()):
            code = child.ended()
            if code is None:
                continue
            del self._running[number]
            self._ended(task, child, code, stopping=stopping)

    def _ended(self, task: Task, child: Child, code: int, *, stopping: bool) -> None:
        minutes = round(child.minutes, 3)
        if code == 0 and self._finished(task, minutes):
            self._say(f"{task.title} is done ({minutes:.1f} min)")
        elif stopping:
            self._journal.add(task.name, "stopped", minutes=minutes, exit=code, reason=child.reason())
        else:
            reason = "it ended without a result" if code == 0 else child.reason()
            self._journal.add(task.name, "failed", minutes=minutes, exit=code, reason=reason)
            given_up = self._journal.of(task.name).given_up
            self._say(f"{task.title} failed{' again' if given_up else ', it is repeated once'}: {reason}")
        self._say(self.progress_line())

    def _finished(self, task: Task, minutes: float) -> bool:
        """Take over what a task has made; False where it has made nothing."""
        if task.measurement is not None:
            if not task.measurement.table.exists():
                return False
            facts = {"settings": task.measurement.settings, "contexts": task.measurement.contexts}
            self._journal.add(task.name, "done", minutes=minutes, **facts)
            return True
        history = self._journal.of(task.name)
        total = history.minutes + minutes
        if self._rows.take(task.cell, _folder(task), attempts=history.attempts, minutes=total) is None:
            return False
        self._journal.add(task.name, "done", minutes=minutes)
        tidy(_folder(task), self._grid.keep)
        return True

    def _take_rows(self) -> None:
        """Rows of runs that had ended when the sweep was killed, before it took them."""
        for task in self.runs:
            self._rows.check(task.cell)
            if self._is_done(task):
                continue
            if standing(task.cell) == "ended":
                self._finished(task, 0.0)

    # ---- what is said -------------------------------------------------------------------------------

    def progress_line(self) -> str:
        """``3 of 8 runs done, 2 running, 0 failed, 3 left; 1.2 min a run, end at about 17:05``."""
        counts = self.counts()
        line = f"{counts.done} of {counts.total} runs done, {counts.running} running, {counts.failed} failed"
        line += f", {counts.skipped} skipped" if counts.skipped else ""
        line += f", {counts.left} left"
        each = usual(minutes for task in self.runs if (minutes := self._minutes(task)))
        if each is None:
            return line
        line += f"; {each:.1f} min a run"
        if counts.left + counts.running:
            ahead = each * (counts.left + counts.running / 2) / len(self._slots)
            line += f", end at about {datetime.now() + timedelta(minutes=max(ahead, each / 2)):%H:%M}"
        return line


def _folder(task: Task) -> Path:
    return Path(task.cell.config.run.dir) if task.measurement is None else task.measurement.folder
