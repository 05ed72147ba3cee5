"""Files as people hand them in: packed, marked, piped, in UTF-16; read as if they were plain, or named."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import polars
import pytest
from opsd_rs.errors import BadInput
from opsd_rs.inputs import records, source
from opsd_rs.problems import index, load

ROWS = [
    {"problem_id": f"p{n}", "prompt": "Grüße", "tests": [{"input": str(n), "output": "ü"}]} for n in range(40)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=1)
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "twice": lambda data: gzip.compress(gzip.compress(data)),
    "utf-8-sig": lambda data: codecs.BOM_UTF8 + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "utf-16-be": lambda data: codecs.BOM_UTF16_BE + data.decode().encode("utf-16-be"),
    "utf-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "packed mark": lambda data: gzip.compress(codecs.BOM_UTF8 + data),
    "windows": lambda data: data.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("text", [LINES, ARRAY], ids=["lines", "array"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_packings_and_encodings(tmp_path: Path, packing: str, text: str) -> None:
    path = tmp_path / "p.data"
    path.write_bytes(PACKINGS[packing](text.encode()))
    problems = load(path)
    assert [problem.problem_id for problem in problems] == [row["problem_id"] for row in ROWS]
    assert problems[3].tests[0].output == "ü"
    entries = index(path)
    assert [entry.open() for entry in entries.values()] == problems
    assert entries["p3"].where.startswith(f"{path}:"), "named as the user did, whatever was unpacked where"


def piped(data: bytes) -> tuple[Path, threading.Thread]:
    """A pipe's reading end as a shell passes it, and the thread that writes."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return Path(f"/dev/fd/{reading}"), thread


@pytest.mark.parametrize("packing", [None, "gzip", "utf-8-sig"])
def test_a_pipe_is_read_once_and_its_rows_again(packing: str | None) -> None:
    data = LINES.encode() * 1
    path, thread = piped(data if packing is None else PACKINGS[packing](data))
    entries = index(path)
    thread.join()
    os.close(int(path.name))
    assert [entry.open().problem_id for entry in entries.values()] == [row["problem_id"] for row in ROWS]


def test_a_packed_table(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    polars.DataFrame(ROWS).write_parquet(buffer)
    path = tmp_path / "p.parquet.gz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    assert len(load(path)) == 40


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x28\xb5\x2f\xfd1234", "packed by zstd: unpack it first"),
        (b"PK\x03\x041234", "a zip archive"),
        (b"ARROW1\0\0", "an Arrow file: write it as parquet"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "an Arrow stream"),
        (pickle.dumps([1, 2]), "a pickle, which would run code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (gzip.compress(b"x" * 9999, mtime=0)[:-20], "cannot be unpacked"),
        (b"\x1f\x8b\x08\x00broken header and data", "cannot be unpacked|Error|CRC"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=rf"p\.jsonl: .*({words})"):
        list(records(path))


def test_archives_and_folders_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("p.jsonl"), io.BytesIO(b""))
    with pytest.raises(BadInput, match="a tar archive: unpack it first"):
        source(path)
    table = tmp_path / "p.csv"
    table.write_text("problem_id,tests\n1,[]\n")
    with pytest.raises(
        BadInput, match=r"p\.csv: is a table of separated values: write it as parquet or jsonl"
    ):
        source(table)
    with pytest.raises(BadInput, match="is a folder"):
        source(tmp_path)
    with pytest.raises(BadInput, match="No such file"):
        source(tmp_path / "none")
