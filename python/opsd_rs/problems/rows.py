"""Problems whose tests are two lists side by side, inputs and outputs: APPS, TACO, SDPO, verl.

One record in, one problem out. APPS and TACO keep the lists in ``input_output``, SDPO in ``tests``, tables made for
verl in ``reward_model.ground_truth``; each as JSON in a string or as an object. Limits that APPS and TACO state were
set for compiled languages and are ignored; SDPO's ``time_limit`` is its grader's and is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.problems.ours import is_date
from opsd_rs.records import Case, Problem


def is_record(first: Mapping[str, Any]) -> bool:
    """Whether a file's first record is of one of these shapes."""
    return _key(first) is not None


def pairs_head(record: Mapping[str, Any], number: int) -> Problem:
    """All but the tests. ``number``: the record's place in the file, its name where it has none.

    :raises BadInput: names the key
    """
    key, pairs = _pairs(record)
    extra = record.get("extra_info") or {}
    names = [record.get(name) for name in ("problem_id", "question_id", "task_id", "id", "idx")]
    names.append(extra.get("index") if isinstance(extra, Mapping) else None)
    name = next((value for value in names if value is not None and value != ""), number)
    if not isinstance(name, (str, int)):
        raise BadInput(f"the problem's name must be a string or an integer, found {type(name).__name__}")
    entry_point = pairs.get("fn_name")
    if entry_point is not None and not isinstance(entry_point, str):
        raise BadInput(f"key {key}.fn_name: must be a string, found {type(entry_point).__name__}")
    limit = pairs.get("time_limit", 6.0)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < 1e6:
        raise BadInput(f"key {key}.time_limit: must be a positive number of seconds, found {limit!r}")
    date = record.get("date")
    return Problem(
        problem_id=str(name),
        prompt=_prompt(record),
        tests=(),
        starter_code=_words(record, "starter_code"),
        entry_point=entry_point or None,
        solution=_solution(record.get("solutions")),
        difficulty=_words(record, "difficulty"),
        platform=_words(record, "source") or _words(record, "platform"),
        date=date if isinstance(date, str) and is_date(date) else None,
        time_limit_seconds=float(limit),
    )


def pairs_cases(record: Mapping[str, Any]) -> tuple[Case, ...]:
    """The tests in the record's order.

    :raises BadInput: names the key; also where there is no test, or every program would pass
    """
    key, pairs = _pairs(record)
    inputs, outputs = pairs.get("inputs"), pairs.get("outputs")
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if not isinstance(value, list):
            raise BadInput(f"key {key}.{name}: must be a list of tests")
    assert isinstance(inputs, list)
    assert isinstance(outputs, list)
    if len(inputs) != len(outputs):
        raise BadInput(f"key {key}: {len(inputs)} inputs and {len(outputs)} outputs: one output per input")
    if not inputs:
        raise BadInput(f"key {key}: holds no test, or every program would pass: leave the problem out")
    called = bool(pairs.get("fn_name"))
    # APPS wraps a call's result in a list of its own in some problems and not in others.
    wrapped = called and all(isinstance(value, list) and len(value) == 1 for value in outputs)
    found: list[Case] = []
    for given, wanted in zip(inputs, outputs, strict=True):
        if called:
            # Text is LiveCodeBench's form, one JSON value per line already; a list holds the arguments.
            as_text = isinstance(given, str)
            arguments = given if isinstance(given, list) else [given]
            text = given if as_text else "\n".join(map(_dump, arguments))
            expected = (
                wanted if as_text and isinstance(wanted, str) else _dump(wanted[0] if wrapped else wanted)
            )
        else:
            text, expected = _stream(given), _stream(wanted)
        for part in (text, expected):
            try:
                part.encode()
            except UnicodeEncodeError as error:
                raise BadInput(f"key {key}: test {len(found)} holds half a surrogate pair") from error
        found.append(Case(text, expected))
    return tuple(found)


def _key(record: Mapping[str, Any]) -> str | None:
    if "input_output" in record:
        return "input_output"
    if "reward_model" in record:
        return "reward_model.ground_truth"
    # SDPO's "tests"; in our own files that is a list of tests.
    return "tests" if "tests" in record and not isinstance(record["tests"], list) else None


def _pairs(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    key = _key(record)
    if key is None:
        raise BadInput(
            "none of the keys input_output, tests, reward_model: not of the form of the file's first"
        )
    kind = record.get("kind", "code")
    if key == "tests" and kind != "code":
        raise BadInput(f"key kind: only code can be graded, found {kind!r}")
    value: Any = record.get(key) if "." not in key else (record["reward_model"] or {}).get("ground_truth")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {"inputs": [], "outputs": []}
        except (ValueError, RecursionError) as error:
            raise BadInput(f"key {key}: not JSON in a string ({error})") from error
    if not isinstance(value, Mapping):
        raise BadInput(f"key {key}: must hold inputs and outputs, found {type(value).__name__}")
    return key, value


def _prompt(record: Mapping[str, Any]) -> str:
    prompt = next((record[name] for name in ("question", "prompt", "description") if record.get(name)), "")
    if isinstance(prompt, list):  # messages of a chat
        said = [part.get("content") for part in prompt if isinstance(part, Mapping)]
        prompt = said[-1] if said else ""
    if not isinstance(prompt, str):
        raise BadInput(f"the problem's statement must be a string, found {type(prompt).__name__}")
    return prompt


def _words(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    return str(value) if isinstance(value, (str, int)) and str(value).strip() else None


def _solution(value: Any) -> str | None:
    """The first of the published programs; they come as a JSON list in a string, or not at all."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None  # it is not needed for grading
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) else None


def _stream(value: Any) -> str:
    """Standard input or output: text, or a list of its lines."""
    if isinstance(value, list):
        return "\n".join(line if isinstance(line, str) else _dump(line) for line in value)
    return value if isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
