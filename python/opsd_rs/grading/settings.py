"""What a grader is asked for, made ready for its supervisor: levels, limits, comparator, extraction, feedback style.

In: the words of a caller. Out: what the Rust crate ``grade`` reads as its settings. The words are checked by the Rust
side, which alone knows them; the text of a checker program is read here, because the supervisor may read no files of
the caller's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, get_args

from opsd_rs.errors import BadInput

Stop = Literal["never", "first-timeout", "first-failure"]
Isolation = Literal["solution", "test"]
Level = Literal["S3", "S2", "S2j", "S1", "S0"]
LEVELS: tuple[Level, ...] = ("S3", "S2", "S2j", "S1", "S0")
"""Levels of isolation, best first."""


FeedbackStyle = Literal["leetcode", "sdpo", "lcb", "none"]
CHECKER = "checker:"


def amounts(*, whole: bool, **given: float | None) -> dict[str, Any]:
    """Limits as given, None for those left to their defaults.

    :param whole: whether they must be whole numbers
    :raises BadInput: not a number above 0

    >>> amounts(whole=True, memory_mib=64, threads=None)
    {'memory_mib': 64, 'threads': None}
    """
    kinds, words = ((int,), "a whole number") if whole else ((int, float), "a number")
    for name, value in given.items():
        sound = value is None or (isinstance(value, kinds) and not isinstance(value, bool))
        if not sound or (value is not None and not 0 < value < math.inf):
            raise BadInput(f"{name} = {value!r}: must be {words} above 0")
    return given


def comparator(rule: str, where: str = "") -> dict[str, Any]:
    """``official``, ``exact``, ``tokens``, ``tokens_ci``, ``float`` (``float:1e-6``, ``float:abs=1e-9,rel=1e-6``) or
    ``checker:PATH``.

    :param where: what a message begins with
    :raises BadInput: no such rule, or a checker program that cannot be read

    >>> comparator("float:abs=1e-9")
    {'rule': 'float:abs=1e-9', 'checker': None}
    """
    from opsd_rs import _core

    if not isinstance(rule, str):
        raise BadInput(f"{where}compare = {rule!r}: must be a string")
    if not rule.startswith(CHECKER):
        try:
            _core.same_output(b"", b"", rule)
        except BadInput as error:
            raise BadInput(f"{where}{error}") from None
        return {"rule": rule, "checker": None}
    path = Path(rule.removeprefix(CHECKER)).expanduser()
    try:
        return {"rule": rule, "checker": path.read_text(encoding="utf-8")}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise BadInput(
            f"{where}compare = {rule!r}: {path}: {reason}: name a Python program that can be read"
        ) from None


def extraction(rule: str) -> str:
    """``last``, ``first``, ``longest``, ``official``, ``official:GenericBase``, ``official:CodeLLaMaInstruct``, each
    also behind ``after-think:``.

    :raises BadInput: no such rule
    """
    from opsd_rs import _core

    if not isinstance(rule, str):
        raise BadInput(f"extract = {rule!r}: must be a string")
    _core.extract_code("", rule)
    return rule


def feedback_text(style: bool | str, max_chars: int) -> dict[str, Any]:
    """A style by name; True is ``leetcode``, False ``none``.

    :raises BadInput: no such style, or a budget too small for its headers

    >>> feedback_text(True, 2000)
    {'style': 'leetcode', 'max_chars': 2000}
    """
    name = {True: "leetcode", False: "none"}.get(style, style) if isinstance(style, bool) else style
    if name not in get_args(FeedbackStyle):
        raise BadInput(
            f"feedback = {style!r}: must be True, False or one of {', '.join(get_args(FeedbackStyle))}"
        )
    if isinstance(max_chars, bool) or not isinstance(max_chars, int) or max_chars < 300:
        raise BadInput(f"feedback_chars = {max_chars!r}: must be an integer of at least 300")
    return {"style": name, "max_chars": max_chars}
