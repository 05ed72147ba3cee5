"""Pickles of plain values, read by hand: texts, numbers, lists, dictionaries, and nothing that runs.

Private tests of LiveCodeBench are a pickle. Unpickling data from the network runs any code in it, so only the opcodes
of plain values are known here (as documented in ``pickletools``), and all others are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

MARK = object()
# SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
_STRING_LENGTH_BYTES = {b"\x8c": 1, b"X": 4, b"\x8d": 8}


def read_pickle(data: bytes) -> Any:
    """Read a pickle (protocol 1 to 5) of plain values, as CPython writes it.

    :raises ValueError: any other opcode, a cut or over-long stream

    >>> read_pickle(b"\\x80\\x04\\x8c\\x02hi\\x94.")
    'hi'
    """
    return _Reader(data).read()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        while True:
            start = self._place
            opcode = self._take(1)
            if opcode == b"\x80" and start == 0:  # PROTO
                if self._take(1)[0] > 5:
                    raise ValueError("pickle: unknown protocol")
            elif opcode == b"\x95":  # FRAME: so many bytes must follow, nothing else is meant
                length = int.from_bytes(self._take(8), "little")
                if self._place + length > len(self._data):
                    raise ValueError("pickle: the stream is cut")
            elif opcode == b".":  # STOP
                if self._place != len(self._data):
                    raise ValueError("pickle: bytes after its end")
                if len(self._stack) != 1 or self._stack[0] is MARK:
                    raise self._refusal(start, opcode)
                return self._stack[0]
            else:
                self._step(start, opcode)

    def _step(self, start: int, opcode: bytes) -> None:
        if opcode in _STRING_LENGTH_BYTES:
            length = int.from_bytes(self._take(_STRING_LENGTH_BYTES[opcode]), "little")
            self._stack.append(self._take(length).decode("utf-8", "surrogatepass"))
        elif opcode in _NUMBERS:
            size, convert = _NUMBERS[opcode]
            self._stack.append(convert(self._take(size)))
        elif opcode == b"\x8a":  # LONG1
            self._stack.append(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True))
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode == b"\x94":  # MEMOIZE
            self._memo[len(self._memo)] = self._top(start, opcode)
        elif opcode in (b"q", b"r"):  # BINPUT, LONG_BINPUT
            place = int.from_bytes(self._take(1 if opcode == b"q" else 4), "little")
            self._memo[place] = self._top(start, opcode)
        elif opcode in (b"h", b"j"):  # BINGET, LONG_BINGET
            value = self._memo.get(int.from_bytes(self._take(1 if opcode == b"h" else 4), "little"))
            # A list that is fetched could be put into itself.
            if not isinstance(value, (str, int, float)):
                raise self._refusal(start, opcode)
            self._stack.append(value)
        elif opcode in (b"a", b"e"):  # APPEND, APPENDS
            items = self._above_mark(start, opcode) if opcode == b"e" else [self._pop(start, opcode)]
            self._container(list, start, opcode).extend(items)
        elif opcode in (b"s", b"u"):  # SETITEM, SETITEMS
            items = (
                self._above_mark(start, opcode)
                if opcode == b"u"
                else [self._pop(start, opcode) for _ in "kv"][::-1]
            )
            keys, values = items[::2], items[1::2]
            if len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
                raise self._refusal(start, opcode)
            self._container(dict, start, opcode).update(zip(keys, values, strict=True))
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            items = (
                self._above_mark(start, opcode)
                if count is None
                else [self._pop(start, opcode) for _ in range(count)][::-1]
            )
            self._stack.append(items)
        else:
            raise self._refusal(start, opcode)

    def _take(self, count: int) -> bytes:
        self._place += count
        if self._place > len(self._data):
            raise ValueError("pickle: the stream is cut")
        return self._data[self._place - count : self._place]

    def _top(self, start: int, opcode: bytes) -> Any:
        if not self._stack or self._stack[-1] is MARK:
            raise self._refusal(start, opcode)
        return self._stack[-1]

    def _pop(self, start: int, opcode: bytes) -> Any:
        value = self._top(start, opcode)
        self._stack.pop()
        return value

    def _container(self, kind: type, start: int, opcode: bytes) -> Any:
        value = self._top(start, opcode)
        if type(value) is not kind:
            raise self._refusal(start, opcode)
        return value

    def _above_mark(self, start: int, opcode: bytes) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise self._refusal(start, opcode)

    def _refusal(self, start: int, opcode: bytes) -> ValueError:
        return ValueError(f"pickle: refused at byte {start}: opcode {opcode!r} is not part of a plain value")


_CONSTANTS: dict[bytes, Callable[[], Any]] = {
    b"]": list, b"}": dict, b")": list, b"(": lambda: MARK, b"N": lambda: None, b"\x88": lambda: True,
    b"\x89": lambda: False,
}  # fmt: skip
_NUMBERS: dict[bytes, tuple[int, Callable[[bytes], Any]]] = {
    b"J": (4, lambda data: int.from_bytes(data, "little", signed=True)),
    b"K": (1, lambda data: data[0]),
    b"M": (2, lambda data: int.from_bytes(data, "little")),
    b"G": (8, lambda data: struct.unpack(">d", data)[0]),
}
_TUPLES: dict[bytes, int | None] = {b"t": None, b"\x85": 1, b"\x86": 2, b"\x87": 3}
