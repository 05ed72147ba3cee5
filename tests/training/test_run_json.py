"""``run.json``: an id that is made once and kept, and the recipes that a run was trained by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opsd_rs.base import write_table
from opsd_rs.training.resume import num_recipes
from opsd_rs.training.run_json import create, known_run_id, run_id


def test_two_runs_never_share_an_id_and_a_renamed_folder_keeps_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "qwen" / "feedback", tmp_path / "llama" / "feedback"
    for folder in (one, two):
        folder.mkdir(parents=True)
        create(folder, 0)
    first = run_id(one, 0)
    assert first != run_id(two, 0), "equal folder names, equal seeds"
    moved = one.rename(tmp_path / "moved")
    assert run_id(moved, 0) == known_run_id(moved) == first


def test_a_folder_of_an_earlier_version_keeps_the_id_of_its_table(tmp_path: Path) -> None:
    assert run_id(tmp_path, 3) == f"{tmp_path.name}-3"
    assert known_run_id(tmp_path) is None, "a folder with a gap alone"
    write_table(tmp_path / "runs.parquet", [{"run_id": "old-name-3"}])
    assert run_id(tmp_path, 3) == "old-name-3"


LR, STEPS = "optim.lr", "train.num_steps"


@pytest.mark.parametrize(
    ("segments", "recipes"),
    [
        ([], 1),
        ([(0, {}), (5, {}), (9, {})], 1),
        ([(0, {}), (5, {LR: [1, 2]})], 2),
        ([(0, {}), (5, {STEPS: [8, 16]})], 1),
        ([(0, {}), (0, {LR: [1, 2]})], 1),
        ([(0, {}), (8, {LR: [1, 2]}), (5, {LR: [2, 1]})], 1),
        ([(0, {}), (8, {LR: [1, 2]}), (5, {})], 2),
        ([(0, {}), (4, {LR: [1, 2]}), (8, {LR: [2, 1]})], 3),
        ([(0, None), (5, None)], 1),
    ],
    ids=[
        "none", "stopped", "changed", "longer", "before-any-step", "taken-back", "redone", "to-and-fro",
        "earlier-version",
    ],
)  # fmt: skip
def test_recipes_are_counted_by_what_trained(
    tmp_path: Path, segments: list[tuple[int, dict[str, list[int]] | None]], recipes: int
) -> None:
    rows = [{"step": step} | ({} if changed is None else {"changed": changed}) for step, changed in segments]
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "r", "segments": rows}))
    assert num_recipes(tmp_path) == recipes
