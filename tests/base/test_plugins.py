"""Plugins are found by registered name, module or file; what is wrong with a name is one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from opsd_rs.base import REGISTERED, import_attribute, resolve_plugin
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", sorted(REGISTERED))
def test_registered_names_resolve(kind: str) -> None:
    for name in REGISTERED[kind]:
        assert callable(resolve_plugin(kind, name))


def test_a_module_and_a_file_are_named_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plugin_module.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_plugin("objective", "my_plugin_module:Mine").__name__ == "Mine"
    file = f"{tmp_path}/my_plugin_module.py:Mine"
    found = resolve_plugin("objective", file)
    assert found.__name__ == "Mine"
    assert resolve_plugin("objective", file) is found  # run once
    monkeypatch.chdir(tmp_path)
    assert resolve_plugin("objective", "my_plugin_module.py:Mine") is found


def test_a_file_that_changed_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for value in (1, 2):
        path.write_text(f"def value():\n    return {value}\n")
        os.utime(path, ns=(value, value))
        assert import_attribute("objective.name", f"{path}:value")() == value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("opsdd", r'^objective\.name = "opsdd": no objective of this name; did you mean opsd\?'),
        ("zzz2000", r"; there is opsd, grpo, .*mixture; your own is module:attribute$"),
        ("no_such_module_here:X", r"^objective\.name = .*No module named 'no_such_module_here'"),
        ("math:sqrtt", r"math holds no function or class sqrtt; did you mean sqrt\?"),
        ("math:pi", r"math holds no function or class pi"),
        (":X", r"write file\.py:name or module:name$"),
        ("nowhere.py:X", r"no such file nowhere\.py$"),
    ],
)
def test_a_bad_name_is_bad_input(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        resolve_plugin("objective", name)


def test_a_file_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise KeyError('x')\n")
    with pytest.raises(
        BadInput, match=r"^log\.to = .*broken\.py:X: .*broken\.py cannot be run: KeyError: 'x'$"
    ):
        resolve_plugin("objective", f"{path}:X", key="log.to")
