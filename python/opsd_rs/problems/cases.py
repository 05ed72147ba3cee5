"""Tests in whatever shape a data set keeps them; one list of cases out.

Known: two lists side by side (``inputs``/``outputs``, also ``input``/``output``), a list of objects with ``input`` and
``output``, assertions in Python; each as it is or as text, of JSON or of Python. The function's name stands beside the
lists, in each test, or in the row. Nulls are absences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.inputs import dumps, get, is_absent, parse, present, short
from opsd_rs.problems.asserts import assertions, check_function
from opsd_rs.problems.calls import arguments, result
from opsd_rs.problems.entry_names import entry_name
from opsd_rs.problems.unsupported import Unsupported
from opsd_rs.records import Case

STDIN = ("stdin", "stdin_stdout", "stdio", "standard_input")
CALL = ("functional", "function_call", "function", "call", "call_based")
"""Words for how a test is run."""
NAMES = ("fn_name", "func_name", "function_name", "entry_point")
"""Keys of the function's name."""
MIXED = ("reward_model", "verification_info", "ground_truth")
"""Keys of tables that hold other tasks beside code."""
FORMS = "inputs and outputs side by side, or a list of {input, output}"


@dataclass(frozen=True, slots=True)
class Found:
    """The tests of a row, and what they say about it."""

    cases: tuple[Case, ...]
    entry_point: str | None = None
    time_limit: float | None = None


@dataclass(frozen=True, slots=True)
class _Test:
    """One test as it stands."""

    given: Any
    wanted: Any
    kind: str | None = None
    name: str | None = None
    public: bool = False


def read_tests(key: str, value: Any, *, entry_point: str | None = None, public: bool = False) -> Found:
    """The tests under a key.

    :param entry_point: the function's name by the row, for tests that name none
    :raises Unsupported: the value is no list of tests at all
    :raises BadInput: names the key, the test and the reason; also where there is no test, or every program would pass

    >>> read_tests("tests", "[{'input': '1 2', 'output': '3'}]").cases
    (Case(input='1 2', output='3', public=False),)
    """
    value = opened(key, value)
    limit = None
    if isinstance(value, Mapping):
        about = present(value)
        kind = about.get("testtype", about.get("type"))
        if kind == "code":
            raise Unsupported(f"key {key}: testtype 'code' cannot be graded; stdin and functional can")
        limit = time_limit(about.get("time_limit"), f"{key}.time_limit")
        own = next((entry_name(about[name], f"{key}.{name}") for name in NAMES if name in about), None)
        if "assert_case" in about and not about.get("inputs"):
            return assertions(f"{key}.assert_case", about["assert_case"], own or entry_point)
        if "test_code" in about and not about.get("inputs"):
            return _checked(f"{key}.test_code", about["test_code"], own or entry_point)
        tests = _side_by_side(key, about, own)
    elif isinstance(value, list):
        if value and all(isinstance(test, str) for test in value):
            return assertions(key, value, entry_point)
        tests = [_test(key, number, test, public) for number, test in enumerate(value, 1)]
    else:
        raise Unsupported(f"key {key}: must hold {FORMS}, found {type(value).__name__}")
    if not tests:
        raise Unsupported(f"key {key}: holds no test, or every program would pass: leave the problem out")
    name = _entry_point(key, tests, entry_point)
    return Found(_cases(key, tests, name is not None), name, limit)


def _checked(key: str, text: Any, name: str | None) -> Found:
    if name is None:
        raise BadInput(f"key {key}: needs entry_point: which function does check(candidate) test?")
    return check_function(key, str(text), name)


def opened(key: str, value: Any) -> Any:
    """The value of a text, or the value as it is; an empty text and null are an empty list.

    :raises Unsupported: a text that is neither JSON nor Python, nor looks like either
    :raises BadInput: one that begins like a list or an object and is none
    """
    if hasattr(value, "tolist"):
        value = value.tolist()  # an array of a parquet reader
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if is_absent(value) or (isinstance(value, str) and not value.strip()):
        return []
    if not isinstance(value, str):
        return value
    try:
        found = parse(value)
        return [] if found is None else found
    except ValueError as error:
        if value.lstrip()[:1] in ("[", "{", "("):
            raise BadInput(f"key {key}: not JSON in a string ({error}), nor a Python literal") from error
        raise Unsupported(
            f"key {key}: holds no tests, but the text {short(value)}: not JSON in a string ({error})"
        ) from error


def time_limit(value: Any, key: str) -> float | None:
    """A positive number of seconds; None where it is absent.

    :raises BadInput: anything else
    """
    if is_absent(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise BadInput(f"key {key}: must be a positive number of seconds, found {value!r}")
    return float(value)


def _side_by_side(key: str, about: Mapping[str, Any], own: str | None) -> list[_Test]:
    """Lists of inputs and outputs, and of whatever else the tests have."""
    words = ("inputs", "outputs")
    if words[0] not in about and words[1] not in about:
        words = ("input", "output")
    if words[0] not in about and words[1] not in about:
        # Tables of trainers hold other tasks beside code.
        error = Unsupported if key.startswith(MIXED) else BadInput
        raise error(f"key {key}: must hold {FORMS}, found {', '.join(about) or 'nothing'}")
    given, wanted = (_listed(f"{key}.{word}", about.get(word)) for word in words)
    if len(given) != len(wanted):
        raise BadInput(f"key {key}: {len(given)} inputs and {len(wanted)} outputs: one output per input")
    kinds = about.get("testtype", about.get("type"))
    kinds = kinds if isinstance(kinds, list) else [kinds] * len(given)
    names = about.get("fn_name") if isinstance(about.get("fn_name"), list) else [own] * len(given)
    return [
        _Test(*pair, _kind(key, kind), entry_name(name, f"{key}.fn_name"))
        for pair, kind, name in zip(zip(given, wanted, strict=True), kinds, names or [], strict=False)
    ]


def _listed(key: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        value = opened(key, value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list):
        raise BadInput(f"key {key}: must be a list of tests")
    return value


def _test(key: str, number: int, test: Any, public: bool) -> _Test:
    where = f"key {key}: test {number}"
    if isinstance(test, Sequence) and not isinstance(test, str) and len(test) == 2:
        return _Test(test[0], test[1], public=public)
    if not isinstance(test, Mapping):
        raise Unsupported(f"{where}: must be an object with input and output, found {type(test).__name__}")
    about = present(test)
    if "assert_case" in about:
        raise Unsupported(f"{where}: assert_case beside other tests cannot be graded")
    for word in ("input", "output"):
        if word not in about:
            raise BadInput(f"{where}: needs {word}, a string; found {', '.join(about) or 'nothing'}")
    metadata = about.get("metadata")
    metadata = opened(f"{key}[{number - 1}].metadata", metadata) if metadata is not None else {}
    places = [about, metadata if isinstance(metadata, Mapping) else {}]
    name = next((found for place in places if (found := get(place, *NAMES)) is not None), None)
    shown = about.get("public", public)
    return _Test(
        about["input"],
        about["output"],
        _kind(f"{key}[{number - 1}]", get(about, "testtype", "test_type", "type")),
        entry_name(name, f"{key}[{number - 1}].func_name"),
        shown is True,
    )


def _kind(key: str, word: Any) -> str | None:
    if is_absent(word) or word == "":
        return None
    if word in STDIN:
        return "stdin"
    if word in CALL:
        return "functional"
    raise Unsupported(f"key {key}: testtype {short(word)} cannot be graded; stdin and functional can")


def _entry_point(key: str, tests: Sequence[_Test], by_row: str | None) -> str | None:
    """The function that all tests call; None: they run the program on standard input."""
    kinds = {test.kind for test in tests if test.kind is not None}
    if len(kinds) > 1:
        raise BadInput(f"key {key}: testtype is stdin in some tests and functional in others")
    names = {test.name for test in tests if test.name is not None}
    if len(names) > 1:
        raise BadInput(f"key {key}: the tests call several functions: {', '.join(sorted(names))}")
    if kinds == {"stdin"} and not names:
        return None
    name = next(iter(names), by_row)
    if kinds == {"functional"} and name is None:
        raise BadInput(
            f"key {key}: testtype is functional, but no function is named: give metadata.func_name, fn_name or "
            "entry_point"
        )
    return name


def _cases(key: str, tests: Sequence[_Test], called: bool) -> tuple[Case, ...]:
    # APPS wraps a call's result in a list of its own in some problems and not in others.
    wrapped = called and all(isinstance(test.wanted, list) and len(test.wanted) == 1 for test in tests)
    found = []
    for number, test in enumerate(tests, 1):
        if called:
            try:
                given = arguments(test.given)
                wanted = dumps(test.wanted[0]) if wrapped else result(test.wanted)
            except ValueError as error:
                raise BadInput(f"key {key}: test {number}: {error}") from error
        else:
            given, wanted = _stream(test.given), _stream(test.wanted)
        for part in (given, wanted):
            try:
                part.encode()
            except UnicodeEncodeError as error:
                raise BadInput(f"key {key}: test {number} holds half a surrogate pair") from error
        found.append(Case(given, wanted, test.public))
    return tuple(found)


def _stream(value: Any) -> str:
    """Standard input or output: text, or a list of its lines."""
    if isinstance(value, list):
        return "\n".join(line if isinstance(line, str) else dumps(line) for line in value)
    return value if isinstance(value, str) else dumps(value)
