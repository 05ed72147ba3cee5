"""LiveCodeBench's rows after pandas, datasets or a script wrote them out again: the same problems."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import polars
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lcb_records import pack, record
from opsd_rs.errors import BadInput
from opsd_rs.problems import index, load
from opsd_rs.problems.pickles import read_pickle

PRIVATE = [{"input": f"{n}\n", "output": f"{n + 1}\n", "testtype": "stdin"} for n in range(4)]
PUBLIC = [{"input": "9\n", "output": "10\n", "testtype": "stdin"}]
ALL = [("9\n", "10\n", True), *((test["input"], test["output"], False) for test in PRIVATE)]


def packed(value: Any, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol=protocol))).decode()


def wrapped(text: str) -> str:
    return "".join(text[place : place + 76] + "\n" for place in range(0, len(text), 76))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "changed",
    [
        {"public_test_cases": PUBLIC, "private_test_cases": PRIVATE},
        {"public_test_cases": repr(PUBLIC), "private_test_cases": repr(PRIVATE)},
        {"private_test_cases": json.dumps(PRIVATE)},
        {"private_test_cases": json.dumps(pack(PRIVATE))[1:-1]},
        {"private_test_cases": wrapped(pack(PRIVATE))},
        {"private_test_cases": packed(PRIVATE)},
        {"private_test_cases": packed(PRIVATE, protocol=2)},
        {"private_test_cases": base64.b64encode(zlib.compress(json.dumps(PRIVATE).encode())).decode()},
        {"private_test_cases": {key: [test[key] for test in PRIVATE] for key in PRIVATE[0]}},
        {"metadata": {}},
        {"metadata": {"func_name": None}},
        {"metadata": None},
        {"metadata": "{'func_name': None}"},
        {"metadata": ""},
        {"starter_code": None},
        {"contest_id": 390, "question_title": None},
        {"contest_date": 1738972800000},
        {"contest_date": 1738972800.0},
        {"contest_date": "2025-02-08 00:00:00"},
        {"contest_date": "2025-02-08"},
        {"question_id": 2727},
        {"question_id": 2727.0},
    ],
    ids=lambda changed: json.dumps(changed)[:50],
)
def test_the_same_problem(tmp_path: Path, changed: dict[str, Any]) -> None:
    (problem,) = load(write(tmp_path / "p.jsonl", record("2727", **changed)))
    assert [(test.input, test.output, test.public) for test in problem.tests] == ALL
    assert (problem.problem_id, problem.date, problem.entry_point) == ("2727", "2025-02-08", None)
    (entry,) = index(tmp_path / "p.jsonl").values()
    assert entry.card is not None
    assert (entry.card["contest_date"], entry.card["question_id"]) == ("2025-02-08T00:00:00", "2727")
    assert "None" not in entry.card.values()


def test_rows_with_fewer_columns(tmp_path: Path) -> None:
    rows = [
        record("a", private_test_cases=None),
        record("b", private_test_cases=""),
        record("c", public_test_cases=None),
        {"question_id": "d", "question_content": "Add.", "private_test_cases": pack(PRIVATE)},
    ]
    found = load(write(tmp_path / "p.jsonl", *rows))
    assert [len(problem.tests) for problem in found] == [1, 1, 4, 4]
    assert (found[3].difficulty, found[3].platform, found[3].date) == (None, None, None)
    table = tmp_path / "p.parquet"
    polars.DataFrame(rows, infer_schema_length=None).write_parquet(table)
    assert load(table) == found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"private_test_cases": "", "public_test_cases": "[]"}, "holds no test"),
        (
            {"private": [{**PRIVATE[0], "testtype": "functional"}]},
            r"private_test_cases\[0\].testtype: functional, but",
        ),
        ({"metadata": {"func_name": "not a name"}}, "func_name: 'not a name' is neither a name"),
        ({"metadata": 3}, "metadata: not a JSON object"),
        ({"question_id": True}, "question_id: must be a string, found bool"),
        ({"contest_date": "soon"}, "contest_date: not an ISO date"),
        ({"private_test_cases": packed({"a": {1}})}, "pickle: refused at byte"),
        ({"private_test_cases": packed({"a": 1})}, "pickle: refused: holds dict"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=rf"p\.jsonl:1: key .*{words}"):
        load(write(tmp_path / "p.jsonl", record("a", **changed)))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain, st.integers(1, pickle.HIGHEST_PROTOCOL))
def test_pickles_of_plain_values_are_read_as_pickle_reads_them(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    assume(protocol > 1)  # the first one writes numbers as text
    assert read_pickle(data) == pickle.loads(data) == value


class _Trap:
    def __reduce__(self) -> Any:
        return print, ("ran",)

    def __repr__(self) -> str:
        return "trap"


@pytest.mark.parametrize("value", [_Trap(), [_Trap()], {"a": _Trap()}, b"x", {1}, {1: 2}, print], ids=repr)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_anything_else_are_refused(
    value: Any, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="pickle: refused at byte"):
        read_pickle(pickle.dumps(value, protocol=protocol))
    assert capsys.readouterr().out == ""


def test_a_list_cannot_be_put_into_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="refused"):
        read_pickle(pickle.dumps(endless))
