"""The journal, the cache and the keys: nothing is lost, nothing is run twice, nothing false is shared."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opsd_rs import Case, Grade, Grader, Problem, Solution
from opsd_rs.errors import BadInput
from opsd_rs.grading.files.cache import Cache
from opsd_rs.grading.files.journal import Journal
from opsd_rs.grading.files.keys import grader_digest, problem_digest, program_key
from opsd_rs.grading.files.record import Record
from opsd_rs.grading.files.solutions import read_solutions
from opsd_rs.records import SecondVerdict

RESULT = Record.of(Grade("add", 0, True, "accepted", (), feedback="é\ud800"))


def changed(**values: Any) -> Record:
    return Record.of(dataclasses.replace(RESULT.grade, **values))


def keep(path: Path, *keys: str) -> None:
    with Journal(path, resume=False) as journal:
        for key in keys:
            journal.put(key, changed(feedback=key))


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "r.journal"
    with Journal(path, resume=False) as journal:
        journal.put("a", RESULT)
        journal.put("b", changed(sample=1))
        assert (journal.get("a"), journal.get("b").grade.sample) == (RESULT, 1)
    for line in path.read_text().splitlines():
        assert list(json.loads(line)) == ["key", "result"]
    with Journal(path, resume=True) as journal:
        assert (len(journal), "a" in journal, "c" in journal) == (2, True, False)
        assert journal.get("a") == RESULT


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.journal"
    keep(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path, resume=True) as journal:
        assert ("a" in journal, "b" in journal) == (True, False)
        journal.put("c", RESULT)
        assert journal.get("c") == RESULT
    with Journal(path, resume=True) as journal:
        assert [key in journal for key in "abc"] == [True, False, True]
        assert journal.get("a").grade.feedback == "a"


def test_a_corrupt_line_is_named_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "r.journal"
    keep(path, "a", "b")
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:30]}\n{second}\n")
    with pytest.raises(BadInput, match=r"r\.journal, line 2: corrupt"):
        Journal(path, resume=True)


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "r.journal"
    with Journal(path, resume=False):
        with pytest.raises(BadInput, match="exists"):
            Journal(path, resume=False)
        with pytest.raises(BadInput, match="another run is writing it"):
            Journal(path, resume=True)
    with Journal(path, resume=True):
        pass


def test_a_null_is_never_kept(tmp_path: Path) -> None:
    second = changed(also=SecondVerdict("lcb-2025-05", "infra_error", None))
    for null in (changed(passed=None, verdict="infra_error"), second):
        with Journal(tmp_path / "r.journal", resume=False) as journal, pytest.raises(AssertionError):
            journal.put("a", null)
        with pytest.raises(AssertionError):
            Cache(tmp_path / "cache").put("a" * 64, null)
    assert Cache(tmp_path / "cache").get("a" * 64) is None


def test_a_cache_keeps_and_distrusts_what_is_broken(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path / "new" / "cache"), "ab" * 32
    assert cache.get(key) is None
    cache.put(key, RESULT)
    cache.put(key, RESULT)
    [file] = (tmp_path / "new" / "cache").rglob("*.json")
    assert Cache(tmp_path / "new" / "cache").get(key) == RESULT
    for text in ("", "[]", '{"key": "other", "result": {"passed": true}}', '{"key": "' + key + '"}'):
        file.write_text(text)
        assert cache.get(key) is None
    cache.put(key, RESULT)
    assert cache.get(key) == RESULT
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--cache"):
        Cache(tmp_path / "file")


MANY = """
import sys
from pathlib import Path
from opsd_rs import Grade
from opsd_rs.grading.files.cache import Cache
from opsd_rs.grading.files.record import Record
cache = Cache(Path(sys.argv[1]))
RESULT = Record.of(Grade("add", 0, True, "accepted", (), feedback="x" * 5000))
for turn in range(300):
    key = f"{turn % 10:064}"
    found = cache.get(key)
    assert found is None or found == RESULT, found
    cache.put(key, RESULT)
"""


def test_a_cache_is_shared_by_runs_at_the_same_time(tmp_path: Path) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path)]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert len(list(tmp_path.rglob("*.json"))) == 10
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 10, "nothing is left beside"


# ---- keys -----------------------------------------------------------------------------------------

ADD = Problem("add", "Add.", (Case("1 2", "3"), Case("2 3", "5")))


def test_a_key_holds_all_that_a_verdict_depends_on() -> None:
    def key(problem: Problem = ADD, extract: str = "last", **more: Any) -> str:
        solution = dataclasses.replace(Solution("add", 0, code="print(3)"), **more)
        return program_key("grader", problem_digest(problem), solution, extract)

    same = key()
    assert key(sample=3) == key(problem=dataclasses.replace(ADD, prompt="Other words.")) == same
    assert key(extract="official") == same, "code as it is needs no extraction"
    assert key(completion="also said") == same
    others = [
        key(code="print(4)"),
        key(code=None, completion="print(3)"),
        key(code=None, completion="print(3)", extract="official"),
        key(truncated=True),
        key(problem=dataclasses.replace(ADD, tests=ADD.tests[::-1])),
        key(problem=dataclasses.replace(ADD, tests=ADD.tests[:1])),
        key(problem=dataclasses.replace(ADD, entry_point="add")),
        key(problem=dataclasses.replace(ADD, time_limit_seconds=2.0)),
        key(problem=dataclasses.replace(ADD, memory_limit_mib=64)),
        program_key("other", problem_digest(ADD), Solution("add", 0, code="print(3)"), "last"),
    ]
    assert len({same, *others}) == len(others) + 1
    assert len(same) == 64


def test_every_setting_of_a_grader_that_moves_verdicts_is_in_its_digest() -> None:
    def digest(**settings: Any) -> str:
        with Grader(workers=settings.pop("workers", 1), **settings) as grader:
            return grader_digest(grader.identity())

    same = digest()
    assert digest(workers=2, extract="longest") == same
    others = [digest(isolation="test"), digest(cpu_seconds=1.0), digest(stop="first-failure")]
    assert len({same, *others}) == 4
    with Grader(workers=1) as grader:
        identity = grader.identity()
    for name in ("python_version", "sandbox_level", "policy_hash", "version", "limits", "isolation"):
        assert grader_digest({**identity, name: "other"}) != same


# ---- solutions ------------------------------------------------------------------------------------


def test_solutions_in_the_custom_output_form(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    items = [
        {"question_id": "b", "code_list": ["print(1)", ""], "output_list": ["I say", "nothing"]},
        {"question_id": 17, "code_list": ["x"]},
    ]
    path.write_text(json.dumps(items, indent=1))
    assert read_solutions(path, dict.fromkeys(["b", "17"])) == [
        Solution("b", 0, code="print(1)", completion="I say"),
        Solution("b", 1, code="", completion="nothing"),
        Solution("17", 0, code="x"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"question_id": "b"}]', "item 0: key code_list"),
        ('[{"question_id": "b", "code_list": [3]}]', "item 0: key code_list"),
        ('[{"question_id": "b", "code_list": ["", ""], "output_list": [""]}]', "item 0: key output_list"),
        ('[{"code_list": []}]', "item 0: must be an object with question_id"),
        ('[{"question_id": "c", "code_list": [""]}]', "item 0: problem_id 'c' is not among"),
        ('[{"question_id": "b", "code_list": [""]}, {"question_id": "b", "code_list": [""]}]',
         "item 1: sample 0 of 'b' is already at .*item 0"),
        ('[{"question_id"', "not a JSON array"),
    ],
)  # fmt: skip
def test_bad_custom_output_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=f"s.json.*{words}"):
        read_solutions(path, {"b": None})
