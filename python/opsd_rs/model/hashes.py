"""Which weights a model folder holds: a hash of its files, remembered by path, size and time.

Reading sixteen gigabytes takes a minute, and every command asks. So the hash of a file is kept in the cache folder and
computed again where the file's size or time has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from opsd_rs.base import write_whole
from opsd_rs.errors import BadInput, DiskFull
from opsd_rs.model.cache import hub_file, models_dir

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.bin", "*.pt")
"""Files that hold weights; the first kind that a folder has is the one that is loaded."""
VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
"""Keys of a model's ``config.json`` that say nothing about what it computes."""


def weights_id(model: str) -> str:
    """16 digits that are equal where the weights and the architecture are; a hub name gives ``NAME@COMMIT``.

    :param model: what ``resolve`` returned
    :raises BadInput: a folder without weights, or a hub name that is not there
    """
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{hub_file(model, 'config.json').parent.name}"
    files = next(filter(None, (sorted(folder.glob(pattern)) for pattern in WEIGHTS)), None)
    if files is None:
        raise BadInput(f"model.path: {model} holds no weights ({', '.join(WEIGHTS)})")
    config = json.loads((folder / "config.json").read_bytes())
    plain = {key: value for key, value in config.items() if key not in VOLATILE}
    parts = [json.dumps(plain, sort_keys=True), *(f"{path.name} {_sha256(path)}" for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _remembered(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@cache
def _remembered(path: str, size: int, time_ns: int) -> str:
    kept = models_dir().parent / "hashes.json"
    known: dict[str, Any] = _read(kept)
    if known.get(path, {}).get("of") == [size, time_ns]:
        found: str = known[path]["sha256"]
        return found
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # Two processes may write at a time: one entry is then computed again, and nothing is wrong.
    entry = {path: {"of": [size, time_ns], "sha256": digest}}
    with contextlib.suppress(BadInput, DiskFull):  # a folder that cannot be written costs time, not the run
        write_whole(kept, json.dumps({**_read(kept), **entry}).encode())
    return digest


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
