"""Paths as people write them, on the command line, in configurations and to functions: one reading for all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def expand(path: str | Path) -> Path:
    """``path`` with a leading ``~`` or ``~user`` replaced; every other character stands for itself.

    >>> expand("runs/lr=1e-5 [a]*")
    PosixPath('runs/lr=1e-5 [a]*')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or no home: a name that begins with a tilde
        return Path(path)


def own_name(path: str | Path) -> str:
    """The last name of ``path``, also where it is written as ``.`` or ends in ``..``.

    >>> own_name("models/qwen3/"), own_name(".") == Path.cwd().name
    ('qwen3', True)
    """
    return expand(path).name if expand(path).name not in ("", "..") else expand(path).resolve().name


@contextmanager
def without_wildcards(folder: Path) -> Iterator[Path]:
    """``folder``, or a link to it where its path has characters that a library would read as a pattern."""
    if not set("*?[") & set(str(folder.absolute())):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="opsd-rs-") as scratch:
        link = Path(scratch) / "linked"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link
