"""The tables of environments and loggers: their own keys, checked where they stand, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opsd_rs.config import load_config, resolve, resolved_json, to_toml
from opsd_rs.errors import BadInput

OWN = """
from opsd_rs.config import Section

class Printer:
    class Options(Section):
        every: int = 1
        path: str | None = None

class Maze:
    class Options(Section):
        width: int
        walls: tuple[str, ...] = ()

class Plain:
    pass
"""
CONTROL = "control.mask=one"


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return str(file)


def fault(*overrides: str) -> str:
    with pytest.raises(BadInput) as raised:
        resolve([], [CONTROL, *overrides])
    return str(raised.value)


def test_ours_are_the_default() -> None:
    config = load_config([], [CONTROL])
    assert (config.environment.name, config.log.to) == ("code", ("jsonl",))
    assert config.environment.options.model_dump() == config.log.options_of("jsonl").model_dump() == {}


def test_a_logger_of_one_s_own_has_a_table(own: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'[log]\nto = ["jsonl", "{own}:Printer"]\n\n[log.Printer]\nevery = 3\n')
    resolved = resolve([str(path)], [CONTROL, "log.Printer.path=none"])
    assert resolved.config.log.to == ("jsonl", f"{own}:Printer")
    assert resolved.config.log.options_of(f"{own}:Printer").model_dump() == {"every": 3, "path": None}
    assert "[log.Printer]\nevery = 3 # " in to_toml(resolved)
    for name, text in (("config.json", resolved_json(resolved.config)), ("shown.toml", to_toml(resolved))):
        (tmp_path / name).write_text(text)
        assert load_config([str(tmp_path / name)]) == resolved.config


def test_an_environment_of_one_s_own_has_keys_beside_its_name(own: str) -> None:
    config = load_config(
        [], [CONTROL, f"environment={own}:Maze", "environment.width=4", "environment.walls=a,b"]
    )
    assert config.environment.options.model_dump() == {"width": 4, "walls": ("a", "b")}
    assert json.loads(resolved_json(config))["environment"]["width"] == 4
    assert load_config([], [CONTROL, f"environment={own}:Plain"]).environment.options.model_dump() == {}


def test_faults_name_the_key_and_who_set_it(own: str) -> None:
    printer = f'log.to=["{own}:Printer"]'
    for overrides, words in (
        (
            [printer, "log.Printer.evry=3"],
            "argument log.Printer.evry=3: log.Printer.evry is not a key; did you mean",
        ),
        (
            [printer, "log.Printer.every=x"],
            "argument log.Printer.every=x: log.Printer.every must be a valid integer",
        ),
        ([printer, "log.Printer=3"], "argument log.Printer=3: log.Printer is a table"),
        (["log.Printer.every=3"], "argument log.Printer.every=3: log.Printer is not a key"),
        (
            ["log.to=jsnl"],
            'argument log.to=jsnl: log.to = "jsnl": no logger of this name; did you mean jsonl?',
        ),
        (["log.token_kl=7"], "argument log.token_kl=7: log.token_kl must be a valid boolean"),
        (["log.to=x.py:token_kl"], "log.token_kl is a key of its own; give the class another name"),
        (["log.to=[3]"], "argument log.to=[3]: log.to must be a valid string"),
        (["log.to=[]", "log.jsonl.every=3"], "argument log.jsonl.every=3: log.jsonl is not a key"),
        (["environment=cod"], 'environment.name = "cod": no environment of this name; did you mean code?'),
        ([f"environment={own}:Maze"], "environment.width"),
        ([f"environment={own}:Maize"], "holds no function or class Maize; did you mean Maze?"),
    ):
        assert words in fault(*overrides)
