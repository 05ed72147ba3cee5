"""LiveCodeBench's own files: one record of ``code_generation_lite`` in, one problem out; and their download.

Private tests come as JSON, or as base64 of zlib of a pickle of one JSON text, which is read by hand (``pickles``).
Other tools write the rows out again with tests already decoded, numbers and nulls where there were texts: these are
read too. Fields and releases are those of the dataset's card; the order of tests (public, then private) is that of its
official grader.
What this module does not do: word the prompt (the configuration chooses that), or grade.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from opsd_rs.errors import BadInput
from opsd_rs.inputs import is_absent, loads, parse, short
from opsd_rs.problems.entry_names import entry_name
from opsd_rs.problems.pickles import read_pickle
from opsd_rs.problems.unsupported import Unsupported
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
TEST_KEYS = ("public_test_cases", "private_test_cases")
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

    Null and absent are the same: other tools write one for the other.

    :raises BadInput: names the key
    """
    starter_code = _text(record, "starter_code")
    return Problem(
        problem_id=problem_id(record),
        prompt=_text(record, "question_content"),
        tests=(),
        starter_code=starter_code if starter_code.strip() else None,
        # The bare name: the grader takes the method of class Solution if there is one, else the function.
        entry_point=_function(record),
        difficulty=_text(record, "difficulty") or None,
        platform=_text(record, "platform") or None,
        date=_date(record, whole=False) or None,
        release=release,
    )


def problem_id(record: Mapping[str, Any]) -> str:
    """The problem's name: ``question_id``.

    :raises BadInput: there is none
    """
    if "question_id" not in record:
        raise BadInput("key question_id is missing: not a record of LiveCodeBench's code_generation_lite")
    name = record["question_id"]
    if isinstance(name, float) and name.is_integer():
        name = int(name)  # a column of integers with a null in it
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadInput(f"key question_id: must be a string, found {type(name).__name__}")
    if name == "":
        raise BadInput("key question_id: must not be empty")
    return _sound("question_id", str(name))


def card(record: Mapping[str, Any]) -> dict[str, str]:
    """The fields that the official runner repeats in its result files, the date as it writes it.

    Of a record whose :func:`head` could be read; of the others, those it lacks are empty.
    """
    fields = {key: str("" if is_absent(record.get(key)) else record[key]) for key in CARD}
    return {**fields, "question_id": problem_id(record), "contest_date": _date(record, whole=True)}


def cases(record: Mapping[str, Any]) -> tuple[Case, ...]:
    """Public tests, then private ones.

    :raises BadInput: names the key and what was wrong with it
    """
    if not any(key in record for key in TEST_KEYS):
        raise BadInput(
            "key public_test_cases is missing: not a record of LiveCodeBench's code_generation_lite"
        )
    found = []
    for key, public in zip(TEST_KEYS, (True, False), strict=True):
        value = record.get(key)
        if is_absent(value) or (isinstance(value, (str, bytes)) and not value.strip()):
            continue  # the column of tests that were left out
        if isinstance(value, (str, bytes)):
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
            try:
                value = decode_tests(_sound(key, text))
            except ValueError as error:
                raise BadInput(f"key {key}: {error}: download the file again") from error
        found += _listed(key, value, public=public)
    if not found:
        raise Unsupported(
            "key private_test_cases: holds no test, nor does public_test_cases: leave the problem out"
        )
    name = _function(record)
    for key, kind in ((test.key, test.kind) for test in found):
        if kind == "functional" and name is None:
            raise BadInput(
                f"key {key}.testtype: functional, but metadata names no func_name: the program cannot be called"
            )
    return tuple(test.case for test in found)


def decode_tests(text: str) -> Any:
    """The value of a column of tests: JSON, a Python literal, or packed (base64, zlib, pickle of either or of a list).

    :raises ValueError: which of the layers did not open
    """
    if text.lstrip()[:1] in ("[", "{", '"'):
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"not JSON ({error})") from error
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)  # other tools wrap the line
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"neither JSON nor base64 ({short(text)})") from error
    try:
        inflater = zlib.decompressobj()
        pickled = inflater.decompress(packed, MAX_TEST_BYTES)
    except zlib.error as error:
        raise ValueError(f"zlib: {error}") from error
    if inflater.unconsumed_tail:
        raise ValueError(f"more than {MAX_TEST_BYTES} bytes of tests")
    if not inflater.eof:
        raise ValueError("zlib: the stream is cut")
    if pickled[:1] in (b"[", b"{"):
        return loads(pickled)  # packed without the pickle
    value = read_pickle(pickled)
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise ValueError(f"pickle: refused: holds {type(value).__name__}, not a text or a list")
    return loads(value)


def read_pickled_str(data: bytes) -> str:
    """Read a pickle (protocol 1 to 5) that holds one str, as CPython writes it, and nothing else.

    :raises ValueError: any other value, see :func:`opsd_rs.problems.pickles.read_pickle`

    >>> read_pickled_str(b"\\x80\\x04\\x8c\\x02hi\\x94.")
    'hi'
    """
    value = read_pickle(data)
    if not isinstance(value, str):
        raise ValueError(f"pickle: refused at byte 0: holds {type(value).__name__}, not one string")
    return value


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


def _function(record: Mapping[str, Any]) -> str | None:
    """``func_name`` of the metadata, which are an object or its text."""
    value = record.get("metadata")
    if isinstance(value, str) and value.strip():
        try:
            value = parse(value)
        except ValueError as error:
            raise BadInput(
                f"key metadata: not a JSON object in a string ({short(record['metadata'])})"
            ) from error
    if is_absent(value) or value == "":
        return None
    if not isinstance(value, Mapping):
        raise BadInput(f"key metadata: not a JSON object in a string ({short(record['metadata'])})")
    name = value.get("func_name")
    if not is_absent(name) and not isinstance(name, str):
        raise BadInput(f"key metadata: func_name must be a string, found {name!r}")
    return entry_name(name, "metadata: func_name")


def _date(record: Mapping[str, Any], *, whole: bool) -> str:
    """The day of the contest, or with its time as the official runner writes it; empty where there is none."""
    value = record.get("contest_date")
    if is_absent(value) or value == "":
        return ""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # Seconds end in the year 5138 where milliseconds begin in 1973.
            seconds = value / 1000 if abs(value) >= 1e11 else value
            found = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
        else:
            found = datetime.fromisoformat(str(value))
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise BadInput(f"key contest_date: not an ISO date: {value!r}") from error
    return found.isoformat() if whole else found.date().isoformat()


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if is_absent(value):
        return ""
    if not isinstance(value, str):
        raise BadInput(f"key {key}: must be a string, found {type(value).__name__}")
    return _sound(key, value)


class _Listed(NamedTuple):
    key: str
    kind: Any
    case: Case


def _listed(key: str, value: Any, *, public: bool) -> list[_Listed]:
    if (
        isinstance(value, Mapping)
        and isinstance(value.get("input"), list)
        and isinstance(value.get("output"), list)
    ):
        columns = {name: items for name, items in value.items() if isinstance(items, list)}
        value = [dict(zip(columns, items, strict=True)) for items in zip(*columns.values(), strict=False)]
    if not isinstance(value, list):
        raise BadInput(f"key {key}: must hold a list of tests, found {type(value).__name__}")
    tests = []
    for index, test in enumerate(value):
        for part in ("input", "output"):
            if not isinstance(test, Mapping) or not isinstance(test.get(part), str):
                raise BadInput(f"key {key}[{index}].{part}: must be a string")
            _sound(f"{key}[{index}].{part}", test[part])
        place = f"{key}[{index}]"
        tests.append(_Listed(place, test.get("testtype"), Case(test["input"], test["output"], public)))
    return tests


def _sound(key: str, text: str) -> str:
    """Half a surrogate pair is not text: it could not be written to the program's stdin."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"key {key}: holds half a surrogate pair at character {error.start}") from error
    return text
