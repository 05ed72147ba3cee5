"""The import map, read from the sources: who may import whom, which library is named where, what stays light.

A package is a first-level folder of ``opsd_rs``. It imports what every package stands on and itself; entry points
import packages. From outside, a package is entered by its ``__init__``. No file imports in a circle.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import opsd_rs
import pytest

PACKAGE = Path(opsd_rs.__file__).parent
BASE = {"records", "errors", "_core", "_lazy", "base", "config", "drawing", "inputs"}
ENTRY_POINTS = {"training", "environments", "cli", "doctor", "compat", "report", "sweep"}
DOORS: set[tuple[str, str]] = set()
"""(file, module) where a package is entered past its ``__init__``."""
HEAVY = {
    "click": "cli/",
    "pydantic": "config/ problems/ours.py sweep/grid.py",
    "rich": "base/show.py base/progress.py",
    "scipy": "law/",
    "polars": "base/tables.py law/ inputs/raw.py grading/files/results.py",
    "matplotlib": "drawing/canvas.py law/figures.py report/",
    "jinja2": "context/chat.py report/page.py",
    "_core": "grading/ context/ doctor/",
    "torch": "base/ranks.py base/launch.py base/output_head.py rollout/ policy/ loss/ training/ model/",
    "triton": "loss/kernels/",
    "transformers": "rollout/ policy/ context/chat.py model/",
    "tokenizers": "model/",
    "bm25s": "context/examples.py",
    "deepspeed": "policy/",
    "vllm": "rollout/vllm/",
    "ray": "grading/cluster/",
    "safetensors": "policy/ rollout/weights/",
    "huggingface_hub": "model/ problems/livecodebench.py",
}
"""The files, by the beginnings of their paths, that may name a library, at the top or inside a function."""


def sources() -> dict[str, ast.Module]:
    """Every module by its dotted name below ``opsd_rs``; a package's ``__init__`` by the package's name."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(file.read_text())
    return found


SOURCES = sources()


def imported(tree: ast.AST) -> set[str]:
    """Absolute names that ``tree`` imports, in functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(name: str) -> set[str]:
    """Modules of the package that the module ``name`` imports."""
    found = set()
    for target in imported(SOURCES[name]):
        head, _, rest = target.partition(".")
        while head == "opsd_rs" and rest:
            if rest in SOURCES or rest == "_core":
                found.add(rest)
                break
            rest = rest.rpartition(".")[0]
    return found - {name}


def package_of(module: str) -> str:
    return module.partition(".")[0]


MODULES = sorted(name for name in SOURCES if name)


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_the_base_and_themselves(module: str) -> None:
    package, targets = package_of(module), ours(module)
    others = {package_of(target) for target in targets} - {package}
    if package in BASE:
        assert others <= BASE
        if package not in {"base", "config", "records"}:
            assert others <= {"_lazy", "errors"} | ({"base"} if package == "drawing" else set())
    elif package not in ENTRY_POINTS:
        assert others <= BASE
    past = {target for target in targets if package_of(target) != package and "." in target}
    assert {target for target in past if (module, target) not in DOORS} == set()


def test_no_file_imports_in_a_circle() -> None:
    """Eager imports only: one inside a function or under TYPE_CHECKING runs no module."""
    for module in MODULES:
        assert circle(module, {name: eager(name) for name in MODULES}) is None


def eager(name: str) -> set[str]:
    """Modules that importing ``name`` runs; the package's lazy ``__init__`` runs none."""
    body = [node for node in SOURCES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    targets = set()
    for target in imported(ast.Module(body, [])):
        rest = target.removeprefix("opsd_rs.")
        if rest == target:
            continue
        package, _, attribute = rest.rpartition(".")
        targets |= {rest} if rest in SOURCES else {home(package, attribute)}
    return targets - {name, ""}


def home(package: str, name: str) -> str:
    """The module that ``from opsd_rs.PACKAGE import NAME`` runs."""
    if package in SOURCES and (PACKAGE / package.replace(".", "/") / "__init__.py").exists():
        for node in ast.walk(SOURCES[package]):
            if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
                return (node.module or "").removeprefix("opsd_rs.")
    return package if package in SOURCES else ""


def circle(start: str, edges: dict[str, set[str]]) -> list[str] | None:
    """A path from ``start`` back to it, if there is one."""
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop()
        for following in edges.get(path[-1], ()):
            if following == start:
                return path
            if following not in seen:
                seen.add(following)
                paths.append([*path, following])
    return None


def test_the_search_finds_circles() -> None:
    assert circle("a", {"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert circle("a", {"a": {"b"}, "b": {"c"}, "c": {"b"}}) is None


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_are_named_where_they_belong(library: str) -> None:
    allowed = tuple(HEAVY[library].split())
    names = {f"opsd_rs.{library}" if library == "_core" else library}
    for file in PACKAGE.rglob("*.py"):
        path = str(file.relative_to(PACKAGE))
        found = imported(ast.parse(file.read_text()))
        if any(name == target or target.startswith(f"{name}.") for name in names for target in found):
            assert path.startswith(allowed), f"{path} imports {library}"


# ---- faces ----------------------------------------------------------------------------------------

FACES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("package", FACES)
def test_a_face_defines_nothing_and_exports_what_it_says(package: str) -> None:
    file = PACKAGE / package / "__init__.py"
    assert len(file.read_text().splitlines()) <= 40
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.If, ast.Assign)
    assert all(isinstance(node, allowed) for node in SOURCES[package].body)
    listed = {
        alias.name: node.module
        for node in ast.walk(SOURCES[package])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"opsd_rs.{package}.")
        for alias in node.names
    }
    face = importlib.import_module(f"opsd_rs.{package}")
    if not listed:
        return  # its modules are imported one by one
    assert sorted(listed) == sorted(face.__all__) == face.__dir__()
    for name, module in listed.items():
        assert getattr(face, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("package", FACES)
def test_no_submodule_has_the_name_of_an_export(package: str) -> None:
    """Importing the submodule would put it in the export's place."""
    folder = PACKAGE / package
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.name for path in folder.iterdir() if path.is_dir()
    }
    exported = set(getattr(importlib.import_module(f"opsd_rs.{package}"), "__all__", ()))
    assert modules & exported == set()


def test_the_map_sees_imports() -> None:
    """The reader of imports finds known edges, eager and inside functions."""
    assert "config" in ours("cli.train")
    assert "records" in ours("measure.arms")
    assert "torch" in {name.partition(".")[0] for name in imported(SOURCES["loss.opsd"])}


# ---- what stays light ----------------------------------------------------------------------------

BLOCKED = (
    "torch", "polars", "scipy", "transformers", "deepspeed", "vllm", "matplotlib", "jinja2", "huggingface_hub",
)  # fmt: skip

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
heavy = {"torch", "polars", "scipy", "transformers", "pydantic", "matplotlib", "jinja2"}
atexit.register(lambda: print("LOADED", sorted(set(sys.modules) & heavy)))
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
        ["--help"], ["--version"], ["train", "--help"], ["gap", "--help"], ["screen", "--help"], ["eval", "--help"],
        ["grade", "--help"], ["sweep", "--help"], ["report", "--help"], ["figure", "--help"],
        ["law", "--help"], ["law", "fit", "--help"], ["law", "check", "--help"], ["law", "power", "--help"],
        ["law", "simulate", "--help"], ["law", "predict", "--help"], ["law", "show", "--help"],
        ["law", "import", "--help"], ["law", "backtest", "--help"], ["model", "fetch", "--help"],
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


def test_the_law_needs_polars_and_scipy_but_no_torch() -> None:
    table = PACKAGE / "data/law_synthetic.csv"
    blocker = BLOCKER.replace("'polars', 'scipy', ", "")
    words = ["law", "fit", str(table), "--format", "json"]
    done = python(f"{blocker}\n{LOADED}\nfrom opsd_rs.cli import main\nmain({words!r}, prog_name='opsd-rs')")
    assert done.returncode == 0, done.stderr
    assert '"slope"' in done.stdout


def test_what_the_law_says_of_runs_needs_no_torch(tmp_path: Path) -> None:
    """Show, predict (down to a refusal) and import."""
    blocker = BLOCKER.replace("'polars', ", "").replace("'scipy', ", "").replace(", 'scipy'", "")
    table = tmp_path / "t.csv"
    table.write_text("family,config_id,gap,improvement\nm,a,0.1,0.2\n")
    for words, code in (
        (["law", "show"], 0),
        (["law", "predict", "paper-2605.30070/qwen3-8b", str(table)], 2),
        (["law", "import", str(table), "--out", str(tmp_path / "runs.parquet")], 0),
    ):
        done = python(
            f"{blocker}\n{LOADED}\nfrom opsd_rs.cli import main\nmain({words!r}, prog_name='opsd-rs')"
        )
        assert done.returncode == code, done.stderr
        assert "'torch'" not in done.stdout


def test_without_torch_the_loop_names_the_extra() -> None:
    for command in ("train", "gap", "eval"):
        done = run_command(command, "smoke")
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert "torch is not installed" in line
        assert "pip install 'opsd-rs[train]'" in line


def test_a_sweep_is_planned_without_torch() -> None:
    """Its own process leaves a GPU's memory to its runs."""
    blocker = BLOCKER.replace("'polars', 'scipy', ", "")
    words = ["sweep", "demo", "--dry-run"]
    done = python(f"{blocker}\n{LOADED}\nfrom opsd_rs.cli import main\nmain({words!r}, prog_name='opsd-rs')")
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m" in done.stdout
