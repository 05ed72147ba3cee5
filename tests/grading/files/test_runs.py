"""``opsd-rs grade`` as a user runs it: killed and gone on with, side by side with itself, with every kind of file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars
import pytest
from graded import RIGHT
from lcb_records import jsonl, record
from processes import Watcher, alive, children, family, wait_until

ADD = {"problem_id": "add", "prompt": "Add.", "difficulty": "easy",
       "tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "4 5\n", "output": "9\n"}]}  # fmt: skip
BUSY = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n" + RIGHT


def words(folder: Path, *more: str, out: str = "r.jsonl", problems: str = "p.jsonl") -> list[str]:
    files = ["--problems", problems, "--solutions", "s.jsonl", "--out", out]
    return [sys.executable, "-m", "opsd_rs.cli", "grade", *files, "--workers", "2", "--format", "json", *more]


def grade(folder: Path, *more: str, code: int = 0, **names: str) -> dict[str, Any]:
    done = subprocess.run(
        words(folder, *more, **names), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}
    return summary


def given(folder: Path, *codes: str) -> None:
    (folder / "p.jsonl").write_text(json.dumps(ADD) + "\n")
    lines = [{"problem_id": "add", "sample": n, "code": code} for n, code in enumerate(codes)]
    (folder / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(results: list[dict[str, Any]]) -> dict[tuple[str, int], Any]:
    """What of the results does not depend on the machine's load."""
    assert len({(r["problem_id"], r["sample"]) for r in results}) == len(results), "each once"
    return {
        (r["problem_id"], r["sample"]): (r["passed"], r["verdict"], r["feedback"], [t["verdict"] for t in r["tests"]])
        for r in results
    }  # fmt: skip


def test_killed_in_mid_run_and_gone_on_with(tmp_path: Path) -> None:
    codes = [
        f"{BUSY}\n# {n}" if n % 3 else f"{BUSY.replace('print', 'print(0) or print')}\n# {n}"
        for n in range(14)
    ]
    given(tmp_path, *codes)
    journal = tmp_path / "r.jsonl.journal"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(words(tmp_path), cwd=tmp_path, **quiet)
    assert wait_until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) >= 4, 60)
    below = family(run.pid)
    run.kill()
    run.wait()
    assert wait_until(lambda: not any(map(alive, below)))
    kept = len(lines(journal))
    assert 4 <= kept < 14
    with journal.open("ab") as file:
        file.write(b'{"key": "torn')
    again = grade(tmp_path, "--resume")
    assert again["num_resumed"] == kept
    assert again["num_run"] == 14 - kept
    results = lines(tmp_path / "r.jsonl")
    assert judged(results) == judged(lines(whole(tmp_path)))
    assert len(lines(journal)) == 14
    assert len({line["key"] for line in lines(journal)}) == 14
    assert grade(tmp_path, "--resume")["num_run"] == 0
    assert judged(lines(tmp_path / "r.jsonl")) == judged(results)


def whole(folder: Path) -> Path:
    """The results of a run that nothing interrupts."""
    summary = grade(folder, out="whole.jsonl")
    assert summary["num_resumed"] == 0
    return folder / "whole.jsonl"


def test_programs_started_over_a_killed_run_and_its_successor(tmp_path: Path) -> None:
    """Seen from outside: every program passes, so one process each; only those in flight run twice."""
    given(tmp_path, *[f"{BUSY}\n# {n}" for n in range(14)])
    results, started, place = tmp_path / "r.jsonl", 0, 0
    for attempt in range(2):
        call = words(tmp_path, *["--resume"] * attempt)
        run = subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wait_until(lambda run=run: bool(children(run.pid)), 60)
        with Watcher(children(run.pid)[0]) as watcher:
            # The results file is put in place when the sandboxes are up: what they start later is a program. The
            # folder's time is when: the file's own changes with each result.
            assert wait_until(lambda place=place: results.exists() and results.stat().st_ino != place, 60)
            place, since = results.stat().st_ino, tmp_path.stat().st_mtime - time.time() + time.monotonic()
            while run.poll() is None:
                time.sleep(0.01)
                if attempt == 0 and len(results.read_bytes().splitlines()) >= 5:
                    run.kill()
                    run.wait()
        started += sum(first >= since for first in watcher.seen.values())
        assert run.returncode == (0 if attempt else -9)
    # Two workers: each may have one program under way and one whose verdict was on its way to the killed process.
    assert 14 <= started <= 14 + 4
    assert Counter(r["verdict"] for r in lines(tmp_path / "r.jsonl")) == {"accepted": 14}


def test_equal_programs_run_once(tmp_path: Path) -> None:
    given(tmp_path, RIGHT, RIGHT, "print(3)", RIGHT, "print(3)")
    summary = grade(tmp_path)
    assert (summary["num_run"], summary["num_repeated"]) == (2, 3)
    assert (summary["mean_at_k"], summary["pass_at_k"]["5"]) == (0.6, 1.0)
    results = lines(tmp_path / "r.jsonl")
    assert sorted(r["sample"] for r in results) == [0, 1, 2, 3, 4]
    assert {r["sample"]: r["passed"] for r in results} == {0: True, 1: True, 2: False, 3: True, 4: False}
    assert len(lines(tmp_path / "r.jsonl.journal")) == 2


def test_a_results_file_is_never_overwritten(tmp_path: Path) -> None:
    given(tmp_path, RIGHT)
    grade(tmp_path)
    before = (tmp_path / "r.jsonl").read_bytes()
    assert "add --resume" in grade(tmp_path, code=2)["stderr"]
    assert (tmp_path / "r.jsonl").read_bytes() == before
    (tmp_path / "r.jsonl").unlink()
    assert "r.jsonl.journal exists" in grade(tmp_path, code=2)["stderr"]
    assert grade(tmp_path, "--resume")["num_run"] == 0
    assert (tmp_path / "r.jsonl").read_bytes() == before


def test_a_cache_serves_other_runs_also_at_the_same_time(tmp_path: Path) -> None:
    given(tmp_path, *[f"{RIGHT}\n# {n}" for n in range(6)])
    calls = [words(tmp_path, "--cache", "c", out=f"{n}.jsonl") for n in range(2)]
    runs = [subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for call in calls]
    said = [json.loads(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert all(one["num_run"] + one["num_cached"] == 6 for one in said)
    assert judged(lines(tmp_path / "0.jsonl")) == judged(lines(tmp_path / "1.jsonl"))
    given(tmp_path, *[f"{RIGHT}\n# {n}" for n in range(7)])
    third = grade(tmp_path, "--cache", "c")
    assert (third["num_run"], third["num_cached"]) == (1, 6)
    other = grade(tmp_path, "--cache", "c", "--cpu-seconds", "3", out="other.jsonl")
    assert other["num_cached"] == 0, "other limits are other verdicts"


def test_what_we_could_not_grade_is_null_and_graded_later(tmp_path: Path) -> None:
    given(tmp_path, RIGHT, "import time\ntime.sleep(30)")
    tight = ["--cache", "c", "--wall-seconds", "0.4", "--idle-seconds", "20"]
    summary = grade(tmp_path, *tight, code=1)
    assert (summary["num_null"], summary["mean_at_k"], summary["num_solutions"]) == (1, 1.0, 2)
    assert {r["sample"]: r["passed"] for r in lines(tmp_path / "r.jsonl")} == {0: True, 1: None}
    assert len(lines(tmp_path / "r.jsonl.journal")) == 1
    assert len(list((tmp_path / "c").rglob("*.json"))) == 1
    again = grade(tmp_path, *tight, "--resume", code=1)
    assert (again["num_run"], again["num_resumed"], again["num_null"]) == (1, 1, 1)
    assert len(lines(tmp_path / "r.jsonl")) == 2


def test_results_as_a_table(tmp_path: Path) -> None:
    given(tmp_path, RIGHT, "print(3)", RIGHT)
    grade(tmp_path, out="r.parquet")
    grade(tmp_path, out="r.jsonl")
    frame = polars.read_parquet(tmp_path / "r.parquet")
    rows = [{**row, "metadata": json.loads(row["metadata"])} for row in frame.to_dicts()]
    assert judged(rows) == judged(lines(tmp_path / "r.jsonl"))
    assert set(rows[0]) == set(lines(tmp_path / "r.jsonl")[0])
    assert rows[0]["metadata"]["stop"] == "never"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "r.p"))) == [
        "r.parquet",
        "r.parquet.journal",
    ]
    assert grade(tmp_path, "--resume", out="r.parquet")["num_run"] == 0


def test_livecodebench_files_are_written_beside_the_results(tmp_path: Path) -> None:
    (tmp_path / "lcb.jsonl").write_bytes(
        jsonl([record("b"), record("a", contest_date="2025-03-01T00:00:00")])
    )
    right, wrong = "print(int(input()) + 1)", "print(int(input()))"
    items = [
        {"question_id": "b", "code_list": [right, wrong]},
        {"question_id": "a", "code_list": [wrong, f"```\n{right}\n```"]},
    ]
    (tmp_path / "s.jsonl").write_text(json.dumps(items))
    summary = grade(tmp_path, problems="lcb.jsonl", out="run.jsonl")
    assert summary["files"] == ["run.jsonl", "run.jsonl.journal", "run_eval.json", "run_eval_all.json"]
    assert set(summary["by"]) == {"difficulty", "platform", "month"}
    assert summary["by"]["month"]["2025-02"]["mean_at_k"] == 0.5
    metrics, results, metadata = json.loads((tmp_path / "run_eval.json").read_text())
    assert metrics == {"pass@1": 0.25, "detail": {"pass@1": {"0": 0.0, "1": 0.5}}}
    assert results["1"] == [[True] * 5, [-2]]
    assert [len(row) for row in metadata] == [2, 2]
    everything = json.loads((tmp_path / "run_eval_all.json").read_text())
    assert [row["question_id"] for row in everything] == ["a", "b"]
    assert everything[1]["contest_date"] == "2025-02-08T00:00:00"
    assert everything[1]["code_list"] == [right, wrong]


@pytest.mark.parametrize("form", ["table", "json"])
def test_the_summary_is_for_people_or_programs(tmp_path: Path, form: str) -> None:
    given(tmp_path, RIGHT, "print(3)")
    done = subprocess.run(
        [*words(tmp_path), "--format", form], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    if form == "json":
        assert json.loads(done.stdout)["by"]["difficulty"]["easy"]["num_solutions"] == 2
    else:
        assert "difficulty easy" in done.stdout
        assert "pass@2" in done.stdout
        assert "wrong_answer" in done.stdout
    assert "graded 2/2" in done.stderr


def test_the_level_of_isolation_is_chosen_and_written_down(tmp_path: Path) -> None:
    given(tmp_path, RIGHT)
    assert "--allow-unsandboxed" in grade(tmp_path, "--level", "S0", code=2)["stderr"]
    assert not list(tmp_path.glob("r.jsonl*")), "a refused command leaves nothing behind"
    grade(tmp_path, "--level", "S2", "--require", "S2")
    [result] = lines(tmp_path / "r.jsonl")
    assert result["sandbox_level"] == "S2"
    assert len(result["policy_hash"]) == 64


def test_profiles_judge_and_are_compared(tmp_path: Path) -> None:
    """Iterating over standard input works in a judge and not in the official runner of May 2025."""
    (tmp_path / "lcb.jsonl").write_bytes(jsonl([record("a")]))
    codes = ["import sys\nfor line in sys.stdin: print(int(line) + 1)", "print(int(input()) + 1)"]
    (tmp_path / "s.jsonl").write_text(json.dumps([{"question_id": "a", "code_list": codes}]))
    summary = grade(tmp_path, "--also", "lcb-2025-05", problems="lcb.jsonl", out="strict.jsonl")
    assert summary["also"]["disagreements"] == [
        {"problem_id": "a", "sample": 0, "strict": "accepted", "lcb-2025-05": "runtime_error"}
    ]
    assert summary["also"]["num_agree"] == 1
    grade(tmp_path, "--profile", "lcb-2025-05", problems="lcb.jsonl", out="lcb.jsonl.out")
    found = {result["sample"]: result for result in lines(tmp_path / "lcb.jsonl.out")}
    assert {result["profile"] for result in found.values()} == {"lcb-2025-05"}
    _, results, metadata = json.loads((tmp_path / "lcb.jsonl_eval.json").read_text())
    assert results == {"0": [[-4], [True] * 5]}
    assert json.loads(metadata[0][0]) == found[0]["metadata"]["official_metadata"]
    assert json.loads(metadata[0][0])["error_code"] == -4
    again = grade(tmp_path, "--profile", "lcb-2025-01", "--resume", problems="lcb.jsonl", out="lcb.jsonl.out")
    assert (again["num_resumed"], again["mean_at_k"]) == (0, 1.0), "other rules, other verdicts"


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_a_cluster_needs_its_extra(tmp_path: Path) -> None:
    given(tmp_path, RIGHT)
    assert "pip install 'opsd-rs[ray]'" in grade(tmp_path, "--ray", "local", code=2)["stderr"]
    assert not list(tmp_path.glob("r.jsonl*"))


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("ray") is None or os.environ.get("OPSD_RS_LONG_TESTS") != "1",
    reason="long, and needs ray: OPSD_RS_LONG_TESTS=1 runs it",
)
def test_a_cluster_writes_the_same_files(tmp_path: Path) -> None:
    given(tmp_path, RIGHT, "print(3)", RIGHT)
    assert grade(tmp_path, "--ray", "local", out="ray.jsonl")["num_run"] == 2
    grade(tmp_path)
    assert judged(lines(tmp_path / "ray.jsonl")) == judged(lines(tmp_path / "r.jsonl"))
    assert len(lines(tmp_path / "ray.jsonl.journal")) == 2
