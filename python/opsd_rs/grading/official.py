"""What an official profile needs from Python itself: the words of its JSON reader, the spelling of its values.

The supervisor judges without Python. Where LiveCodeBench's runner would have shown Python's own text (a value from the
tests' JSON, why a text is no JSON), that text is made here, in the process that owns the tests.
What this file does not do: run a program, or compare.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from opsd_rs import _core
from opsd_rs.records import Problem

Profile = Literal["strict", "lcb-2025-05", "lcb-2025-01"]
PROFILES: tuple[Profile, ...] = ("strict", "lcb-2025-05", "lcb-2025-01")

MOST_DIGITS = 50_000
"""Longest integer that the official runner reads or writes."""
LONGEST_TEXT = 300
"""Characters of a text in the official metadata; a longer one loses its middle."""


@dataclass(frozen=True, slots=True)
class Sample(Problem):
    """A problem in the official runner's own form, with what that form can hold and ours cannot.

    ``oddities`` has the keys of ``rust/grade/src/types/official.rs``: ``num_inputs``, ``defect``, ``tests``.

    >>> Sample("x", "", (), oddities={"num_inputs": 2}).oddities
    {'num_inputs': 2}
    """

    oddities: Mapping[str, Any] = field(default_factory=dict)


def oddities(problem: Problem) -> Mapping[str, Any]:
    """What is odd about a problem's tests under the official rules."""
    if isinstance(problem, Sample):
        return problem.oddities
    inputs, outputs = [test.input for test in problem.tests], [test.output for test in problem.tests]
    if problem.entry_point is None:
        return {"tests": odd_tests(inputs, outputs)}
    # Python's reader takes ten times as long.
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate
        if _core.all_plain_json([*(line for text in inputs for line in text.split("\n")), *outputs]):
            return {"defect": None}
    return {"defect": defect(inputs, outputs)}


def defect(inputs: Iterable[Any], outputs: Iterable[Any]) -> str | None:
    """Why a function's tests cannot be read, in the words of Python's reader; None: they can.

    >>> defect(["1\\n[2]"], ["3"]), defect(["1\\n"], ["3"])
    (None, 'Expecting value: line 1 column 1 (char 0)')
    """
    try:
        for text in inputs:
            for line in text.split("\n"):
                read(line)
            if half := half_a_pair(text):
                return str(half)  # it cannot be handed over as it is
        for text in outputs:
            read(text)
            if half := half_a_pair(text):
                return str(half)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return str(error)
    return None


class _Digits:
    """An integer as its digits: this interpreter may refuse to convert as many as the runner takes."""

    def __init__(self, text: str) -> None:
        count = len(text.lstrip("-"))
        if count > MOST_DIGITS:
            raise ValueError(
                f"Exceeds the limit ({MOST_DIGITS} digits) for integer string conversion: value has {count} digits; "
                "use sys.set_int_max_str_digits() to increase the limit"
            )
        self._text = text

    def __repr__(self) -> str:
        return "0" if self._text == "-0" else self._text


def read(text: Any) -> Any:
    """``json.loads`` under the runner's limit on digits. Integers may come back as objects that only have a repr."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # more digits than this interpreter converts
        return json.loads(text, parse_int=_Digits)


def cut(value: Any) -> str:
    """A value's text, without its middle where it is long.

    >>> cut([1, "a"]), len(cut("x" * 1000))
    ("[1, 'a']", 318)
    """
    text = value if isinstance(value, str) else str(value)
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]}...(truncated) ...{text[-half:]}"


def metadata(official: Mapping[str, Any]) -> dict[str, Any]:
    """The official metadata of a reply, its expected value spelled."""
    found: dict[str, Any] = json.loads(official["metadata"])
    if found.get("expected", "") is None:
        found["expected"] = spelled(official["expected_json"])
    return found


def spelled(text: str) -> str:
    """How the runner shows the value of a JSON text.

    >>> spelled('[1.50, "a", true]')
    "[1.5, 'a', True]"
    """
    try:
        return cut(read(text))
    except ValueError:  # an integer that can be read here but not written
        return cut(json.loads(text, parse_int=_Digits))


def grade_metadata(found: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``Grade.metadata`` that a reply's official half fills: results, metadata, second profile."""
    entries: dict[str, Any] = {}
    if found["official"] is not None:
        entries["official_results"] = found["official"]["results"]
        entries["official_metadata"] = metadata(found["official"])
    if found["also"] is not None:
        entries["also"] = _also(found["also"])
    return entries


def _also(also: Mapping[str, Any]) -> dict[str, Any]:
    """A second profile's verdict. ``passed`` is None where it has none, and then ``message`` says why."""
    graded = also["grade"]
    if "Err" in graded:
        refusal = {"verdict": None, "passed": None, "message": graded["Err"]}
        return {"profile": also["profile"], **refusal, "official_results": None, "official_metadata": None}
    second = graded["Ok"]
    official = second["official"]
    return {
        "profile": also["profile"],
        "verdict": second["verdict"],
        "passed": second["passed"],
        "message": second["message"],
        "official_results": None if official is None else official["results"],
        "official_metadata": None if official is None else metadata(official),
    }


def odd_tests(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """What the runner does with stdin tests whose input or output is no string. One that holds half a surrogate pair
    cannot be handed over; no program passes it here, whatever the runner says.

    >>> odd_tests(["1", "\\ud800"], ["2", "3"])[0]["index"]
    1
    """
    found = []
    for index, (given, wanted) in enumerate(zip(inputs, outputs, strict=False)):
        odd: dict[str, Any] = {}
        if not isinstance(given, str):
            odd["shown_input"] = cut(given)
            try:
                "\n".join(given) if isinstance(given, list) else given.split("\n")
            except (TypeError, AttributeError) as error:
                odd["input_error"] = repr(error)
        elif half := half_a_pair(given):
            odd["input_error"] = repr(half)
        if not isinstance(wanted, str):
            odd["shown_output"] = cut(wanted)
            try:
                wanted.strip()
            except AttributeError as error:
                odd["output_error"] = str(error)
        elif half := half_a_pair(wanted):
            odd["output_error"] = str(half)
        if odd:
            found.append({"index": index, **odd})
    return found


def half_a_pair(text: str) -> UnicodeEncodeError | None:
    """Why a text has no UTF-8 form, in Python's words; None: it has one.

    >>> half_a_pair("a"), str(half_a_pair("\\ud800"))[:27]
    (None, "'utf-8' codec can't encode ")
    """
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error
    return None
