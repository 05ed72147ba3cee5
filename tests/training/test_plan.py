"""``train --check`` and ``--dry-run``: each check finds its fault, and nothing is started or left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny_models
from click.testing import CliRunner
from opsd_rs.base import write_table
from opsd_rs.cli import main
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.training import plan_run, start

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = ["control.mask=one", "rollout.engine=hf", "problems.limit=3"]
CHECKS = [
    "configuration",
    "launcher",
    "plugins",
    "run folder",
    "model files",
    "tokenizer and chat template",
    "problems",
    "external teacher",
    "memory",
    "law",
    "gap.from and eval.from",
    "engine",
    "grader",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "m", "qwen3")


def without_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("chat_template", None)
    path.write_text(json.dumps(settings))


def renamed_tensor(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["model.vision_tower.patch.weight"] = next(iter(tensors.values())).clone()
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def other_table(model: Path) -> None:
    write_table(Path("other.parquet"), [{"context": "none", "gap": 0.5}])


def nothing(model: Path) -> None:
    pass


FAULTS: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "launcher": (nothing, [], "the environment has WORLD_SIZE=8 but not RANK"),
    "plugins": (nothing, ["log.to=wandbb"], "wandbb"),
    "run folder": (nothing, ["run.dir=/proc/x"], "run.dir = /proc/x: cannot be written to"),
    "model files": (
        lambda m: (m / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        [],
        "model.safetensors is a Git LFS pointer",
    ),
    "tokenizer and chat template": (without_template, [], "the tokenizer has no chat template"),
    "problems": (nothing, ["problems.path=absent.jsonl"], "problems.path: no such file: absent.jsonl"),
    "external teacher": (
        lambda m: (m.parent / "t").mkdir(),
        ["objective=opd", "opd.teacher=t"],
        "opd.teacher: t is a directory without config.json",
    ),
    "memory": (nothing, ["teacher.offload=true"], r"does not fit in host memory: average 0\.0"),
    "law": (nothing, ["law.file=paper-2605.30070/qwen3-8b"], "serves comparison only"),
    "gap.from and eval.from": (other_table, ["gap.from=other.parquet"], r"gap\.from = other\.parquet"),
    "engine": (renamed_tensor, ["rollout.engine=vllm"], r"1 tensors under other names .*vision_tower"),
    "grader": (nothing, ["grader.compare=checker:/nowhere.py"], "/nowhere.py"),
}


def test_every_check_has_a_fault_here(model: Path, tmp_path: Path) -> None:
    config = load_config([], [*WORDS, f"model.path={model}", f"run.dir={tmp_path / 'r'}"])
    plan = plan_run(config)
    assert [row["check"] for row in plan.checks] == CHECKS
    assert {"configuration", *FAULTS} == set(CHECKS), "faults of the configuration have tests of their own"
    assert not (tmp_path / "r").exists()
    assert [row["problems"] for row in plan.lengths] == ["all", "kept"]
    assert plan.lengths[0]["count"] == 3
    memory = {row["phase"]: row["GiB"] for row in plan.memory}
    assert memory["update"] >= memory["stays"] > 0.0
    assert any("estimate" in note for note in plan.notes)


@pytest.mark.parametrize("check", FAULTS)
def test_a_check_ends_the_list_in_the_runs_own_words(
    check: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, words, said = FAULTS[check]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "m")
    damage(tmp_path / "m")
    if check == "launcher":
        monkeypatch.setenv("WORLD_SIZE", "8")
    if check == "memory":
        monkeypatch.setattr(start, "host_gib", lambda: 1e-6)
    words = [*WORDS, f"model.path={tmp_path / 'm'}", f"run.dir={tmp_path / 'r'}", *words]
    with pytest.raises(BadInput, match=said):
        plan_run(load_config([], words))
    assert not (tmp_path / "r").exists()


def test_a_dry_run_prints_the_configuration_too(model: Path, tmp_path: Path) -> None:
    words = [*WORDS, f"model.path={model}", f"run.dir={tmp_path / 'r'}", "rollout.max_prompt_tokens=66"]
    shown = {
        option: CliRunner().invoke(main, ["train", "smoke", *words, option], obj={"from_shell": False})
        for option in ("--check", "--dry-run")
    }
    for result in shown.values():
        assert result.exit_code == 0, result.output
        assert "sandbox level S" in result.output
        assert "left out" in result.output
    assert "max_prompt_tokens = 66" in shown["--dry-run"].output
    assert "[rollout]" not in shown["--check"].output
    assert not (tmp_path / "r").exists()
