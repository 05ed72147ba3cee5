"""A disk that fills up, a real one of a few MiB: one clear error, nothing half-written left, and the way on."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from graded import RIGHT
from opsd_rs.base import writing
from opsd_rs.errors import DiskFull
from small_disk import run_on

PYTHON = shlex.quote(sys.executable)
SUPPORT = Path(__file__).parents[1] / "support"
CLI = f"{PYTHON} -m opsd_rs.cli"

WRITERS = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from opsd_rs.base import append_line, read_lines, write_whole, writing
from opsd_rs.errors import DiskFull

here = Path("kept")
write_whole(here / "table", b"old")
append_line(here / "lines", {"line": 0})
for number in range(1000):  # lines of 3,000 bytes: pages of 4,096 do not end where lines do
    try:
        append_line(here / "lines", {"line": number + 1, "text": "x" * 2980})
    except DiskFull as error:
        said = [str(error)]
        break
kept = read_lines(here / "lines")
assert [line["line"] for line in kept] == list(range(number + 1)), "a whole line was lost, or a part was kept"
assert (here / "lines").read_bytes().endswith(b"}\\n"), "a part of a line was left"
weights = {"a": torch.zeros(1 << 20)}
for write in (
    lambda: write_whole(here / "table", bytes(4 << 20)),
    lambda: torch.save(weights, here / "torch"),
    lambda: save_file(weights, here / "safetensors"),
):
    try:
        with writing("the weights", here):
            write()
    except DiskFull as error:
        said.append(str(error))
    (here / "torch").unlink(missing_ok=True)
    (here / "safetensors").unlink(missing_ok=True)
assert (here / "table").read_bytes() == b"old"
assert sorted(path.name for path in here.iterdir()) == ["lines", "table"]
(here / "lines").unlink()
try:  # space enough: a library's other fault does not count as a full disk
    with writing("nothing", here):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
except RuntimeError as error:
    said.append(type(error).__name__)
print(json.dumps(said), file=sys.stderr)
"""

CHECKPOINTS = """
import json, shutil, sys
from pathlib import Path
import torch
from opsd_rs.base import Ranks
from opsd_rs.config import Config
from opsd_rs.config.tree import DeepSpeedConfig, ModelConfig
from opsd_rs.errors import DiskFull
from opsd_rs.training import checkpoint

sys.path.insert(0, sys.argv[1])
from engines import pair

config = Config(deepspeed=DeepSpeedConfig(stage=1), model=ModelConfig(dtype="float32"))
student, teacher = pair(config, sys.argv[2])
good = checkpoint.save_state(Path("run"), 1, student, teacher, Ranks(), keep=2)
average = [part.clone() for part in teacher.average]
size = sum(path.stat().st_size for path in good.rglob("*") if path.is_file())
ballast = Path("ballast")
ballast.write_bytes(bytes(shutil.disk_usage(".").free - size // 2))  # half of what the next one needs is left
for part in teacher.average:
    part.zero_()
try:
    checkpoint.save_state(Path("run"), 2, student, teacher, Ranks(), keep=2)
except DiskFull as error:
    said = str(error)
assert [path.name for path in Path("run/checkpoints").iterdir()] == ["step-000001"], "half a checkpoint was left"
assert checkpoint.restore_state(good, student, teacher, Ranks()).step == 1
assert all(map(torch.equal, teacher.average, average))
ballast.unlink()
assert checkpoint.save_state(Path("run"), 2, student, teacher, Ranks(), keep=1).is_dir()
assert [path.name for path in Path("run/checkpoints").iterdir()] == ["step-000002"]
print(json.dumps(said), file=sys.stderr)
"""

TRAIN = (
    "smoke rollout.engine=hf model.dtype=float32 rollout.max_tokens=16 rollout.n=1 problems.limit=2 train.num_steps=2"
    " train.prompts_per_step=1 train.mini_batch_prompts=1 train.checkpoint_every=1 context=expert_preamble"
    " eval.n=1 eval.every=0 gap.n=1 run.dir=run"
)


def last_line(stderr: str) -> str:
    return stderr.strip().splitlines()[-1]


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return f"{PYTHON} {shlex.quote(str(path))}"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def test_files_are_whole_or_as_they_were(disk: Path, tmp_path: Path) -> None:
    (stderr,) = run_on(disk, 2, script(tmp_path, WRITERS), codes=(0,))
    appended, written, torch_, tensors, other = json.loads(last_line(stderr))
    assert appended == "kept: no space left for a line of lines (0.0 MiB free): free space there"
    assert written.startswith("kept: no space left for table (4.0 MiB) (")
    assert torch_.startswith("kept: no space left for the weights (")
    assert tensors == torch_
    assert other == "RuntimeError"


@pytest.mark.samples_model
def test_checkpoint_that_does_not_fit_leaves_the_last_one(disk: Path, tmp_path: Path) -> None:
    model = tiny_models.tiny(tmp_path / "tiny", "qwen3")
    words = f"{shlex.quote(str(Path(__file__).parents[1] / 'support'))} {shlex.quote(str(model))}"
    (stderr,) = run_on(disk, 200, f"{script(tmp_path, CHECKPOINTS)} {words}", codes=(0,))
    said = json.loads(last_line(stderr))
    assert said.startswith("run/checkpoints: no space left for the checkpoint of step 2 (the last one has ")
    assert said.endswith(" MiB free): free space there, or write elsewhere (run.dir)")


def test_grading_goes_on_when_there_is_room_again(disk: Path, tmp_path: Path) -> None:
    problem = {"problem_id": "add", "prompt": "Add.", "tests": [{"input": "1 2\n", "output": "3\n"}]}
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    lines = [{"problem_id": "add", "sample": n, "code": f"{RIGHT}\n# {n}"} for n in range(40)]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = f"--problems {tmp_path}/p.jsonl --solutions {tmp_path}/s.jsonl --out r.jsonl --workers 2 --format json"
    full, partial, whole = run_on(
        disk,
        1,
        # 32 KiB are left: space for some of the rows, not for all.
        f"head -c $((1024 * 992)) /dev/zero >ballast; {CLI} grade {files}",
        f"rm ballast; wc -l <r.jsonl.journal >&2; {CLI} grade {files} --resume; cp r.jsonl {tmp_path}",
        "ls -A >&2",
        codes=(1, 0, 0),
    )
    assert "Traceback" not in full
    said = last_line(full)
    assert said.startswith("error: .: no space left for a line of r.jsonl")
    assert said.endswith("then give the command again with --resume: what was graded is kept")
    kept = int(partial.splitlines()[0])
    assert 0 < kept < 40
    assert whole.split() == ["r.jsonl", "r.jsonl.journal"]
    results = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(result["sample"] for result in results) == list(range(40))
    assert all(result["passed"] for result in results)
    summary = json.loads((disk.parent / "disk-1.stderr.out").read_text())
    assert summary["num_resumed"] == kept
    assert summary["num_run"] == 40 - kept


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("OPSD_RS_LONG_TESTS"), reason="two starts of a training run: OPSD_RS_LONG_TESTS=1"
)
def test_training_run_ends_in_one_line_and_goes_on(disk: Path, tmp_path: Path, smollm2: Path) -> None:
    model = tiny_models.tiny(tmp_path / "tiny", "qwen3", tokenizer=smollm2)
    full, _ = run_on(
        disk,
        90,  # a checkpoint has 62 MiB
        f"{CLI} train {TRAIN} model.path={shlex.quote(str(model))}",
        f"ls -A run/checkpoints >{tmp_path}/kept; mount -o remount,size=300m {shlex.quote(str(disk))};"
        f" {CLI} train --resume run",
        codes=(1, 0),
    )
    assert "Traceback" not in full
    said = last_line(full)
    assert said.startswith(
        "error: run/checkpoints: no space left for the checkpoint of step 2 (the last one has 61.5 MiB)"
    )
    assert said.endswith("then resume (checkpoint at step 1): opsd-rs train --resume run")
    assert (tmp_path / "kept").read_text().split() == ["step-000001"]


def test_a_large_write_that_failed_leaves_a_little_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """436 MiB of 92 GiB were left when a checkpoint's 2 GiB did not fit: space enough for a probe, and a full disk."""

    def write() -> None:
        with writing("the checkpoint", tmp_path):
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 24192 vs 24084")

    unit = 4096
    left = {"f_frsize": unit, "f_blocks": (92 << 30) // unit, "f_files": 10, "f_favail": 10}
    for free, error in ((436 << 20, DiskFull), (40 << 30, RuntimeError)):
        disk = SimpleNamespace(**left, f_bavail=free // unit)
        monkeypatch.setattr("opsd_rs.base.disk.os.statvfs", lambda path, disk=disk: disk)
        with pytest.raises(error):
            write()
