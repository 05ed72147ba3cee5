"""The import map: packages are entered by their ``__init__``, and what must be light is light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import opsd_rs
import pytest

PACKAGE = Path(opsd_rs.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """Modules of the package that are imported anywhere in ``tree``, as dotted names below ``opsd_rs``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opsd_rs."):
            found.add(node.module.removeprefix("opsd_rs."))
    return found


@pytest.mark.parametrize("package", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_package_is_entered_by_its_init(package: str) -> None:
    outside = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] != package]
    deep = {
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in outside
        for name in imported(ast.parse(file.read_text()))
        if name.startswith(f"{package}.") and (package, name) not in DOORS
    }
    assert deep == set()


DOORS: set[tuple[str, str]] = set()


# ---- light doors ----------------------------------------------------------------------------------

BLOCKED = ("torch", "polars", "transformers", "deepspeed", "vllm", "matplotlib", "huggingface_hub")

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""

LOADED = """
import atexit
atexit.register(lambda: print("LOADED", sorted(set(sys.modules) & {"torch", "polars", "transformers", "pydantic"})))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def run_command(*words: str, blocked: bool = True) -> subprocess.CompletedProcess[str]:
    head = BLOCKER if blocked else "import sys"
    return python(
        f"{head}\n{LOADED}\nfrom opsd_rs.cli import main\nmain({list(words)!r}, prog_name='opsd-rs')"
    )


def test_the_blocker_blocks() -> None:
    done = python(f"{BLOCKER}\nimport torch")
    assert done.returncode == 1
    assert "(blocked)" in done.stderr


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["--version"], ["train", "--help"], ["gap", "--help"], ["eval", "--help"], ["grade", "--help"],
        ["law", "--help"], ["law", "fit", "--help"], ["law", "predict", "--help"], ["model", "fetch", "--help"],
        ["data", "show", "--help"], ["context", "--help"], ["config", "show", "--help"], ["doctor", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_is_light_and_needs_nothing(words: list[str], blocked: bool) -> None:
    done = run_command(*words, blocked=blocked)
    assert done.returncode == 0, done.stderr
    assert "Usage: opsd-rs" in done.stdout or "version" in done.stdout
    assert done.stdout.endswith("LOADED []\n"), done.stdout


def test_import_is_light_and_needs_nothing() -> None:
    done = python(f"{BLOCKER}\n{LOADED}\nimport opsd_rs\nprint(opsd_rs.__version__)")
    assert (done.returncode, done.stdout) == (0, f"{opsd_rs.__version__}\nLOADED []\n"), done.stderr


@pytest.mark.parametrize(
    "words", [["config", "show", "reference"], ["config", "keys"], ["context", "list"]], ids=" ".join
)
def test_configuration_needs_no_torch_and_no_polars(words: list[str]) -> None:
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LOADED ['pydantic']\n")


def test_the_law_needs_polars_but_no_torch() -> None:
    table = PACKAGE / "data/law_synthetic.csv"
    blocker = BLOCKER.replace("'polars', ", "")
    words = ["law", "fit", str(table), "--format", "json"]
    done = python(f"{blocker}\n{LOADED}\nfrom opsd_rs.cli import main\nmain({words!r}, prog_name='opsd-rs')")
    assert done.returncode == 0, done.stderr
    assert '"slope"' in done.stdout


def test_without_torch_the_loop_names_the_extra() -> None:
    for command in ("train", "gap", "eval"):
        done = run_command(command, "smoke")
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert "torch is not installed" in line
        assert "pip install 'opsd-rs[train]'" in line
