"""A sweep's folder in one tar of small files: rows, configurations, measurements, metrics and logs.

No checkpoint, no weights, no rollouts. Unpacked on another machine, a sweep goes on from it: runs whose row is in
``runs.parquet`` are done, measurements that are there are taken, all others begin. Equal folders give equal bytes.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from opsd_rs.base import MIB, write_whole
from opsd_rs.errors import BadInput

PACKED = (
    "runs.parquet", "events.jsonl", "grid.toml", "configs/*.toml", "logs/*.log", "measured/*/*.parquet",
    "measured/*/gap.json", "measured/*/log", "measured/*/notes/*", "runs/*/config.json", "runs/*/run.json",
    "runs/*/*.jsonl", "runs/*/*.parquet", "runs/*/log", "runs/*/notes/*",
)  # fmt: skip
"""What is packed, as patterns below the folder."""


def pack_sweep(out: Path, target: Path) -> tuple[int, int]:
    """Write the small files of the sweep in ``out`` to ``target``, a .tar or .tar.gz; returns how many files and bytes.

    :raises BadInput: no sweep in the folder, or another ending
    """
    names = list(_names(out))
    if "runs.parquet" not in names and "events.jsonl" not in names:
        raise BadInput(f"{out}: no sweep's folder: it has neither runs.parquet nor events.jsonl")
    if not target.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise BadInput(f"--pack {target}: name a .tar or .tar.gz")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            data = (out / name).read_bytes()
            entry = tarfile.TarInfo(f"{out.resolve().name}/{name}")
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    packed = buffer.getvalue()
    if target.suffix != ".tar":
        packed = gzip.compress(packed, mtime=0)
    write_whole(target, packed)
    return len(names), len(packed)


def _names(out: Path) -> Iterator[str]:
    found = {
        str(path.relative_to(out))
        for pattern in PACKED
        for path in out.glob(pattern)
        if path.is_file() and not path.name.startswith(".")
    }
    yield from sorted(found)


def size_in_words(count: int, size: int) -> str:
    """For people.

    >>> size_in_words(12, 3 * 2**20)
    '12 files, 3.0 MiB'
    """
    return f"{count} files, {size / MIB:.1f} MiB"
