"""LiveCodeBench's packed tests, from any bytes: read as Python's own readers read them, or refused.

What holds an opcode that is not of plain values is always refused; of the rest the decoder may refuse more than Python
does, but never reads another value.

    python3 fuzz/packed_tests.py CORPUS --seconds 60 --seed 1 --artifacts FOLDER
    python3 fuzz/packed_tests.py --input FILE

Guided by coverage: an input that reaches lines which no input before it reached is kept and
changed further. The first byte of an input says at which layer the rest enters. An input that shows a fault is written
into FOLDER, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import pickle
import pickletools
import random
import sys
import time
import traceback
import zlib
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from mutations import mutate
from opsd_rs.problems import livecodebench, pickles

HARMLESS = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4",
    "BINFLOAT", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3",
}  # fmt: skip
"""Opcodes of values that hold no code."""
MAX_BYTES = 1 << 16
"""In place of the decoder's own limit, so that streams beyond it are met."""
LONGEST = 4096
PIECES = [
    b".", b"\x80\x04", b"\x80\x05", b"\x8c\x01a", b"X\x01\x00\x00\x00a", b"\x8d\x01" + bytes(7) + b"a", b"\x94",
    b"q\x00", b"cos\nsystem\n", b"(", b"tR", b"\x95" + bytes(8), b"\x95\x05" + bytes(7), b"\xff" * 8, b"=", b"A",
    b"x\x9c", b"[1", b'"', b"{}", b"[" * 1200, b"\\ud800", b"\xed\xa0\x80", b"NaN", b" ", b"\n", b"\x00" * 300,
    b"9" * 5000, b"1e999",
]  # fmt: skip


class Refused(Exception):
    """By the twin."""


class Unknown(Exception):
    """The twin does not say: too deep for one of the two, a Python literal, an integer of very many digits."""


def check(data: bytes) -> bool:
    """Run the decoder and the twin on one input; whether it was read.

    :raises AssertionError: they disagree
    """
    layer, rest = data[0] % 4, data[1:]
    if layer == 0:
        return agree(pickles.read_pickle, unpickle, rest)
    if layer == 1:  # the text of the tests: whatever it is, an honest packer's work opens
        text = rest.decode("utf-8", "surrogateescape")
        rows = [{"input": text, "n": [len(text), -1, 0.5, None, True]}, text]
        for protocol in range(1, 6):
            assert livecodebench.read_pickled_str(pickle.dumps(text, protocol)) == text, protocol
            # Protocol 1 writes True as a number in text.
            assert protocol == 1 or pickles.read_pickle(pickle.dumps(rows, protocol)) == rows, protocol
        rest = zlib.compress(pickle.dumps(text, 1 + len(rest) % 5), 1)
    field = rest.decode("latin-1") if layer == 3 else base64.b64encode(rest).decode()
    return agree(livecodebench.decode_tests, unpack, field)


def agree(ours: Any, twin: Any, data: Any) -> bool:
    try:
        wanted: Any = twin(data)
    except Refused:
        wanted = Refused
    except Unknown:
        wanted = Unknown
    try:
        value = ours(data)
    except ValueError:
        return False
    assert wanted is Unknown or repr(value) == repr(wanted), f"read {value!r}, not {wanted!r}"
    return True


class Plain(pickle.Unpickler):
    """Python's own reader, without the power to find anything that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        raise Refused

    def persistent_load(self, pid: Any) -> Any:
        raise Refused


def unpickle(data: bytes) -> Any:
    """Python's own reader, after a look that nothing in the data can call anything."""
    try:
        names = [opcode.name for opcode, _, _ in pickletools.genops(data)]
    except Exception as error:
        raise Refused from error
    if not set(names) <= HARMLESS:
        raise Refused
    if names.count("FRAME") > 1:
        raise Unknown  # frames in frames: C and Python readers differ
    try:
        return listed(Plain(io.BytesIO(data)).load())
    except Exception as error:
        raise Unknown from error


def listed(value: Any) -> Any:
    """Lists for tuples, as the decoder makes them."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def unpack(field: str) -> Any:
    """As the official loader: JSON, or else base64, zlib, pickle and JSON; and as other tools write it again."""
    if field.lstrip()[:1] in ("[", "{", '"'):
        try:
            value = json.loads(field)
        except (ValueError, RecursionError) as error:
            raise Unknown from error
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            raise Unknown  # JSON in JSON
        return value
    try:
        inflated = zlib.decompress(base64.b64decode("".join(field.split()), validate=True))
    except (ValueError, zlib.error) as error:
        raise Refused from error
    if len(inflated) > MAX_BYTES:
        raise Refused
    if inflated[:1] in (b"[", b"{"):
        return read_json(inflated)
    value = unpickle(inflated)
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise Refused
    return read_json(value)


def read_json(text: str | bytes) -> Any:
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refused from error
    except (ValueError, RecursionError) as error:
        raise Unknown from error


# ---- the loop ---------------------------------------------------------------------------------------

Edges = set[tuple[CodeType, int, int]]


def edges_of(data: bytes) -> Edges:
    """Pairs of lines that the decoder ran one after the other, with how often in powers of two."""
    times: dict[tuple[CodeType, int], int] = {}
    last = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal last
        edge = frame.f_code, last << 16 | frame.f_lineno
        times[edge] = times.get(edge, 0) + 1
        last = frame.f_lineno
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename in (livecodebench.__file__, pickles.__file__) else None

    sys.settrace(call)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return {(*edge, count.bit_length()) for edge, count in times.items()}


def changed(source: random.Random, kept: list[bytes]) -> bytes:
    """One of the inputs kept, with up to five changes."""
    data = mutate(source, source.choice(kept), source.randint(1, 5), PIECES, kept)
    return data[:LONGEST] or b"\0"


def fuzz(folder: Path, seconds: float, seed: int, artifacts: Path) -> int:
    """Until the time is over, or an input shows a fault. What is kept is written into the folder, too."""
    corpus = [file.read_bytes() for file in sorted(folder.iterdir())]
    source, start, rounds, read = random.Random(seed), time.monotonic(), 0, 0
    seen: Edges = set()
    pending, kept = list(corpus), []
    while pending or time.monotonic() < start + seconds:
        data = pending.pop() if pending else changed(source, kept)
        rounds += 1
        try:
            edges = edges_of(data)
            if edges - seen:
                seen |= edges
                kept.append(data)
                if rounds > len(corpus):
                    (folder / f"kept-{rounds}").write_bytes(data)
                read += check(data)
        except Exception:
            traceback.print_exc()
            artifacts.mkdir(parents=True, exist_ok=True)
            file = artifacts / f"crash-{hashlib.sha1(data).hexdigest()}"
            file.write_bytes(data)
            print(f"Test unit written to {file}\nBase64: {base64.b64encode(data).decode()}", flush=True)
            return 1
    print(f"{rounds} executions, {len(kept)} inputs kept, {read} of them read; {len(seen)} edges")
    return 0 if read else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifacts", type=Path, default=Path())
    parser.add_argument("--input", type=Path, help="one input, once")
    given = parser.parse_args()
    livecodebench.MAX_TEST_BYTES = MAX_BYTES
    if given.input:
        check(given.input.read_bytes())
        return 0
    return fuzz(given.corpus, given.seconds, given.seed, given.artifacts)


if __name__ == "__main__":
    sys.exit(main())
