"""LiveCodeBench's files: every way its tests are packed, nothing that is not one string, and the download."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lcb_records import hub, jsonl, pack, record
from opsd_rs.errors import BadInput
from opsd_rs.problems import fetch_lcb, from_config, livecodebench, load
from opsd_rs.problems.livecodebench import RELEASES, decode_tests, expand_release, read_pickled_str
from opsd_rs.problems.sets import dump
from opsd_rs.records import Case, Problem

REAL = Path(__file__).parents[3] / "shared" / "cases" / "grader" / "real"


@given(st.text(st.characters(codec=None)), st.integers(1, pickle.HIGHEST_PROTOCOL))
def test_the_reader_agrees_with_pickle_on_every_str(text: str, protocol: int) -> None:
    data = pickle.dumps(text, protocol=protocol)
    assert read_pickled_str(data) == pickle.loads(data) == text


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536, 1_000_000])
def test_the_reader_agrees_with_pickle_at_the_length_borders(size: int, protocol: int) -> None:
    text = "ß" * (size // 2) + "x" * (size % 2)
    assert read_pickled_str(pickle.dumps(text, protocol=protocol)) == text


class _Trap:
    """What unpickling untrusted data means."""

    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)

    def __repr__(self) -> str:
        return "trap"


@pytest.mark.parametrize(
    "value", [_Trap(), {"1": "2"}, ["a"], ("a",), b"bytes", 7, None, 1.5, ["a", _Trap()]], ids=repr
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_reader_refuses_everything_else(value: Any, protocol: int) -> None:
    with pytest.raises(ValueError, match=r"pickle: (refused at byte \d+|the stream is cut)"):
        read_pickled_str(pickle.dumps(value, protocol=protocol))


@given(st.binary(max_size=60))
def test_the_reader_never_does_anything_but_read_or_refuse(data: bytes) -> None:
    try:
        text = read_pickled_str(data)
    except ValueError:
        return
    assert pickle.loads(data) == text


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_cut_pickle_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="cut"):
        read_pickled_str(pickle.dumps("hello", protocol=3)[:-cut])


def test_two_strings_or_trailing_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="refused"):
        read_pickled_str(b"\x80\x04\x8c\x01a\x94\x8c\x01b\x94.")
    with pytest.raises(ValueError, match="after its end"):
        read_pickled_str(pickle.dumps("a") + b"cos\nsystem\n")


tests_lists = st.lists(
    st.fixed_dictionaries({"input": st.text(), "output": st.text(), "testtype": st.just("stdin")}), max_size=4
)


@settings(max_examples=50)
@given(tests_lists, st.integers(1, 5))
def test_plain_and_packed_give_the_same(tests: list[dict[str, str]], protocol: int) -> None:
    assert decode_tests(json.dumps(tests)) == tests
    assert decode_tests(pack(tests, protocol)) == tests


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not base64!", "neither JSON nor base64"),
        (base64.b64encode(b"no zlib").decode(), "zlib: "),
        (base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-5]).decode(), "zlib: the stream is cut"),
        (base64.b64encode(zlib.compress(pickle.dumps({"1": "2"}))).decode(), "pickle: refused"),
        (base64.b64encode(zlib.compress(pickle.dumps("[1"))).decode(), "Expecting"),
        (pack([1])[:-8], "zlib: the stream is cut"),
    ],
)
def test_the_layer_that_does_not_open_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "test6.jsonl"
    file.write_bytes(jsonl([record("a"), record("b", private_test_cases=text)]))
    with pytest.raises(BadInput) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:2: key private_test_cases: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("download the file again")


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livecodebench, "MAX_TEST_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        decode_tests(pack(["x" * 5000]))


def test_a_stdin_record(tmp_path: Path) -> None:
    file = tmp_path / "test6.jsonl"
    file.write_bytes(jsonl([record("abc390_a")]))
    assert load(file) == [
        Problem(
            problem_id="abc390_a",
            prompt="Read n, print n + 1. (abc390_a)",
            tests=(Case("9\n", "10\n", public=True), *(Case(f"{i}\n", f"{i + 1}\n") for i in range(4))),
            difficulty="easy",
            platform="atcoder",
            date="2025-02-08",
            release="v6",
        )
    ]


def test_a_function_record(tmp_path: Path) -> None:
    starter = "class Solution:\n    def addOne(self, n: int) -> int:\n        "
    file = tmp_path / "mine.jsonl"
    tests = [{"input": "1\n[2, 3]", "output": "[4]", "testtype": "functional"}]
    changed = {"metadata": json.dumps({"func_name": "addOne"}), "starter_code": starter, "private": tests}
    file.write_bytes(jsonl([record("3456", platform="leetcode", **changed)]))
    (problem,) = load(file)
    assert (problem.entry_point, problem.kind, problem.release) == ("addOne", "function", None)
    assert problem.starter_code == starter
    assert problem.tests[1] == Case("1\n[2, 3]", "[4]")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metadata": "[]"}, "key metadata: not a JSON object in a string"),
        ({"metadata": "{"}, "key metadata: not a JSON object in a string"),
        ({"metadata": '{"func_name": 3}'}, "key metadata: func_name must be a string"),
        ({"contest_date": "February"}, "key contest_date: not an ISO date: 'February'"),
        ({"platform": 3}, "key platform: must be a string, found int"),
        ({"question_id": ""}, "key question_id: must not be empty"),
        ({"public_test_cases": "[{"}, "key public_test_cases: not JSON"),
        ({"public_test_cases": "{}"}, "key public_test_cases: must hold a list of tests, found dict"),
        ({"private": [{"input": 3, "output": "4"}]}, "key private_test_cases[0].input: must be a string"),
        (
            {"private": [{"input": "\ud800", "output": ""}]},
            "key private_test_cases[0].input: holds half a surr",
        ),
    ],
)
def test_a_corrupt_record_names_file_line_and_key(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    file = tmp_path / "test.jsonl"
    file.write_bytes(jsonl([record("a"), record("b", **changed)]))
    with pytest.raises(BadInput) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:2: {message}")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    broken = record("b")
    del broken["public_test_cases"], broken["private_test_cases"]
    (tmp_path / "test.jsonl").write_bytes(jsonl([broken]))
    with pytest.raises(
        BadInput, match=r"test\.jsonl:1: key public_test_cases is missing: not a record of Live"
    ):
        load(tmp_path / "test.jsonl")


def test_what_is_filtered_out_is_not_decoded(tmp_path: Path) -> None:
    file = tmp_path / "test6.jsonl"
    old = record("old", contest_date="2025-01-31T23:00:00", private_test_cases="broken")
    file.write_bytes(jsonl([old, record("new")]))
    assert [problem.problem_id for problem in load(file, date_from="2025-02-01")] == ["new"]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("v6", "6"),
        ("release_v6", "123456"),
        ("release_latest", "123456"),
        ("release_v1", "1"),
        ("v4_v6", "456"),
        ("v2_v2", "2"),
    ],
)
def test_releases(word: str, names: str) -> None:
    assert expand_release(word) == tuple(f"v{name}" for name in names)


@pytest.mark.parametrize("word", ["v7", "v6_v4", "6", "release_v1_v2", "", "release_v0", "V6"])
def test_no_such_release(word: str) -> None:
    with pytest.raises(BadInput, match="v1, v2, v3, v4, v5, v6"):
        expand_release(word)


def test_the_published_window_by_date(tmp_path: Path) -> None:
    from opsd_rs.config import ProblemsConfig

    days = ["2025-01-31T00:00:00", "2025-02-01T00:00:00", "2025-04-30T21:00:00", "2025-05-01T00:00:00"]
    file = tmp_path / "test6.jsonl"
    file.write_bytes(jsonl([record(f"p{i}", contest_date=day) for i, day in enumerate(days)]))
    config = ProblemsConfig(path=str(file), split="sdpo", date_from="2025-02-01", date_to="2025-05-01")
    found = from_config(config)
    assert [problem.problem_id for problem in found.full] == ["p1", "p2"]
    assert (found.num_read, found.dropped) == (4, {"date": 2})
    assert found.notes == (
        f"{file}: 2 problems from 2025-02-01 to before 2025-05-01; the published runs have 131",
    )


# ---- the download --------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("online")
def test_one_release_is_one_file(tmp_path: Path) -> None:
    with hub({"test6.jsonl": jsonl([record("a"), record("b")])}) as server:
        lines: list[str] = []
        file = fetch_lcb("v6", tmp_path / "lcb", server.endpoint, progress=lines.append)
        assert file == tmp_path / "lcb" / "test6.jsonl"
        assert [problem.release for problem in load(file)] == ["v6", "v6"]
        assert lines == ["LiveCodeBench v6: test6.jsonl (1 of 1)"]
        fetch_lcb("v6", tmp_path / "lcb", server.endpoint)
        gets = [path for command, path, _ in server.requests if command == "GET" and "resolve" in path]
        assert len(gets) == 1, "the second call asks for the etag only"


@pytest.mark.usefixtures("online")
def test_several_releases_are_a_folder_and_the_environment_names_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: jsonl([record(release)]) for release, name in RELEASES.items()}
    with hub(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        folder = fetch_lcb("release_v6")
    assert folder == tmp_path / "cache" / "data" / "livecodebench"
    assert [problem.problem_id for problem in load(folder)] == ["v1", "v2", "v3", "v4", "v5", "v6"]
    assert [problem.release for problem in load(folder, release=["v2_v3", "v6"])] == [
        "v2",
        "v3",
        "v6",
    ]
    assert len(load(folder, release=["release_v4"])) == 4


@pytest.mark.usefixtures("online")
def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(
        constants, "DOWNLOAD_CHUNK_SIZE", 1000
    )  # else a small file is one chunk, whole or nothing
    data = jsonl([record(f"p{i}") for i in range(50)])
    with hub({"test6.jsonl": data}, break_first=5000) as server:
        file = fetch_lcb("v6", tmp_path, server.endpoint)
        ranges = [ask for command, path, ask in server.requests if command == "GET" and "resolve" in path]
    assert file.read_bytes() == data
    assert ranges == [None, "bytes=5000-"]


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(("status", "said"), [(200, "404"), (401, "401"), (403, "403")])
def test_the_hubs_refusal_is_one_line(tmp_path: Path, status: int, said: str) -> None:
    with (
        hub({}, status=status) as server,
        pytest.raises(BadInput, match=rf"test6\.jsonl: the hub answered {said} for livecodebench/"),
    ):
        fetch_lcb("v6", tmp_path, server.endpoint)


@pytest.mark.usefixtures("online")
def test_no_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda seconds: None
    )  # between its five tries
    with hub({}) as server:
        nobody = server.endpoint
    with pytest.raises(BadInput, match=r"fetch LiveCodeBench: test6\.jsonl: .*run the command again"):
        fetch_lcb("v6", tmp_path, nobody)


def test_offline_mode_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set: unset it"):
        fetch_lcb("v6", tmp_path, "http://127.0.0.1:1")


# ---- real tests ----------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared real problems are not beside this checkout")
@pytest.mark.parametrize("protocol", [2, 4])
def test_real_tests_survive_the_packing(tmp_path: Path, protocol: int) -> None:
    with gzip.open(REAL / "lcb_full_tests_3.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    records = []
    for row in rows:
        tests = [
            {"input": i, "output": o, "testtype": "x"}
            for i, o in zip(row["inputs"], row["outputs"], strict=True)
        ]
        metadata = json.dumps({"func_name": row["fn_name"]} if row["fn_name"] else {})
        packed = pack(tests[1:], protocol)
        records.append(
            record(
                row["question_id"],
                metadata=metadata,
                public_test_cases=json.dumps(tests[:1]),
                private_test_cases=packed,
            )
        )
    (tmp_path / "test.jsonl").write_bytes(jsonl(records))
    loaded = load(tmp_path / "test.jsonl")
    for row, problem in zip(rows, loaded, strict=True):
        assert [test.input for test in problem.tests] == row["inputs"]
        assert [test.output for test in problem.tests] == row["outputs"]
        assert problem.entry_point == row["fn_name"]
    dump(loaded, tmp_path / "ours.jsonl")
    again = load(tmp_path / "ours.jsonl")
    assert again == loaded
