"""A run folder over its life: claimed late, locked, read without a change, resumed with other settings, damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from opsd_rs.base import read_table
from opsd_rs.config import Config, load_config
from opsd_rs.errors import BadInput
from opsd_rs.training import checkpoint, run_json
from opsd_rs.training.folder import check_resumable, run_folder
from opsd_rs.training.lock import locked
from opsd_rs.training.resume import MAY_CHANGE, changes, num_recipes

pytestmark = [pytest.mark.samples_model, pytest.mark.slow]

CLI = [str(Path(sys.executable).parent / "opsd-rs")]
SETTINGS = [
    "smoke",
    "rollout.engine=hf",
    "rollout.max_tokens=8",
    "rollout.n=2",
    "problems.limit=2",
    "train.num_steps=2",
    "train.prompts_per_step=1",
    "train.mini_batch_prompts=1",
    "train.checkpoint_every=1",
    "gap.n=2",
    "eval.n=1",
]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model ``m`` and a run ``r`` of it, two steps long; its names are patterns to some libraries."""
    folder = tmp_path_factory.mktemp("lr=1 [a]*")
    tiny_models.tiny(folder / "m [x]*", "qwen3")
    done = run(folder, "train", *SETTINGS, "model.path=m [x]*", "run.dir=r [y]=1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "", "other libraries' lines go to the run's log"
    assert "Loading weights" in (folder / "r [y]=1" / "log").read_text()
    assert "Loading weights" not in done.stderr
    (folder / "r [y]=1").rename(folder / "r")
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The run, to be changed; beside it the model."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "r"


def config_of(run_dir: Path, *words: str) -> Config:
    return load_config([str(run_dir / "config.json")], words)


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_eval_prints_json_alone_and_changes_nothing(trained: Path) -> None:
    before = fingerprint(trained / "r")
    done = run(trained, "eval", "r", "--format", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = json.loads(done.stdout)
    last = [r for r in read_table(trained / "r" / "eval.parquet") if r["step"] == 2]
    assert row["problems"] == len({r["problem_id"] for r in last})
    assert fingerprint(trained / "r") == before


def test_eval_without_a_checkpoint_says_so_and_takes_the_exported_weights_when_told(copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    before = fingerprint(copied)
    done = run(copied.parent, "eval", "r")
    assert done.returncode == 2
    assert "no whole checkpoint in r/checkpoints" in done.stderr
    assert "--exported" in done.stderr
    exported = run(copied.parent, "eval", "r", "--exported", "--format", "json")
    assert exported.returncode == 0, exported.stderr[-2000:]
    assert json.loads(exported.stdout)[0]["problems"] == 2
    assert fingerprint(copied) == before
    with pytest.raises(BadInput, match="checkpoints/ is gone"):
        check_resumable(config_of(copied), copied)


def test_a_resumed_run_takes_a_new_rate_and_records_it(copied: Path) -> None:
    done = run(copied.parent, "train", "--resume", "r", "optim.lr=0.25", "train.num_steps=3")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "optim.lr = 0.25 from step 2 on (before: 2e-05)" in done.stderr
    states = torch.load(
        next((copied / "checkpoints" / "step-000003" / "deepspeed").glob("*optim_states.pt")),
        weights_only=False,
    )
    assert set(rates_in(states)) == {0.25}
    assert json.loads((copied / "config.json").read_bytes())["optim"]["lr"] == 0.25
    assert [s["changed"] for s in run_json.segments(copied)] == [
        {},
        {"optim.lr": [2e-5, 0.25], "train.num_steps": [2, 3]},
    ]
    assert num_recipes(copied) == 2
    assert len((copied / "metrics.jsonl").read_text().splitlines()) == 3


def rates_in(tree: Any) -> Any:
    """Every value under a key ``lr``."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from [value] if name == "lr" else rates_in(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from rates_in(value)


def test_what_may_not_change_is_refused_by_name_also_where_the_file_was_edited(copied: Path) -> None:
    for word, key in [
        ("seed=1", "seed"),
        ("rollout.temperature=0.5", "rollout.temperature"),
        ("eval.n=3", "eval.n"),
        ("optim.gradient_dtype=bfloat16", "optim.gradient_dtype"),
        ("optim.offload=true", "optim.offload"),
    ]:
        with pytest.raises(BadInput, match=f"{key} may not change in a run"):
            changes(config_of(copied, word), copied)
    assert set(changes(config_of(copied, "eval.every=7", "log.to=[]"), copied)) == {"eval.every", "log.to"}
    assert changes(config_of(copied, "run.dir=elsewhere"), copied) == {}, "a folder may be moved"
    assert set(changes(config_of(copied, "teacher.offload=true"), copied)) == {"teacher.offload"}
    record = json.loads((copied / "run.json").read_bytes())
    assert record["config"]["optim"]["gradient_dtype"] == "float32"
    del record["config"]["optim"]["gradient_dtype"]  # as a version before the key wrote it
    (copied / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        BadInput, match=r'gradient_dtype may not change in a run \("float32", now "bfloat16"\)'
    ):
        changes(config_of(copied, "optim.gradient_dtype=bfloat16"), copied)
    path = copied / "config.json"
    path.write_text(path.read_text().replace('"topk": 20', '"topk": 5'))
    with pytest.raises(BadInput, match=r"loss\.topk may not change in a run \(20, now 5\)"):
        check_resumable(config_of(copied), copied)
    assert all(key.split(".")[0] in Config.model_fields for key in MAY_CHANGE)


def test_fewer_steps_than_the_checkpoint_has_are_refused(copied: Path) -> None:
    with pytest.raises(
        BadInput, match=r"train.num_steps = 1 lies before the newest checkpoint \(step-000002\)"
    ):
        check_resumable(config_of(copied, "train.num_steps=1"), copied)


@pytest.mark.parametrize("change", ["cut", "missing"])
def test_every_file_of_a_checkpoint_is_missed(copied: Path, change: str) -> None:
    newest = checkpoint.folders(copied)[-1]
    names = [path for path in newest.rglob("*") if path.is_file()]
    assert len(names) >= 4
    for path in names:
        kept = path.read_bytes()
        if change == "cut":
            path.write_bytes(kept[:-1])
        else:
            path.unlink()
        assert path.name in (checkpoint.damage(newest) or ""), path
        assert checkpoint.whole(copied) == checkpoint.folders(copied)[:-1]
        assert not checkpoint.is_saved(copied, 2)
        path.write_bytes(kept)
    assert checkpoint.damage(newest) is None
    assert checkpoint.is_saved(copied, 2)


def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(copied: Path) -> None:
    newest = checkpoint.folders(copied)[-1]
    weights = newest / "deepspeed" / "mp_rank_00_model_states.pt"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)  # of the right size: only reading it tells
    data[-30:] = bytes(30)
    weights.write_bytes(data)
    done = run(copied.parent, "train", "--resume", "r")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "checkpoint step-000002 is damaged" in done.stderr
    assert "resuming from step-000001" in done.stderr
    assert checkpoint.damage(newest) is None, "the step was done again"
    for folder in checkpoint.folders(copied):
        (folder / "state.json").write_text("{")
    with pytest.raises(
        BadInput, match=r"step-000002 is damaged \(state.json cannot be read\).*no checkpoint is whole"
    ):
        check_resumable(config_of(copied), copied)


def test_a_first_start_that_fails_leaves_nothing_that_blocks_the_second(
    trained: Path, tmp_path: Path
) -> None:
    words = [*SETTINGS, f"run.dir={tmp_path / 'new'}", "gap.from=none"]
    for fault in ("model.path=./typo", "problems.path=absent.jsonl"):
        done = run(trained, "train", *words, "model.path=m [x]*", fault)
        assert done.returncode == 2, done.stderr[-2000:]
        assert not (tmp_path / "new" / "config.json").exists()
    with run_folder(config_of(trained / "r", f"run.dir={tmp_path / 'new'}"), None) as run_dir:
        assert run_dir == tmp_path / "new"


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    run_dir = tmp_path / "r"
    with (
        locked(run_dir),
        pytest.raises(BadInput, match=r"in use by another process \(\d+ on "),
        locked(run_dir),
    ):
        pass
    assert not run_dir.exists(), "nothing was written, so nothing is left"
    with locked(run_dir):
        (run_dir / "log").write_text("x")
    with locked(run_dir):
        pass
    assert (run_dir / "log").exists()


def test_a_folder_that_cannot_be_a_run_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/opsd-rs")):
        with pytest.raises(BadInput, match="cannot be written to"), locked(place):
            pass
    config = config_of(trained / "r")
    for folder, words in [(trained / "r", "holds a run already"), (trained / "m [x]*", "no run's")]:
        with (
            pytest.raises(BadInput, match=words),
            run_folder(config_of(trained / "r", f"run.dir={folder}"), None),
        ):
            pass
    with pytest.raises(BadInput, match="no run folder"), run_folder(config, trained / "m [x]*"):
        pass
