"""Files as a reader of lines wants them: on disk, of UTF-8, not packed.

A pipe (``/dev/stdin``, ``<(...)``) can be read only once, and a packed file has no places to go back to; such files are
copied into a temporary one, which lives as long as somebody may read from it. Formats that are not read are named.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import shutil
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, NamedTuple, cast

from opsd_rs.errors import BadInput

PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
"""Heads of the packings that the standard library opens."""
REFUSED = {
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first (zstd -d)",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"ARROW1": "an Arrow file: write it as parquet or jsonl",
    b"\xff\xff\xff\xff": "an Arrow stream, as the cache of datasets holds: write it as parquet or jsonl",
    b"\x89HDF": "an HDF5 file: write it as parquet or jsonl",
    b"SQLite format 3": "a database: write its rows as jsonl",
    b"version https://git-lfs": "a pointer of Git LFS, not the file: fetch it with `git lfs pull`",
    b"<!DOCTYPE": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
}
"""Heads of what is not read, and what to do."""
PICKLED = b"\x80"
"""Head of a pickle; unpickling would run whatever code is in it."""
ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Source(NamedTuple):
    """A file that can be opened again and again."""

    name: str
    """For messages."""
    path: Path
    """What to open: the file itself, or a copy."""
    start: int
    """Bytes at its head that are a byte order mark."""
    head: bytes
    """Its first bytes after that."""
    holder: Any = None
    """Keeps the copy alive."""

    def open(self) -> IO[bytes]:
        """A stream at the first byte that counts."""
        stream = self.path.open("rb")
        stream.seek(self.start)
        return stream


def source(file: Path) -> Source:
    """The file, ready to be read.

    :raises BadInput: it cannot be read, or is of a format that is not
    """
    try:
        return _source(str(file), file)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"cannot be unpacked ({error}): download it again"
        raise BadInput(f"{file}: {reason}") from error


def _source(name: str, path: Path, holder: Any = None) -> Source:
    if not stat.S_ISREG(path.stat().st_mode):
        if path.is_dir():
            raise BadInput(f"{name}: is a folder: name a file")
        with path.open("rb") as stream:
            return _copied(name, stream)
    with path.open("rb") as stream:
        head = stream.read(512)
    for magic, opener in PACKED.items():
        if head.startswith(magic):
            with opener(path, "rb") as unpacked:
                return _copied(name, unpacked)
    for magic, reason in REFUSED.items():
        if head.startswith(magic):
            raise BadInput(f"{name}: is {reason}")
    if head[:1] == PICKLED and head[1:2] <= b"\x05":
        raise BadInput(
            f"{name}: is a pickle, which would run code when it is read: write it as jsonl or parquet"
        )
    if head[257:262] == b"ustar":
        raise BadInput(f"{name}: is a tar archive: unpack it first")
    if Path(name).suffix.lower() in (".csv", ".tsv") and head.lstrip()[:1] not in (b"{", b"["):
        raise BadInput(f"{name}: is a table of separated values: write it as parquet or jsonl")
    encoding = next((word for mark, word in ENCODINGS.items() if head.startswith(mark)), None)
    encoding = encoding or _without_mark(head)
    if encoding is not None:
        copy = _temporary()
        with path.open(encoding=encoding, newline="") as text:
            try:
                while chunk := text.read(1 << 20):
                    copy.write(chunk.encode("utf-8", "surrogatepass"))
            except UnicodeError as error:
                raise BadInput(f"{name}: looks like UTF-16 and is not ({error})") from error
        return _of_copy(name, copy)
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    return Source(name, path, start, head[start:], holder)


def _without_mark(head: bytes) -> str | None:
    """UTF-16 without its byte order mark: every other byte of the first characters is zero."""
    if len(head) < 8 or head.startswith(b"PAR1"):
        return None
    if not any(head[:8:2]) and all(head[1:8:2]):
        return "utf-16-be"
    return "utf-16-le" if not any(head[1:8:2]) and all(head[:8:2]) else None


def _temporary() -> IO[bytes]:
    return cast(IO[bytes], NamedTemporaryFile(prefix="opsd-rs-"))


def _copied(name: str, stream: IO[bytes]) -> Source:
    copy = _temporary()
    shutil.copyfileobj(stream, copy, 1 << 20)
    return _of_copy(name, copy)


def _of_copy(name: str, copy: IO[bytes]) -> Source:
    copy.flush()
    return _source(name, Path(copy.name), copy)
