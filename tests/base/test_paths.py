"""One reading of paths at every interface: the command line, configurations, functions."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from opsd_rs.base import expand, own_name, read_table, without_wildcards, write_table
from opsd_rs.cli.options import path_type
from opsd_rs.config import load_config, split_arguments
from opsd_rs.config.keys import keys

NAMES = ["plain", "with space", "lr=1e-5", "a[1]", "star*", "q?", "ü", "-dash", "~not-a-user-of-this-machine"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_itself(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert expand(folder) == folder
    write_table(folder / f"{name}.parquet", [{"a": 1}])
    assert read_table(folder / f"{name}.parquet") == [{"a": 1}]
    with without_wildcards(folder) as plain:
        assert (plain / f"{name}.parquet").exists()
        assert not set("*?[") & set(str(plain))
    (folder / "c.toml").write_text("seed = 7\n")
    files, overrides = split_arguments([str(folder / "c.toml"), f"run.dir={folder}"])
    config = load_config(files, [*overrides, "control.mask=one"])
    assert (config.seed, config.run.dir) == (7, str(folder))


def test_a_tilde_is_the_home_in_every_key_that_holds_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").touch()
    paths = ["run.dir", "model.path", "problems.path", "eval.from", "gap.from"]
    config = load_config([], ["control.mask=one", *(f"{key}=~/x" for key in paths)])
    tree = config.model_dump(by_alias=True)
    for key in paths:
        table, name = key.split(".")
        assert key in keys()
        assert tree[table][name] == f"{tmp_path}/x", key


def test_a_tilde_is_the_home_in_a_commands_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    @click.command()
    @click.option("--out", type=path_type)
    def command(out: Path) -> None:
        click.echo(out)

    assert CliRunner().invoke(command, ["--out", "~/x"]).output.strip() == f"{tmp_path}/x"


def test_a_dot_has_the_name_of_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    assert [own_name(path) for path in (".", "..", "./", "x/y/")] == ["below", "here", "below", "y"]
