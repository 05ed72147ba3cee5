"""One process at a time writes to a run folder: an flock(2), which the kernel drops with the process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from opsd_rs.errors import BadInput


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make ``run_dir`` where it is absent and hold its lock for the block; a folder left empty is removed again.

    :raises BadInput: the folder cannot be made or written, or another process holds the lock
    """
    made = not run_dir.exists()
    path = run_dir / ".lock"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadInput(
            f"run.dir = {run_dir}: cannot be written to ({error.strerror}): name another folder"
        ) from error
    try:
        _take(descriptor, run_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield
        finally:
            if made and [*run_dir.iterdir()] == [path]:
                path.unlink()
                run_dir.rmdir()
    finally:
        os.close(descriptor)


def _take(descriptor: int, run_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.pread(descriptor, 200, 0).decode(errors="replace") or "unknown"
        raise BadInput(
            f"run.dir = {run_dir} is in use by another process ({who}): wait for it, stop it, or name another run.dir"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        # A file system without locks: the folder is used as it is.
