"""Values in texts: JSON, or what Python's ``repr`` wrote; of integers of any length; and back to JSON.

Data sets keep tests as text, because a table cannot hold lists of several types. Some were written by ``json.dumps``,
some by ``str``; some twice. Nothing is evaluated: a Python text is read as a literal.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Mapping
from typing import Any


class Digits:
    """An integer of more digits than this interpreter converts, as its text.

    >>> dumps([loads("-" + "7" * 5000)]) == "[-" + "7" * 5000 + "]"
    True
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text if len(self.text) <= 20 else f"{self.text[:20]}..."


def _integer(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return Digits(text)


_LONG = json.JSONDecoder(parse_int=_integer)


def loads(text: str | bytes) -> Any:
    """``json.loads``, for integers of any length.

    :raises ValueError: not JSON, or nested too deep
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except ValueError:  # more digits than this interpreter converts
        return _LONG.decode(text)


def raw_decode(text: str, position: int) -> tuple[Any, int]:
    """As ``json.JSONDecoder.raw_decode``, for integers of any length."""
    try:
        return _PLAIN.raw_decode(text, position)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _LONG.raw_decode(text, position)


_PLAIN = json.JSONDecoder()


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """The value as JSON text, integers of any length included."""
    kept: list[Digits] = []

    def default(found: Any) -> str:
        if not isinstance(found, Digits):
            raise TypeError(f"{type(found).__name__} is no JSON value")
        kept.append(found)
        return f"{_MARK}{len(kept) - 1}{_MARK}"

    text = json.dumps(value, ensure_ascii=False, default=default, sort_keys=sort_keys)
    return re.sub(f'"{_MARK}(\\d+){_MARK}"', lambda found: kept[int(found[1])].text, text) if kept else text


_MARK = "\ue0d1"
"""Of the private use area: around the place of a long integer for a moment."""


def parse(text: str) -> Any:
    """The value of a text of JSON or of a Python literal; where that is such a text itself, its value.

    :raises ValueError: neither, as the JSON reader says it

    >>> parse('{"a": [null]}'), parse("{'a': (None, True)}"), parse('"[1, 2]"')
    ({'a': [None]}, {'a': [None, True]}, [1, 2])
    """
    try:
        value = loads(text)
    except ValueError as error:
        if text.lstrip()[:1] not in _LITERALS:
            raise
        try:
            return literal(text)
        except ValueError:
            raise error from None
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return parse(value)
        except ValueError:
            return value
    return value


_LITERALS = ("[", "{", "(", "'", '"')
"""Heads of the texts that are tried as Python: prose and packed data are not."""


def literal(text: str) -> Any:
    """A Python literal as a JSON value: tuples become lists.

    :raises ValueError: no literal, or a value that JSON does not have (a set, bytes, a key that is no text)
    """
    try:
        return as_json(ast.literal_eval(text.strip()))
    except (SyntaxError, ValueError) as error:
        if "integer string conversion" not in str(error):
            raise ValueError(f"not a Python literal ({str(error).splitlines()[0]})") from None
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deep") from error
    return _restored(as_json(ast.literal_eval(_marked(text.strip()))))


def as_json(value: Any) -> Any:
    """The value with lists for tuples.

    :raises ValueError: a value that JSON does not have
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"a dictionary's key is {type(key).__name__}, which JSON does not have")
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, Digits)):
        return value
    raise ValueError(f"holds {type(value).__name__}, which JSON does not have")


def _marked(text: str) -> str:
    """The literal with a text in place of each long integer."""
    parts, lines = [], text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    place = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER and len(token.string) > 4000:
            begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            minus = text[place:begin].rstrip().endswith("-")
            head = text[place:begin].rstrip()[:-1] if minus else text[place:begin]
            parts += [head, repr(f"{_MARK}{'-' * minus}{token.string}")]
            place = end
    return "".join([*parts, text[place:]])


def _restored(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_MARK):
        return Digits(value[1:])
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return [_restored(item) for item in value] if isinstance(value, list) else value


def is_absent(value: Any) -> bool:
    """Null, or the float that stands for it in a table of pandas."""
    return value is None or (isinstance(value, float) and value != value)


def present(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without its absent values: a table has every key in every row."""
    return {key: value for key, value in row.items() if not is_absent(value)}


def get(row: Mapping[str, Any], *keys: str) -> Any:
    """The first value that is not absent; None where all are."""
    return next((row[key] for key in keys if key in row and not is_absent(row[key])), None)


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
