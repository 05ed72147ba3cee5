"""Where people read: stderr as the process was given it, whatever other libraries write to stdout and stderr.

A command that loads torch, DeepSpeed or transformers runs inside ``diverted()``: what those write to file descriptors 1
and 2 goes to a file, ``RUN/log`` once ``keep_output`` names it, and lines for people still reach the terminal. Lines
that nobody can take (a closed pipe, a full disk) are dropped: a run does not end because its reader did.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

TAIL_BYTES = 4000
"""How much of the output shows where a fault of our own ends the command before the output had a file to stay in."""


class _Diversion:
    """File descriptors 1 and 2 as they were, and the file that they write to meanwhile."""

    def __init__(self) -> None:
        self.saved = {fd: os.dup(fd) for fd in (1, 2)}
        self.streams = sys.stdout, sys.stderr
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``end``
        self.kept: Path | None = None
        self._point_to(self.file.fileno())
        sys.stdout, sys.stderr = _stream(1), _stream(2)

    def keep(self, path: Path) -> None:
        self._flush()
        with path.open("ab", buffering=0) as log:
            with contextlib.suppress(OSError):  # a full disk
                log.write(self._written())
            self._point_to(log.fileno())
        self.kept = path

    def end(self) -> bytes:
        """Restore both; returns the end of what had no file to stay in."""
        self._flush()
        sys.stdout, sys.stderr = self.streams
        for fd, saved in self.saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        with self.file:
            return b"" if self.kept else self._written()[-TAIL_BYTES:]

    def _written(self) -> bytes:
        self.file.seek(0)
        return self.file.read()

    def _point_to(self, descriptor: int) -> None:
        for fd in self.saved:
            os.dup2(descriptor, fd)

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


class _Lenient(io.RawIOBase):
    """Writes to a file descriptor; what it does not take is dropped."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):
            os.write(self._fd, view)
        return view.nbytes


def _stream(fd: int) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Lenient(fd)), encoding="utf-8", errors="replace", line_buffering=True
    )


_active: _Diversion | None = None


@contextlib.contextmanager
def diverted() -> Iterator[None]:
    """Other libraries' output goes to a file inside the block; after an unknown error its end is printed."""
    global _active
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    _active = diversion = _Diversion()
    try:
        yield
    except BaseException as error:
        _active = None
        said = diversion.end()
        if said and not hasattr(error, "exit_code"):
            write(said.decode(errors="replace"))
        raise
    else:
        _active = None
        diversion.end()


def keep_output(path: Path) -> bool:
    """From now on, and from the block's start, other libraries' output is in ``path``; False outside of a block."""
    if _active is None:
        return False
    _active.keep(path)
    return True


def is_terminal() -> bool:
    """Whether people read on a terminal."""
    if _active is not None:
        return os.isatty(_active.saved[2])
    return sys.stderr.isatty()


def write(text: str) -> None:
    """``text`` to people, now."""
    with contextlib.suppress(OSError, ValueError):
        if _active is None:
            sys.stderr.write(text)
            sys.stderr.flush()
        else:
            os.write(_active.saved[2], text.encode(errors="replace"))
