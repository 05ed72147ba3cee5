"""Serialises a returned value as JSON text in the program's process: exact types, limits on nodes, depth and bytes.

The limits stop honest mistakes; they are not a security boundary: a program can do anything to its own answer.
"""

import itertools
import json
import sys

MOST_NODES = 4_000_000
DEEPEST = 1000

# Saved now: a program may replace what these names mean later.
_type, _mro, _len = type, type.__dict__["__mro__"].__get__, len
_quote, _dumps, _chain = json.encoder.encode_basestring_ascii, json.dumps, itertools.chain.from_iterable
_set, _map, _list, _sum, _max = set, map, list, sum, max


class NoForm(Exception):
    """A value that has no JSON form."""


class TooLarge(Exception):
    """A value above the limit of nodes or bytes."""


class Text:
    """A piece of JSON text, and its change of the nesting depth."""

    __slots__ = ("deeper", "text")

    def __init__(self, text, deeper=0):
        self.text, self.deeper = text, deeper


COMMA, END_LIST, END_DICT = Text(","), Text("]", -1), Text("}", -1)
SIMPLE = frozenset((int, float, str, list, tuple, dict, bool, _type(None)))
SCALARS, SEQUENCES = frozenset((int, float, str, bool, _type(None))), frozenset((list, tuple))
INF = float("inf")


def number(x):
    """A float as Python's json writes it."""
    if x != x:
        return "NaN"
    if x in (INF, -INF):
        return "Infinity" if x > 0 else "-Infinity"
    return float.__repr__(x)


def joined(pieces, end):
    """The pieces of a container for the stack, last first, each but the last followed by a comma."""
    if pieces:
        pieces[-1] = end
    else:
        pieces.append(end)
    pieces.reverse()
    return pieces


def plain(value, most_bytes):
    """JSON text of nested lists and tuples of plain numbers, strings and None, all at one depth: the common case, done
    by the interpreter's C code. None for anything else, or if a limit may be reached: then `encode` decides."""
    level, nodes, depth = [value], 1, 0
    while True:
        kinds = _set(_map(_type, level))
        if kinds <= SCALARS:
            break
        if not kinds <= SEQUENCES:
            return None
        nodes, depth = nodes + _sum(_map(_len, level)), depth + 1
        if nodes > MOST_NODES or depth > 100:
            return None
        level = _list(_chain(level))
    size = 25 * nodes  # no float is longer
    if str in kinds:
        size += 6 * _sum(_len(x) for x in level if _type(x) is str)  # `\\uXXXX`
    if int in kinds:
        bits = _max(int.bit_length(x) for x in level if _type(x) is int)
        if bits > 14_000:
            return None  # Python refuses to write more than 4300 digits
        size += 0 if bits <= 64 else bits // 3 * _len(level)
    return _dumps(value, separators=(",", ":")) if size <= 4 * most_bytes else None


def encode(value, most_bytes):
    """JSON text of a value. No method of a program's own class runs. Tuples are lists; instances of subclasses of
    int, float, str, list, tuple and dict are what they contain; numpy's scalars and arrays are what `tolist` gives.

    Raises NoForm for anything else, TooLarge above a limit.
    """
    quick = plain(value, most_bytes)
    if quick is not None:
        if _len(quick) > most_bytes:
            raise TooLarge
        return quick
    out, size, nodes, depth = [], 0, 0, 0
    stack = [value]  # what is left to write, last first; a Text is written as it is
    while stack:
        x = stack.pop()
        t = _type(x)
        if t is Text:
            piece = x.text
            depth += x.deeper
        else:
            nodes += 1
            kinds = (t,) if t in SIMPLE else _mro(t)
            if x is None:
                piece = "null"
            elif t is bool:
                piece = "true" if x else "false"
            elif int in kinds:
                if (
                    int.bit_length(x) > 3 * most_bytes
                ):  # a digit is 3.3 bits; the time to write it is quadratic
                    raise TooLarge
                piece = int.__repr__(x)
            elif float in kinds:
                piece = number(float.__float__(x))
            elif str in kinds:
                if str.__len__(x) > most_bytes:
                    raise TooLarge
                piece = _quote(x)
            elif list in kinds or tuple in kinds:
                kind = list if list in kinds else tuple
                nodes_inside = kind.__len__(x)
                if nodes + nodes_inside > MOST_NODES:
                    raise TooLarge
                piece, depth = "[", depth + 1
                stack += joined([part for item in kind.__iter__(x) for part in (item, COMMA)], END_LIST)
            elif dict in kinds:
                if nodes + dict.__len__(x) > MOST_NODES:
                    raise TooLarge
                piece, depth = "{", depth + 1
                stack += joined([part for pair in dict.items(x) for part in member(*pair)], END_DICT)
            elif t.__module__ == "numpy" and "numpy" in sys.modules:
                stack.append(x.tolist())
                continue
            else:
                raise NoForm(t.__name__)
            if depth > DEEPEST:
                raise NoForm("nested too deeply, or containing itself")
        size += _len(piece)
        if size > most_bytes or nodes > MOST_NODES:
            raise TooLarge
        out.append(piece)
    return "".join(out)


def member(key, item):
    """The pieces of one item of a dict."""
    if _type(key) is not str:
        raise NoForm("dict with keys that are not strings")
    return Text(_quote(key) + ":"), item, COMMA
