"""Known-good bytes, changed in a few places: what the fuzz targets in Python and the tests of random texts try."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutate(
    source: random.Random, data: bytes, times: int, pieces: Sequence[bytes], others: Sequence[bytes]
) -> bytes:
    """``data`` after so many changes: a bit, a byte, a piece, a part left out, repeated or of another, a cut."""
    changed = bytearray(data)
    for _ in range(times):
        at, length = source.randint(0, len(changed)), source.randint(0, 9)
        match source.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << source.randrange(8)
            case 1 if at < len(changed):
                changed[at] = source.randrange(256)
            case 2:
                changed[at:at] = source.choice(pieces)
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length] * source.randint(1, 5)
            case 5:
                other = source.choice(others)
                start = source.randint(0, len(other))
                changed[at:at] = other[start : start + source.randint(0, 40)]
            case _:
                del changed[at + length :]
    return bytes(changed)
