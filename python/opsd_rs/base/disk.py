"""A full disk as one error that names the folder and the fix.

In: a block that writes below a folder. Out: nothing, or ``DiskFull`` instead of what the library raised. Libraries
report a full disk in their own ways (torch: ``enforce fail at inline_container.cc``, without an error number), so the
message alone does not decide: a few bytes are written, and the kernel's answer decides, unless there is next to nothing
left anyway: a write of gigabytes that fails may leave megabytes free.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.errors import DiskFull

MIB = 1 << 20
PROBE_BYTES = MIB
"""Written to test for free space: more than the last blocks that a failed write may leave free."""
NEARLY_FULL = 0.01
"""Share of a file system that is left when a large write has failed for want of space."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NUMBERLESS = ("inline_container.cc", "PytorchStreamWriter failed", f"os error {errno.ENOSPC}")
"""What torch and safetensors say of a failed write, with the error number lost."""


@contextmanager
def writing(what: str, folder: Path, fix: str = "free space there") -> Iterator[None]:
    """Turn a failure of the block because ``folder`` is full into one error; every other error passes.

    :param what: what the block writes, as a user would call it
    :param fix: what to do about it
    :raises DiskFull: the file system of ``folder``, or the user's quota on it, is full
    """
    try:
        yield
    except Exception as error:  # what a library raises for a full disk has no common class
        if not _means_full(error, folder):
            raise
        raise DiskFull(f"{folder}: no space left for {what} ({_left(folder)}): {fix}") from error


def _means_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_SPACE
    return any(words in str(error) for words in _NUMBERLESS) and (
        _is_nearly_full(folder) or not _has_space(folder)
    )


def _is_nearly_full(folder: Path) -> bool:
    disk = os.statvfs(_existing(folder))
    return disk.f_bavail < disk.f_blocks * NEARLY_FULL


def _has_space(folder: Path) -> bool:
    """Write a little and see: ``statvfs`` does not report quotas."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder), buffering=0) as file:
            left = PROBE_BYTES
            while left:
                left -= file.write(bytes(left))
            os.fsync(file.fileno())  # some file systems fail only here
    except OSError as error:
        if error.errno in _NO_SPACE:
            return False
        raise
    return True


def _left(folder: Path) -> str:
    """What the file system has left, for people: bytes, or files where these have run out first."""
    disk = os.statvfs(_existing(folder))
    if disk.f_files and not disk.f_favail:
        return "no inode left"
    return f"{disk.f_bavail * disk.f_frsize / MIB:.1f} MiB free"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that could be made."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
