"""LiveCodeBench's own files: one record of ``code_generation_lite`` in, one problem out; and their download.

Private tests come as JSON, or as base64 of zlib of a pickle of one JSON text. Unpickling data from the
network runs any code in it, so the pickle is read by hand: one string, or it is refused. Fields and releases
are those of the dataset's card; the order of tests (public, then private) is that of its official grader.
What this module does not do: word the prompt (the configuration chooses that), or grade.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.records import Case, Problem

REPOSITORY = "livecodebench/code_generation_lite"
"""Data set on the hub."""
RELEASES = {
    "v1": "test.jsonl",
    "v2": "test2.jsonl",
    "v3": "test3.jsonl",
    "v4": "test4.jsonl",
    "v5": "test5.jsonl",
    "v6": "test6.jsonl",
}
"""File that holds each release's increment: 400, 111, 101, 101, 167 and 175 problems, 4.5 GB in all."""
CARD = (
    "question_title", "question_content", "platform", "question_id", "contest_id", "contest_date", "starter_code",
    "difficulty",
)  # fmt: skip
"""Fields of a problem in the official runner's result files, in its order."""
PUBLISHED_WINDOW = ("2025-02-01", "2025-05-01")
"""Contest dates, first kept and first not kept, of the problems that SDPO trains on."""
PUBLISHED_COUNT = 131
"""Problems in that window."""
MAX_TEST_BYTES = 1 << 30
"""Private tests of one problem larger than this are refused: a few kilobytes can inflate to anything."""


def is_record(first: Mapping[str, Any]) -> bool:
    """Whether a file's first record is LiveCodeBench's."""
    return "question_content" in first or "question_id" in first


def release_of(file: Path) -> str | None:
    """The increment that a file of the data set holds, by its name; None for any other name."""
    return next((release for release, name in RELEASES.items() if name == file.name), None)


def expand_release(word: str) -> tuple[str, ...]:
    """The increments in a release: ``v6`` is one, ``v4_v6`` a range, ``release_v2`` the first two.

    :raises BadInput: no such release

    >>> expand_release("release_v2"), expand_release("v5_v6")
    (('v1', 'v2'), ('v5', 'v6'))
    """
    names = tuple(RELEASES)
    if word == "release_latest":
        return names
    match = re.fullmatch(r"(release_)?(v\d+)(?:_(v\d+))?", word)
    if match and not (match[1] and match[3]):
        first, last = ("v1", match[2]) if match[1] else (match[2], match[3] or match[2])
        if first in names and last in names and names.index(first) <= names.index(last):
            return names[names.index(first) : names.index(last) + 1]
    raise BadInput(
        f"release {word!r}: take one of {', '.join(names)}, a range (v4_v6) or release_v1 ... release_v6"
    )


def head(record: Mapping[str, Any], release: str | None) -> Problem:
    """All but the tests, which are large: enough to filter by.

    :raises BadInput: names the key
    """
    metadata = _text(record, "metadata")
    try:
        function = json.loads(metadata).get("func_name") if metadata.strip() else None
    except (ValueError, AttributeError) as error:
        raise BadInput(f"key metadata: not a JSON object in a string ({_short(metadata)})") from error
    if function is not None and not isinstance(function, str):
        raise BadInput(f"key metadata: func_name must be a string, found {function!r}")
    contest_date = _text(record, "contest_date")
    try:
        date = datetime.fromisoformat(contest_date).date().isoformat()
    except ValueError as error:
        raise BadInput(f"key contest_date: not an ISO date: {contest_date!r}") from error
    starter_code = _text(record, "starter_code")
    problem_id = _text(record, "question_id")
    if not problem_id:
        raise BadInput("key question_id: must not be empty")
    return Problem(
        problem_id=problem_id,
        prompt=_text(record, "question_content"),
        tests=(),
        starter_code=starter_code if starter_code.strip() else None,
        # The bare name: the grader takes the method of class Solution if there is one, else the function.
        entry_point=function or None,
        difficulty=_text(record, "difficulty"),
        platform=_text(record, "platform"),
        date=date,
        release=release,
    )


def card(record: Mapping[str, Any]) -> dict[str, str]:
    """The fields that the official runner repeats in its result files, the date as it writes it.

    Of a record whose :func:`head` could be read; of the others, those it lacks are empty.
    """
    fields = {key: str(record.get(key) or "") for key in CARD}
    return {**fields, "contest_date": datetime.fromisoformat(fields["contest_date"]).isoformat()}


def cases(record: Mapping[str, Any]) -> tuple[Case, ...]:
    """Public tests, then private ones.

    :raises BadInput: names the key and what was wrong with it
    """
    public, private = _text(record, "public_test_cases"), _text(record, "private_test_cases")
    try:
        public_value = json.loads(public)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"key public_test_cases: not JSON ({error})") from error
    try:
        private_value = decode_tests(private)
    except ValueError as error:
        raise BadInput(f"key private_test_cases: {error}: download the file again") from error
    return (
        *_listed("public_test_cases", public_value, public=True),
        *_listed("private_test_cases", private_value, public=False),
    )


def decode_tests(text: str) -> Any:
    """The JSON value of ``private_test_cases``, plain or packed.

    :raises ValueError: which of the layers did not open
    """
    try:
        return json.loads(text)
    except ValueError:
        pass  # packed, as the official loader assumes too
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"neither JSON nor base64 ({_short(text)})") from error
    try:
        inflater = zlib.decompressobj()
        pickled = inflater.decompress(packed, MAX_TEST_BYTES)
    except zlib.error as error:
        raise ValueError(f"zlib: {error}") from error
    if inflater.unconsumed_tail:
        raise ValueError(f"more than {MAX_TEST_BYTES} bytes of tests")
    if not inflater.eof:
        raise ValueError("zlib: the stream is cut")
    try:
        return json.loads(read_pickled_str(pickled))
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error


def read_pickled_str(data: bytes) -> str:
    """Read a pickle (protocol 1 to 5) that holds one str, as CPython writes it, and nothing else.

    Known opcodes: PROTO and FRAME before the string, one of the three binary strings, MEMOIZE or BINPUT after
    it, STOP as the last byte (opcodes as documented in ``pickletools``).

    :raises ValueError: any other opcode, a second string, a cut or over-long stream

    >>> read_pickled_str(b"\\x80\\x04\\x8c\\x02hi\\x94.")
    'hi'
    """
    position, value = 0, None

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        if position > len(data):
            raise ValueError("pickle: the stream is cut")
        return data[position - count : position]

    while True:
        opcode = take(1)
        if opcode == b"\x80" and position == 1:  # PROTO
            if take(1)[0] > 5:
                raise ValueError("pickle: unknown protocol")
        elif opcode == b"\x95" and value is None:  # FRAME: so many bytes must follow, nothing else is meant
            length = int.from_bytes(take(8), "little")
            if position + length > len(data):
                raise ValueError("pickle: the stream is cut")
        elif opcode in _STRING_LENGTH_BYTES and value is None:
            length = int.from_bytes(take(_STRING_LENGTH_BYTES[opcode]), "little")
            value = take(length).decode("utf-8", "surrogatepass")
        elif opcode == b"\x94" and value is not None:  # MEMOIZE
            pass
        elif opcode == b"q" and value is not None:  # BINPUT
            take(1)
        elif opcode == b"." and value is not None:  # STOP
            if position != len(data):
                raise ValueError("pickle: bytes after its end")
            return value
        else:
            raise ValueError(
                f"pickle: refused at byte {position - 1}: opcode {opcode!r} is not part of one string"
            )


# SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
_STRING_LENGTH_BYTES = {b"\x8c": 1, b"X": 4, b"\x8d": 8}


def fetch_lcb(
    release: str,
    out: str | Path | None = None,
    endpoint: str | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Download a release's files from the hub; an interrupted download continues where it stopped.

    :param release: as in :func:`expand_release`
    :param out: folder for the files; default: ``data/livecodebench`` in the user's cache
    :param endpoint: the hub's address; default ``$HF_ENDPOINT``, else the public one
    :returns: what ``problems.load`` takes: the file, or the folder where the release has several
    :raises BadInput: no such release, offline mode, no connection, the hub's refusal
    """
    tell = progress or (lambda line: None)
    files = [RELEASES[name] for name in expand_release(release)]
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError as error:
        raise BadInput("fetch LiveCodeBench: needs huggingface_hub: pip install 'opsd-rs[train]'") from error
    if constants.HF_HUB_OFFLINE:
        raise BadInput("fetch LiveCodeBench: HF_HUB_OFFLINE is set: unset it for the download")
    folder = Path(out) if out is not None else _cache() / "data" / "livecodebench"
    address = endpoint or os.environ.get("HF_ENDPOINT") or None
    for number, file in enumerate(files, 1):
        tell(f"LiveCodeBench {release}: {file} ({number} of {len(files)})")
        try:
            hf_hub_download(REPOSITORY, file, repo_type="dataset", local_dir=folder, endpoint=address)
        except (OSError, errors.HTTPError) as error:
            # The library reports some refusals as "check your connection"; the server's answer is the cause.
            answered = next(
                (e for e in (error, error.__cause__) if isinstance(e, errors.HfHubHTTPError)), None
            )
            if answered is not None:
                status = answered.response.status_code
                reason = (
                    f"the hub answered {status} for {REPOSITORY}: is the address right, the data set open?"
                )
            else:
                reason = f"{str(error).strip().splitlines()[0]} (run the command again to go on)"
            raise BadInput(f"fetch LiveCodeBench: {file}: {reason}") from error
    return folder / files[0] if len(files) == 1 else folder


def _cache() -> Path:
    own = os.environ.get("OPSD_RS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "opsd-rs"


def _text(record: Mapping[str, Any], key: str) -> str:
    if key not in record:
        raise BadInput(f"key {key} is missing: not a record of LiveCodeBench's code_generation_lite")
    value = record[key]
    if not isinstance(value, str):
        raise BadInput(f"key {key}: must be a string, found {type(value).__name__}")
    return _sound(key, value)


def _listed(key: str, value: Any, *, public: bool) -> list[Case]:
    if not isinstance(value, list):
        raise BadInput(f"key {key}: must hold a list of tests, found {type(value).__name__}")
    tests = []
    for index, test in enumerate(value):
        for part in ("input", "output"):
            if not isinstance(test, dict) or not isinstance(test.get(part), str):
                raise BadInput(f"key {key}[{index}].{part}: must be a string")
            _sound(f"{key}[{index}].{part}", test[part])
        tests.append(Case(test["input"], test["output"], public))
    return tests


def _sound(key: str, text: str) -> str:
    """Half a surrogate pair is not text: it could not be written to the program's stdin."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"key {key}: holds half a surrogate pair at character {error.start}") from error
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
