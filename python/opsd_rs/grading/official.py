"""What an official profile needs from Python itself: the messages of its JSON reader, the text of its values.

The supervisor judges without Python. Where LiveCodeBench's runner would have shown Python's own text (a value from the
tests' JSON, why a text is no JSON), that text is made here, in the process that holds the tests.
What this file does not do: run a program, or compare.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsd_rs import _core
from opsd_rs.config import Profile as Profile
from opsd_rs.records import Problem, SecondVerdict

MOST_DIGITS = 50_000
"""Longest integer that the official runner reads or writes."""
LONGEST_TEXT = 300
"""Characters of a text in the official metadata; a longer one loses its middle."""


@dataclass(frozen=True, slots=True)
class Sample(Problem):
    """A problem in the official runner's own form, with what that form can hold and ours cannot.

    ``quirks`` has the keys of ``rust/grade/src/types/official.rs``: ``num_inputs``, ``defect``, ``tests``.

    >>> Sample("x", "", (), quirks={"num_inputs": 2}).quirks
    {'num_inputs': 2}
    """

    quirks: Mapping[str, Any] = field(default_factory=dict)


def quirks(problem: Problem) -> Mapping[str, Any]:
    """What of a problem's tests the official runner treats in its own way."""
    if isinstance(problem, Sample):
        return problem.quirks
    inputs, outputs = [test.input for test in problem.tests], [test.output for test in problem.tests]
    if problem.entry_point is None:
        return {"tests": quirks_of_tests(inputs, outputs)}
    # Python's reader takes ten times as long.
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate
        if _core.all_plain_json([*(line for text in inputs for line in text.split("\n")), *outputs]):
            return {"defect": None}
    return {"defect": defect(inputs, outputs)}


def defect(inputs: Iterable[Any], outputs: Iterable[Any]) -> str | None:
    """Why a function's tests cannot be read, as Python's reader says it; None: they can.

    >>> defect(["1\\n[2]"], ["3"]), defect(["1\\n"], ["3"])
    (None, 'Expecting value: line 1 column 1 (char 0)')
    """
    try:
        for text in inputs:
            for line in text.split("\n"):
                read(line)
            if surrogate := lone_surrogate(text):
                return str(surrogate)  # such a text cannot be passed to a program
        for text in outputs:
            read(text)
            if surrogate := lone_surrogate(text):
                return str(surrogate)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return str(error)
    return None


class _Digits:
    """An integer as its digits: this interpreter may refuse to convert as many as the runner accepts."""

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


def shortened(value: Any) -> str:
    """A value's text, without its middle if it is long.

    >>> shortened([1, "a"]), len(shortened("x" * 1000))
    ("[1, 'a']", 318)
    """
    text = value if isinstance(value, str) else str(value)
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]}...(truncated) ...{text[-half:]}"


def metadata(official: Mapping[str, Any]) -> dict[str, Any]:
    """The official metadata of a reply, with the expected value as Python's text."""
    found: dict[str, Any] = json.loads(official["metadata"])
    if found.get("expected", "") is None:
        found["expected"] = python_text(official["expected_json"])
    return found


def python_text(text: str) -> str:
    """How the runner shows the value of a JSON text.

    >>> python_text('[1.50, "a", true]')
    "[1.5, 'a', True]"
    """
    try:
        return shortened(read(text))
    except ValueError:  # an integer that can be read here but not written
        return shortened(json.loads(text, parse_int=_Digits))


def official_fields(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``Grade`` that the official part of a reply fills: results, metadata, second profile."""
    official, also = reply["official"], reply["also"]
    return {**_official(official), "also": None if also is None else _second(also["profile"], also["grade"])}


def _official(official: Mapping[str, Any] | None) -> dict[str, Any]:
    if official is None:
        return {}
    return {"official_results": tuple(official["results"]), "official_metadata": metadata(official)}


def _second(profile: str, graded: Mapping[str, Any]) -> SecondVerdict:
    if "Err" in graded:
        return SecondVerdict(profile, None, None, message=graded["Err"])
    second = graded["Ok"]
    official = _official(second["official"])
    return SecondVerdict(profile, second["verdict"], second["passed"], second["message"], **official)


def quirks_of_tests(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """What the runner does with stdin tests whose input or output is no string. A test with a lone surrogate cannot be
    passed to a program; none passes it here, whatever the runner says.

    >>> quirks_of_tests(["1", "\\ud800"], ["2", "3"])[0]["index"]
    1
    """
    found = []
    for index, (given, wanted) in enumerate(zip(inputs, outputs, strict=False)):
        quirk: dict[str, Any] = {}
        if not isinstance(given, str):
            quirk["shown_input"] = shortened(given)
            try:
                "\n".join(given) if isinstance(given, list) else given.split("\n")
            except (TypeError, AttributeError) as error:
                quirk["input_error"] = repr(error)
        elif surrogate := lone_surrogate(given):
            quirk["input_error"] = repr(surrogate)
        if not isinstance(wanted, str):
            quirk["shown_output"] = shortened(wanted)
            try:
                wanted.strip()
            except AttributeError as error:
                quirk["output_error"] = str(error)
        elif surrogate := lone_surrogate(wanted):
            quirk["output_error"] = str(surrogate)
        if quirk:
            found.append({"index": index, **quirk})
    return found


def lone_surrogate(text: str) -> UnicodeEncodeError | None:
    """Why a text has no UTF-8 form, in Python's words; None: it has one.

    >>> lone_surrogate("a"), str(lone_surrogate("\\ud800"))[:27]
    (None, "'utf-8' codec can't encode ")
    """
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error
    return None
