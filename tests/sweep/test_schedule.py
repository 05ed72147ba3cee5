"""What a sweep starts, in which order and where, and what it makes of every way to end; with a quick stand-in."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from opsd_rs.base import read_lines, read_table, write_table
from opsd_rs.errors import BadInput, OpsdError, Stopped
from opsd_rs.sweep import children, run_sweep, schedule, slots, sweep_status
from opsd_rs.sweep.folder import share_done, source_hash
from opsd_rs.sweep.run import open_sweep

SUPPORT = Path(__file__).parents[1] / "support" / "sweep_command.py"
GRID = """
out = "sw"
base = ["smoke"]
set = ["rollout.engine=hf"]
models = ["m"]
contexts = ["none", "feedback"]
seeds = [0, 1]
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, where the stand-in is what a sweep starts; the checks, which need a model, are left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(children, "COMMAND", (sys.executable, str(SUPPORT)))
    monkeypatch.setattr("opsd_rs.sweep.run.check_cells", lambda *words, **rest: 1)
    monkeypatch.setattr(schedule, "LOOK_SECONDS", 0.01)
    return tmp_path


def sweep(more: str = "", **options: Any) -> str:
    Path("grid.toml").write_text(GRID + more)
    return run_sweep(Path("grid.toml"), **{"gpus": [], **options})


def behave(**runs: Any) -> None:
    Path("behaviour.json").write_text(json.dumps(runs))


def starts() -> list[dict[str, Any]]:
    return read_lines(Path("starts.jsonl"))


def names(kind: str = "train") -> list[str]:
    return [line["name"] for line in starts() if line["kind"] == kind]


RUNS = ["m.base.none.s0", "m.base.feedback.s0", "m.base.none.s1", "m.base.feedback.s1"]


def test_measurements_then_runs_seed_by_seed_each_once() -> None:
    line = sweep()
    assert line.startswith("4 of 4 runs done, 0 running, 0 failed, 0 left; ")
    assert [line["kind"] for line in starts()] == ["eval", "gap", *["train"] * 4]
    assert names() == RUNS
    rows = read_table(Path("sw/runs.parquet"))
    assert [(row["cell"], row["seed"], row["attempts"]) for row in rows] == [
        (name, int(name[-1]), 1) for name in RUNS
    ]
    trained = [line for line in starts() if line["kind"] == "train"]
    assert {line["gap_from"].split("/")[1] for line in trained} == {"measured"}
    assert [line["seeds"] for line in trained] == [[0, 1000, 1000]] * 2 + [[1, 1000, 1000]] * 2
    sweep()
    assert names() == RUNS, "a run that has its row is not run again"


def test_a_failed_run_is_repeated_once_and_then_listed() -> None:
    behave(**{"m.base.none.s0": {"fail": [1]}, "m.base.feedback.s1": {"fail": [2, -9]}})
    with pytest.raises(OpsdError) as raised:
        sweep()
    assert raised.value.exit_code == 1
    said = str(raised.value)
    assert said.startswith("3 of 4 runs done, 0 running, 1 failed, 0 left")
    assert (
        "m.base.feedback.s1: killed by SIGKILL: error: no luck today; --retry-failed runs them again" in said
    )
    assert names().count("m.base.none.s0") == names().count("m.base.feedback.s1") == 2
    assert {row["cell"]: row["attempts"] for row in read_table(Path("sw/runs.parquet"))}[
        "m.base.none.s0"
    ] == 2
    failed = [line for line in read_lines(Path("sw/events.jsonl")) if line["event"] == "failed"]
    assert [(line["task"], line["exit"]) for line in failed] == [
        ("m.base.none.s0", 1),
        ("m.base.feedback.s1", 2),
        ("m.base.feedback.s1", -9),
    ]
    assert failed[1]["reason"] == "exit code 2: error: no luck today"
    with pytest.raises(OpsdError, match="1 failed"):
        sweep()
    assert names().count("m.base.feedback.s1") == 2, "given up"
    status = {line["run"]: line for line in sweep_status(Path("grid.toml"))}
    assert status["m.base.feedback.s1"]["state"] == "given up"
    assert "SIGKILL" in status["m.base.feedback.s1"]["note"]
    assert sweep(retry_failed=True).startswith("4 of 4 runs done")


def test_a_control_outside_its_gate_may_be_passed_over() -> None:
    for more, wanted in (("", False), ("[shared]\nanyway = true\n", True)):
        shutil.rmtree("sw", ignore_errors=True)
        Path("starts.jsonl").unlink(missing_ok=True)
        sweep(more)
        assert [(line["kind"], line["anyway"]) for line in starts()][:2] == [("eval", False), ("gap", wanted)]


def test_runs_of_a_measurement_that_fails_are_listed_with_it() -> None:
    behave(**{"*": {"fail": [1, 1]}})
    with pytest.raises(
        OpsdError, match=r"0 of 4 runs done, 0 running, 4 failed, 0 left.*measurement m.baseline"
    ):
        sweep()
    assert names() == []
    behave()
    assert sweep(retry_failed=True).startswith("4 of 4 runs done")


def test_rows_alone_say_what_is_done(place: Path) -> None:
    sweep()
    rows = read_table(Path("sw/runs.parquet"))
    shutil.rmtree("sw")
    Path("starts.jsonl").unlink()
    write_table(Path("sw/runs.parquet"), rows[:3])
    sweep()
    assert names() == RUNS[3:]
    assert len(read_table(Path("sw/runs.parquet"))) == 4


def test_a_run_goes_on_from_its_checkpoint_or_begins_again_where_none_is_left() -> None:
    behave(
        **{
            "m.base.none.s0": {"fail": [1], "claim": 3, "checkpoint": True},
            "m.base.feedback.s0": {"fail": [1], "claim": 3},
            "m.base.none.s1": {"fail": [1], "claim": 1},
            "m.base.feedback.s1": {"fail": [2], "claim": 3, "checkpoint": True},
        }
    )
    sweep()
    resumed = {name: [] for name in RUNS}  # type: dict[str, list[bool]]
    for line in starts():
        if line["kind"] == "train":
            resumed[line["name"]].append(line["resumed"])
    assert resumed["m.base.none.s0"] == [False, True], "from its checkpoint"
    assert resumed["m.base.feedback.s0"] == [False, False], "three steps were done, and no checkpoint is left"
    assert resumed["m.base.none.s1"] == [False, True], (
        "killed before its first checkpoint: it starts over by itself"
    )
    assert resumed["m.base.feedback.s1"] == [False, False], "it was refused"
    assert Path("sw/runs/m.base.feedback.s0.old-1/metrics.jsonl").exists(), "nothing of it is lost"


def test_a_row_that_was_not_taken_yet_is_taken() -> None:
    """The sweep was killed between a run's end and its row."""
    sweep()
    path = Path("sw/runs.parquet")
    write_table(path, read_table(path)[1:])
    sweep()
    assert len(read_table(path)) == 4
    assert len(names()) == 4


def test_a_grid_that_changes_under_its_rows_is_refused_by_key() -> None:
    sweep()
    with pytest.raises(BadInput, match=r"optim.lr \(2e-05, now 0.5\): give the changed runs another name"):
        sweep('\n[recipes]\nbase = ["optim.lr=0.5"]\n')
    sweep('\n[recipes]\nbase = []\nfast = ["optim.lr=0.5"]\n')
    assert len(read_table(Path("sw/runs.parquet"))) == 8
    assert len(names("gap")) == 1, "a rate changes no gap"


def test_what_only_says_where_a_run_runs_may_change() -> None:
    sweep()
    sweep('\n[recipes]\nbase = ["train.checkpoint_every=7", "grader.workers=3"]\n')
    assert len(names()) == 4


def test_slots_bind_runs_to_their_gpu_cores_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    real = slots.share_out

    def two_gpus(gpus: Any, per_gpu: int, cores: Any, **rest: Any) -> Any:
        return real(["6", "7"], per_gpu, cores, **rest)

    monkeypatch.setattr(slots, "share_out", two_gpus)
    behave(**{"*": {"seconds": 0.3}})
    sweep("per_gpu = 2\n")
    trained = [line for line in starts() if line["kind"] == "train"]
    assert sorted(line["gpu"] for line in trained) == ["6", "6", "7", "7"]
    assert {line["gpu_share"] for line in trained} == {0.5}
    cores = len(os.sched_getaffinity(0))
    assert {line["threads"] for line in trained} == {line["workers"] for line in trained}
    assert all(len(line["cores"]) == line["threads"] for line in trained)
    assert len({tuple(line["cores"]) for line in trained}) == min(cores, 4)
    measured = [line for line in starts() if line["kind"] != "train"]
    assert [line["kind"] for line in measured] == ["eval", "gap"]
    assert {line["gpu_share"] for line in measured} == {1.0}, "nothing else runs on that GPU"
    on_gpu_6 = {core for line in trained if line["gpu"] == "6" for core in line["cores"]}
    assert all(set(line["cores"]) == on_gpu_6 for line in measured)


def test_vllms_of_one_gpu_start_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = slots.share_out
    monkeypatch.setattr(slots, "share_out", lambda g, n, c, **rest: real(["0"], n, c, **rest))
    behave(**{"*": {"seconds": 1.0}})
    more = "per_gpu = 4\n[shared]\ngap = false\nbaseline = false\n"
    for engine, together in (("hf", True), ("vllm", False)):
        shutil.rmtree("sw", ignore_errors=True)
        Path("starts.jsonl").unlink(missing_ok=True)
        Path("grid.toml").write_text(GRID.replace("engine=hf", f"engine={engine}") + more)
        run_sweep(Path("grid.toml"), gpus=[])
        times = sorted(line["time"] for line in starts())
        apart = [later - earlier for earlier, later in itertools.pairwise(times)]
        # The stand-in never shows that its engine is up, so each waits for the end of the one before.
        assert (min(apart) > 1.0) != together, engine


def test_a_time_limit_starts_what_fits_and_says_what_is_left() -> None:
    behave(**{"*": {"seconds": 1.0}, "m.base.none.s0": {"seconds": 3.0}})
    with pytest.raises(Stopped, match=r"would not have ended within 0.1 minutes: the same command goes on"):
        sweep("[shared]\ngap = false\nbaseline = false\n", limit_minutes=0.1)
    done = len(read_table(Path("sw/runs.parquet")))
    assert 1 <= done < 4
    behave()
    assert sweep("[shared]\ngap = false\nbaseline = false\n").startswith("4 of 4")
    assert len(names()) == 4


def test_blocks_run_one_after_the_other_or_alone() -> None:
    more = '[blocks]\nB = ["feedback"]\nA = ["none"]\n'
    sweep(more, block="A")
    assert names() == [RUNS[0], RUNS[2]]
    sweep(more)
    assert names() == [RUNS[0], RUNS[2], RUNS[1], RUNS[3]]
    with pytest.raises(BadInput, match="--block C: the grid has B, A"):
        sweep(more, block="C")


def test_what_is_kept_of_a_run_that_has_ended() -> None:
    sweep('keep = "rows"\n')
    folder = Path("sw/runs") / RUNS[0]
    assert (folder / "runs.parquet").exists()
    assert not (folder / "checkpoints").exists()
    assert not (folder / "model").exists()
    shutil.rmtree("sw")
    sweep('keep = "model"\n')
    assert not (folder / "checkpoints").exists()
    assert (folder / "model").exists()


def test_a_pack_holds_small_files_and_is_the_same_bytes_twice() -> None:
    from opsd_rs.sweep import pack_sweep

    sweep()
    count, size = pack_sweep(Path("sw"), Path("one.tar"))
    pack_sweep(Path("sw"), Path("two.tar"))
    assert Path("one.tar").read_bytes() == Path("two.tar").read_bytes()
    assert size == Path("one.tar").stat().st_size
    with tarfile.open("one.tar") as tar:
        packed = tar.getnames()
        assert len(packed) == count
        assert packed == sorted(packed)
        assert not [name for name in packed if "checkpoints" in name or "/model/" in name]
        assert {f"sw/runs/{RUNS[0]}/config.json", "sw/runs.parquet", "sw/grid.toml"} <= set(packed)
        Path("elsewhere").mkdir()
        tar.extractall("elsewhere", filter="data")
    os.chdir("elsewhere")
    sweep()
    assert not Path("starts.jsonl").exists(), "unpacked elsewhere, nothing is left to do"
    with pytest.raises(BadInput, match="no sweep's folder"):
        pack_sweep(Path("nowhere"), Path("x.tar"))
    with pytest.raises(BadInput, match=r"name a \.tar"):
        pack_sweep(Path("sw"), Path("x.zip"))


def test_one_sweep_at_a_time_works_in_a_folder() -> None:
    from opsd_rs.sweep.folder import is_locked, locked

    sweep()
    assert not is_locked(Path("sw"))
    with locked(Path("sw")):
        assert is_locked(Path("sw"))
        with pytest.raises(BadInput, match=f"another sweep \\(process {os.getpid()}\\) is at work"):
            sweep()


def test_the_measurements_of_fewer_contexts_are_those_of_all() -> None:
    sweep()
    Path("grid.toml").write_text(
        GRID.replace('["none", "feedback"]', '["feedback"]').replace("[0, 1]", "[2]")
    )
    run_sweep(Path("grid.toml"), gpus=[])
    assert [line["kind"] for line in starts()].count("gap") == 1
    Path("grid.toml").write_text(GRID.replace('"feedback"]', '"feedback", "opsd"]').replace("[0, 1]", "[2]"))
    run_sweep(Path("grid.toml"), gpus=[])
    assert [line["kind"] for line in starts()].count("gap") == 2, "one more context is measured"


def test_a_law_that_says_skip_leaves_a_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forecast is of the run's own recipe; a law that has none for a run does not keep it from running."""
    asked: list[dict[str, Any]] = []

    def predict_records(law: Path, rows: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
        (row,) = rows
        asked.append(row)
        if row["gap"] == 0.3:
            raise BadInput("outside of the law's domain")
        skips = row["gap"] < 0
        return [{"gap": row["gap"], "decision": "skip" if skips else "train", "reason": "no gain is likely"}]

    monkeypatch.setattr("opsd_rs.sweep.skips.predict_records", predict_records)
    Path("gaps.json").write_text(json.dumps({"none": -0.2, "feedback": 0.3}))
    more = 'skip_by_law = "law.json"\n[recipes]\nbase = []\nfast = ["optim.lr=0.5"]\n'
    line = sweep(more)
    assert line.startswith("4 of 8 runs done, 0 running, 0 failed, 4 skipped, 0 left")
    assert {name.split(".")[2] for name in names()} == {"feedback"}
    assert {row["lr"] for row in asked if "lr" in row} == {2e-5, 0.5}, "each recipe is asked about by itself"
    status = {line["run"]: line for line in sweep_status(Path("grid.toml"))}
    assert status["m.base.none.s0"]["state"] == "skipped"
    assert status["m.base.none.s0"]["note"] == "gap -0.200: no gain is likely"
    assert sweep(more.replace('skip_by_law = "law.json"\n', "")).startswith("8 of 8 runs done"), (
        "no law, no skip"
    )


def test_a_time_limit_counts_what_a_run_has_behind_it() -> None:
    """Half of its steps are in a checkpoint, so it needs half of the time."""
    Path("grid.toml").write_text(GRID)
    cells = {cell.name: cell for cell in open_sweep(Path("grid.toml"))[0].cells}
    folder = Path(cells["m.base.feedback.s0"].config.run.dir)
    (folder / "checkpoints" / "step-000001").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / "step-000001" / "state.json").write_text("{}")
    assert share_done(cells["m.base.feedback.s0"]) == 0.5
    assert share_done(cells["m.base.none.s1"]) == 0.0


def test_a_row_says_which_code_made_it(place: Path) -> None:
    sweep()
    assert {row["source"] for row in read_table(Path("sw/runs.parquet"))} == {source_hash()}
    code = place / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1\n")
    before = source_hash(code)
    (code / "a.py").write_text("x = 2\n")
    source_hash.cache_clear()
    assert source_hash(code) != before
