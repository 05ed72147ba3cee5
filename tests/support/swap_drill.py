"""``opsd-rs train``, and a fault while the teacher's weights are in the student's parameters.

``swap_drill.py FAULT UPDATES MARK WORDS...``: FAULT is ``kill`` (SIGKILL), ``term`` (SIGTERM), ``nan`` (the weights
that are in become NaN) or ``none``. It comes once, after UPDATES optimizer steps, and is written into MARK first.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsd_rs.cli import main
from opsd_rs.policy import Student

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULT, UPDATES, MARK = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
lent = Student.lent
due = [FAULT] if FAULT != "none" else []


@contextmanager
def faulty(self: Student, *args: Any, **words: Any) -> Iterator[None]:
    """``Student.lent`` with the fault in it."""
    with lent(self, *args, **words):
        if due and self.num_optimizer_steps == UPDATES:
            fault = due.pop()
            MARK.write_text(fault)
            if fault == "nan":
                next(self.engine.module.parameters()).data.fill_(float("nan"))
            else:
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM}[fault])
        yield


Student.lent = faulty  # type: ignore[method-assign]
main(["train", *sys.argv[4:]])
