"""The errors of this package, by who has to act. The command line prints each as one line with an exit code.

A candidate program that fails its test is data (a verdict), never an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class OpsdError(Exception):
    """Our own fault, or a fault we could not attribute: exit code 1."""

    exit_code = 1


class BadInput(OpsdError):
    """The user's input, configuration or data: the message names the file, key or step and the fix."""

    exit_code = 2


class DiskFull(OpsdError):
    """No space left for a file: the message names the folder, the file and the fix. See ``base.disk``."""


class Stopped(OpsdError):
    """A run that ended early with a checkpoint to resume from (dead engine, NaN, SIGTERM)."""

    exit_code = 3


def near(word: str, known: Sequence[str]) -> str:
    """``; did you mean X?``, or nothing when nothing known is close to ``word``.

    >>> near("topkk", ["topk", "tail"]), near("seed", ["tail"])
    ('; did you mean topk?', '')
    """
    score = {name: difflib.SequenceMatcher(None, name, word).ratio() for name in known}
    best = max(score.values(), default=0.0)
    matches = [name for name in known if best >= 0.6 and score[name] > best - 0.02][:3]
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
