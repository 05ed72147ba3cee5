"""A plugin's own keys are keys like any other: checked, with an origin, shown, written and read again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opsd_rs.config import load_config, resolve, resolved_json, to_toml
from opsd_rs.config.faults import ConfigFaults
from opsd_rs.config.text import dotted_values, explain_key

CONTROL = "control.mask=one"
PLUGIN = """
from __future__ import annotations
from datetime import date
from typing import Annotated
from pydantic import Field
from opsd_rs.config import Section

class Mine:
    class Options(Section):
        beta: Annotated[float, Field(gt=0.0)] = 0.5
        title: str = "x"
        layers: tuple[int, ...] = (1, 2)
        cap: int | None = 3
        since: str = ""

class Plain:
    pass

class Wrong:
    Options = dict
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(PLUGIN)
    return f"{tmp_path}/mine.py:Mine"


def faults(sources: list[str], *overrides: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        resolve(sources, [CONTROL, *overrides])
    return list(caught.value.faults)


def test_the_default_is_ours_and_has_no_keys_of_its_own() -> None:
    config = load_config([], [CONTROL])
    assert config.objective.name == "opsd"
    assert config == load_config([], ["objective=opsd", CONTROL])
    assert faults([], "objective.topk=3") == [
        "argument objective.topk=3: objective.topk is not a key; did you mean loss.topk?"
    ]


def test_a_plugins_keys_are_shown_and_come_back(mine: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'[objective]\nname = "{mine}"\nbeta = 2.0\nlayers = [4]\nsince = 2025-02-01\n')
    resolved = resolve([str(path)], ["objective.cap=none", "objective.title=2025", CONTROL])
    options = resolved.config.objective.options
    assert type(options).__qualname__ == "Mine.Options"
    assert options.model_dump() == {
        "beta": 2.0, "title": "2025", "layers": (4,), "cap": None, "since": "2025-02-01"
    }  # fmt: skip
    assert resolved.origins["objective.beta"] == f"{path}:3"
    assert resolved.origins["objective.cap"] == "argument objective.cap=none"
    assert explain_key(resolved, "objective.layers") == f"objective.layers = [4] # {path}:4"
    assert explain_key(resolve([], [f"objective={mine}", CONTROL]), "objective.beta").endswith(
        "0.5 # default"
    )
    assert dotted_values(resolved.config)["objective.cap"] is None
    for name, text in (("shown.toml", to_toml(resolved)), ("config.json", resolved_json(resolved.config))):
        (tmp_path / name).write_text(text)
        assert resolve([str(tmp_path / name)]).config == resolved.config


def test_a_table_that_names_a_plugin_replaces_the_one_before(mine: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'[objective]\nname = "{mine}"\nbeta = 2.0\n')
    assert load_config([str(path)], ["objective=opsd", CONTROL]) == load_config([], [CONTROL])
    nameless = tmp_path / "b.toml"
    nameless.write_text("[objective]\nbeta = 3.0\n")
    changed = load_config([str(path), str(nameless)], [CONTROL])
    assert changed.objective.options.model_dump()["beta"] == 3.0


def test_all_faults_at_once_with_origin_and_near_names(mine: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'objective = "{mine}"\n')
    found = faults([str(path)], "objective.bet=1.0", "objective.beta=-1.0", "objective.layers=a,b", "seed=-1")
    assert "argument objective.bet=1.0: objective.bet is not a key; did you mean objective.beta?" in found
    assert "argument objective.beta=-1.0: objective.beta must be greater than 0, not -1.0" in found
    assert any(line.startswith("argument objective.layers=a,b: objective.layers must be") for line in found)
    assert any(line.startswith("argument seed=-1: seed must be") for line in found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("opsdd", 'objective.name = "opsdd": no objective of this name; did you mean opsd?'),
        ("nowhere_at_all:X", "No module named 'nowhere_at_all'"),
        ("{folder}/mine.py:Mien", "holds no function or class Mien; did you mean Mine?"),
        ("{folder}/mine.py:Wrong", "its Options must be a subclass of opsd_rs.config.Section"),
    ],
)
def test_a_bad_name_names_who_set_it(name: str, message: str, mine: str, tmp_path: Path) -> None:
    name = name.format(folder=tmp_path)
    (fault,) = faults([], f"objective={name}")
    assert fault.startswith(f"argument objective={name}: objective.name = ")
    assert message in fault
    (fault,) = faults(
        [], f"objective.name={name}", "objective.beta=1"
    )  # the name's origin, whatever comes first
    assert fault.startswith(f"argument objective.name={name}: ")


def test_a_plugin_without_options_has_no_keys(mine: str) -> None:
    plain = mine.replace("Mine", "Plain")
    assert load_config([], [f"objective={plain}", CONTROL]).objective.options.model_dump() == {}
    (fault,) = faults([], f"objective={plain}", "objective.gamma=1")
    assert fault.startswith("argument objective.gamma=1: objective.gamma is not a key")


def test_other_types_than_a_name_are_refused() -> None:
    (fault,) = faults([], "objective=[1]")
    assert fault.startswith("argument objective=[1]: objective.name must be a valid string")


def test_the_command_exits_with_2() -> None:
    words = [sys.executable, "-m", "opsd_rs.cli", "config", "show", "demo", "objective=opsdd"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "did you mean opsd?" in done.stderr


def test_rules_of_the_loss_hold_for_the_objective_that_reads_it(mine: str) -> None:
    cut = "rollout.top_p=0.9"  # not with the trainer/sampler ratio of [loss]
    assert len(faults([], cut)) == 1
    assert load_config([], [CONTROL, cut, f"objective={mine}"]).rollout.top_p == 0.9
