"""The nearest known name to a misspelled one, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def near(word: str, known: Sequence[str]) -> str:
    """``; did you mean X?``, or nothing when nothing known is close to ``word``.

    >>> near("topkk", ["topk", "tail"]), near("seed", ["tail"])
    ('; did you mean topk?', '')
    """
    score = {name: difflib.SequenceMatcher(None, name, word).ratio() for name in known}
    best = max(score.values(), default=0.0)
    matches = [name for name in known if best >= 0.6 and score[name] > best - 0.02][:3]
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
