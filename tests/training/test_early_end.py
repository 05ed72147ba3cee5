"""A run with a law: its predicted end at the launch, its end by a rule, its resume, its row.

Real runs of a tiny random model on riddles, whose answers pass by chance; the laws are written here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import riddles
import tiny_models
from click.testing import CliRunner
from opsd_rs.base import read_table, write_table
from opsd_rs.cli import main
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.law import StopTerms, backtest_runs, find_stop, looks_of, prior_of
from opsd_rs.training import plan_run, train

pytestmark = [pytest.mark.slow, pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

STEPS = 6
WORDS = [
    "model.dtype=float32", "rollout.engine=hf", "rollout.n=2", "rollout.max_tokens=6", "rollout.max_prompt_tokens=512",
    "gap.n=4", "eval.n=4", "eval.every=1", f"train.num_steps={STEPS}", "train.prompts_per_step=2",
    "train.mini_batch_prompts=1", "train.checkpoint_every=2", "context=feedback", "environment=riddles:Riddles",
    "environment.modulus=2",
]  # fmt: skip
ENTRY = {
    "slope": 1.0, "slope_se": 0.1, "slope_ci95": [0.7, 1.3], "intercept": 0.0, "residual_sd": 0.02, "n": 6, "df": 4,
    "num_runs": 6, "gap_mean": 0.1, "gap_sxx": 0.05, "gap_min": -0.5, "gap_max": 0.5, "domain": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "tiny", "llama")


def law(path: Path, family: str = "tiny", **changes: Any) -> Path:
    path.write_text(json.dumps({"families": {family: {**ENTRY, **changes}}}))
    return path


def words(model: Path, folder: Path, *more: str) -> list[str]:
    return [*WORDS, f"model.path={model}", f"run.dir={folder}", *more]


def run(model: Path, folder: Path, *more: str) -> Path:
    return train(load_config([], words(model, folder, *more)))


def row_of(folder: Path) -> Mapping[str, Any]:
    [row] = read_table(folder / "runs.parquet")
    return row


def steps_of(folder: Path) -> list[int]:
    return sorted({row["step"] for row in read_table(folder / "eval.parquet")})


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a forecast and no rule."""
    folder = tmp_path_factory.mktemp("whole")
    return run(model, folder / "r", f"law.file={law(folder / 'law.json')}")


@pytest.mark.parametrize(
    ("rule", "settings", "at"),
    [
        ("futility", ["law.worthwhile=0.9"], 1),
        ("ceiling", ["law.further_gain=0.9"], 2),
        ("futility", ["law.worthwhile=0.1", "law.confidence=0.7"], 1),
    ],
)
def test_a_rule_ends_the_run_and_a_resume_ends_it_again(
    rule: str, settings: list[str], at: int, model: Path, whole: Path, tmp_path: Path, capfd: Any
) -> None:
    path = law(tmp_path / "law.json")
    folder = run(model, tmp_path / "r", f"law.file={path}", f"law.stop={rule}", *settings)
    said = capfd.readouterr().err
    assert len(re.findall(r"^forecast: ends at ", said, re.M)) == 1
    assert re.search(rf"^step {at}: the run ends here by law.stop = {rule}: ", said, re.M)
    row = row_of(folder)
    assert (row["stopped_at"], row["horizon_steps"]) == (at, STEPS)
    assert steps_of(folder) == list(range(at + 1))
    assert (folder / "model" / "model.safetensors").exists()
    full = row_of(whole)
    assert full["stopped_at"] is None
    assert (row["config_id"], row["recipe_id"]) == (full["config_id"], full["recipe_id"])

    # The rule reads what a look back at the whole run reads.
    terms = StopTerms(
        **{name.removeprefix("law."): float(value) for name, value in [s.split("=") for s in settings]}
    )
    prior = prior_of(json.loads((whole / "forecast.json").read_bytes()))
    stop = find_stop(rule, looks_of(read_table(whole / "eval.parquet")), prior, STEPS, terms)  # type: ignore[arg-type]
    assert stop is not None
    assert stop.step == at
    for left_out in settings:  # each setting matters
        name = left_out.partition("=")[0].removeprefix("law.")
        without = replace(terms, **{name: getattr(StopTerms(), name)})
        other = find_stop(rule, looks_of(read_table(whole / "eval.parquet")), prior, STEPS, without)  # type: ignore[arg-type]
        assert other is None or other.step > at

    # A finished run that is resumed ends where it ended; the law's file may be gone by then.
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "forecast.json")}
    weights = (folder / "model" / "model.safetensors").read_bytes()
    path.unlink()
    train(load_config([str(folder / "config.json")]), resume=folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert {**row_of(folder), "gpu_hours": None} == {**row, "gpu_hours": None}
    assert (folder / "model" / "model.safetensors").read_bytes() == weights

    # Without the rule it goes on to its end, as the run did that never had one.
    train(load_config([str(folder / "config.json")], ["law.stop=off"]), resume=folder)
    ended = row_of(folder)
    assert ended["stopped_at"] is None
    assert (ended["acc_val1"], ended["improvement"]) == (full["acc_val1"], full["improvement"])


def test_killed_before_the_end_it_ends_at_the_same_step(model: Path, whole: Path, tmp_path: Path) -> None:
    """From a checkpoint before the stop, with what was written after it."""
    path = law(tmp_path / "law.json")
    settings = [f"law.file={path}", "law.stop=ceiling", "law.further_gain=0.9", "train.checkpoint_every=1"]
    folder = run(model, tmp_path / "r", *settings)
    row = row_of(folder)
    shutil.rmtree(folder / "checkpoints" / "step-000002")
    shutil.rmtree(folder / "model")
    (folder / "runs.parquet").unlink()
    train(load_config([str(folder / "config.json")]), resume=folder)
    assert row_of(folder)["stopped_at"] == row["stopped_at"] == 2
    assert row_of(folder)["acc_val1"] == row["acc_val1"]


def test_the_forecast_is_kept_for_figures(whole: Path) -> None:
    found = json.loads((whole / "forecast.json").read_bytes())
    row = row_of(whole)
    assert found["acc_val0"] == row["acc_val0"]
    assert found["gap"] == row["gap"]
    expected = max(-row["acc_val0"], min(row["gap"], 1 - row["acc_val0"]))  # slope 1, intercept 0
    assert found["forecast"] == pytest.approx(expected)
    assert found["forecast_final"] == pytest.approx(row["acc_val0"] + expected)
    low, high = found["pi95"]
    assert 0 <= low <= found["pi80"][0] <= found["forecast_final"] <= found["pi80"][1] <= high <= 1
    assert len(found["law_sha256"]) == 64
    assert Path(found["law"]).name == "law.json"
    assert "domain_unknown" in found["flags"]
    assert found["decision"] != "train"


def test_a_look_back_finds_where_the_rules_would_have_stopped(whole: Path) -> None:
    """``law backtest`` on the run that went on, and the runs that were stopped, agree."""
    path = json.loads((whole / "forecast.json").read_bytes())["law"]
    found = {row["rule"]: row for row in backtest_runs(path, [whole], StopTerms(0.9, 0.9))}
    assert (found["futility"]["stop_step"], found["ceiling"]["stop_step"]) == (1, 2)
    accuracy = {look.step: look.accuracy for look in looks_of(read_table(whole / "eval.parquet"))}
    assert found["ceiling"]["regret"] == pytest.approx(accuracy[STEPS] - accuracy[2])
    assert found["ceiling"]["steps_saved"] == STEPS - 2
    assert found["ceiling"]["gpu_hours_saved"] is None, "no GPU here"


def test_rival_predictors_are_in_the_row(whole: Path) -> None:
    first = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    row = row_of(whole)
    assert row["token_kl0"] == first["kl"]
    assert row["topk_overlap0"] == first["topk_overlap"]
    assert 0 < row["topk_overlap0"] <= 1


def test_what_can_be_known_is_refused_before_the_start(model: Path, tmp_path: Path) -> None:
    cases = {
        r"law\.file = .*nowhere\.json: no such file": [f"law.file={tmp_path / 'nowhere.json'}"],
        r"no line for family tiny \(it has other\)": [f"law.file={law(tmp_path / 'other.json', 'other')}"],
        r"law\.file = paper-2605\.30070/qwen3-8b serves comparison only": ["law.file=paper-2605.30070/qwen3-8b"],
        r"outside of the law's domain: lr = 1e-06, the law's is 0\.1; .*set law\.force = true": [
            f"law.file={law(tmp_path / 'domain.json', domain={'lr': '0.1'})}"
        ],
    }  # fmt: skip
    for said, more in cases.items():
        config = load_config([], words(model, tmp_path / "r", *more))
        for start in (plan_run, train):
            with pytest.raises(BadInput, match=said):
                start(config)
            assert not (tmp_path / "r").exists()
    forced = load_config(
        [], words(model, tmp_path / "r", f"law.file={tmp_path / 'domain.json'}", "law.force=true")
    )
    checks = {row["check"]: row["found"] for row in plan_run(forced).checks}
    assert checks["law"].endswith("has a line for tiny; domain:lr")
    riddles.Riddles.open = 0


def test_keys_that_need_each_other(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", "law.stop=ceiling", "eval.every=0"], obj={"from_shell": False})
    assert done.exit_code == 2
    assert "needs law.file" in done.stderr
    assert "set eval.every above 0" in done.stderr


def test_a_gap_without_an_answer_stops_with_the_reason(model: Path, whole: Path, tmp_path: Path) -> None:
    """The folder of a run whose gap could not be graded."""
    folder = tmp_path / "r"
    shutil.copytree(whole, folder)
    (folder / "forecast.json").unlink()
    rows = read_table(folder / "gap.parquet")
    write_table(folder / "gap.parquet", [{**row, "gap": None} for row in rows])
    config = load_config([str(folder / "config.json")], [f"run.dir={folder}", f"train.num_steps={STEPS + 1}"])
    with pytest.raises(
        Exception, match=r"law\.file = .*: the gap or the validation at step 0 has no graded answer"
    ):
        train(config, resume=folder)
