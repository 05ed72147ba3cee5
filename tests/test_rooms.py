"""The map of the house: who may import whom, read from the source, and how light the doors are.

The floor carries everything and imports no room. A room imports the floor, its own files and its own heavy
library. Corridors open rooms. A new file is given its place here, or the first test fails.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import opsd_rs
import pytest

PACKAGE = Path(opsd_rs.__file__).parent

FLOOR = {
    "records", "config", "config_section", "config_context", "config_checks", "config_files", "config_text",
    "toml_lines", "errors", "disk", "journal", "note_cache", "progress", "launch", "cores", "ranks", "show",
    "statistics",
}  # fmt: skip

ROOMS = {
    "problems": {
        "problems", "problem_files", "problem_lines", "problem_pairs", "problem_records", "livecodebench",
    },
    "model": {"model"},
    "rollout": {"rollout", "sampler", "vllm_engine", "vllm_server", "weight_sync"},
    "grading": {
        "grading", "grading_options", "grading_flow", "lcb_rules", "grader_process", "feedback", "grade_inputs",
        "grade_flags", "grade_keys",
        "grade_journal", "grade_results", "grade_run", "grade_report", "grade_official", "grading_ray",
        "grading_cluster", "grading_node",
    },
    "context": {
        "context", "context_api", "context_batch", "context_chat", "context_words", "context_sections", "context_notes",
        "context_memory", "context_templates", "context_examples", "context_controls", "context_preview",
        "context_lint",
    },
    "student": {"student"},
    "teacher": {"teacher"},
    "loss": {"loss", "kernels"},
    "evaluate": {"evaluate"},
    "gap": {"gap", "run_table"},
    "law": {"law", "law_table", "law_runs", "figures"},
}  # fmt: skip

DOORS = {("gap", "evaluate")}
"""The room-to-room edges there are: (who imports, what)."""

CORRIDORS = {
    "train", "house", "distill", "sync", "checkpoint", "cli", "cli_context", "cli_grade", "cli_options", "doctor",
    "doctor_sandbox", "compat.shared", "compat.verl", "compat.trl", "compat.lcb",
}  # fmt: skip

HEAVY = {
    "click": {"cli", "cli_context", "cli_grade", "cli_options"},
    "pydantic": {"config", "config_section", "config_context", "config_files", "config_text", "problem_lines"},
    "rich": {"show", "progress"},
    "polars": {"journal", "law_table", "law_runs", "problem_records", "grade_results"},
    "matplotlib": {"figures"},
    "_core": {
        "grading", "grading_options", "lcb_rules", "context_templates", "context_batch", "context_chat", "doctor",
    },
    "torch": {
        "ranks", "model", "rollout", "vllm_engine", "weight_sync", "student", "teacher", "loss", "house", "distill",
        "sync", "checkpoint",
    },
    "transformers": {"model", "rollout", "student", "context_chat"},
    "tokenizers": {"model"},
    "bm25s": {"context_examples"},
    "deepspeed": {"student"},
    "vllm": {"vllm_server", "weight_sync"},
    "ray": {"grading_ray", "grading_cluster"},
    "triton": {"kernels"},
    "safetensors": {"student", "weight_sync"},
    "huggingface_hub": {"model", "livecodebench"},
}  # fmt: skip
"""Each heavy library and the files that may name it."""

LIGHT = set(sys.stdlib_module_names) | {"pydantic", "numpy"}
"""What the floor may load when it is imported."""


def modules() -> dict[str, ast.Module]:
    """By name; a folder of kernels is one module, the doors in ``compat`` are one each."""
    files = [*PACKAGE.glob("*.py"), *PACKAGE.glob("kernels/*.py")]
    doors = [file for file in PACKAGE.glob("compat/*.py") if file.stem != "__init__"]
    return {
        file.relative_to(PACKAGE).parts[0].removesuffix(".py"): ast.parse(file.read_text()) for file in files
    } | {f"compat.{file.stem}": ast.parse(file.read_text()) for file in doors}


MODULES = {name: tree for name, tree in modules().items() if name != "__init__"}


def imported(tree: ast.Module | ast.stmt) -> set[str]:
    """Dotted names of all imports, inside functions too; ``from opsd_rs import gap`` counts as ``opsd_rs.gap``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def ours(tree: ast.Module) -> set[str]:
    """Modules of the package that ``tree`` imports."""
    parts = [name.split(".") for name in imported(tree)]
    return {part[1] for part in parts if part[0] == "opsd_rs" and len(part) > 1 and part[1] in MODULES}


def room_of(module: str) -> str:
    return next(room for room, files in ROOMS.items() if module in files)


def test_every_file_has_its_place() -> None:
    placed = [FLOOR, CORRIDORS, *ROOMS.values()]
    names = [name for group in placed for name in group]
    assert len(names) == len(set(names)), "a file stands in two places"
    assert set(MODULES) - set(names) == set(), "give these files a place in this test"


@pytest.mark.parametrize("module", sorted(set(MODULES) & FLOOR))
def test_the_floor_imports_the_floor(module: str) -> None:
    assert ours(MODULES[module]) <= FLOOR
    eager = [node for node in MODULES[module].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    top = {name.split(".")[0] for node in eager for name in imported(node)}
    assert top <= LIGHT | {"opsd_rs"}


@pytest.mark.parametrize(
    "module", sorted(set(MODULES) & {name for files in ROOMS.values() for name in files})
)
def test_rooms_import_the_floor_and_themselves(module: str) -> None:
    room = room_of(module)
    others = ours(MODULES[module]) - FLOOR - ROOMS[room]
    crossings = {(room, room_of(other) if other not in CORRIDORS else other) for other in others}
    assert crossings <= DOORS


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    def names(tree: ast.Module) -> bool:
        heads = {name.split(".")[0] for name in imported(tree)}
        return library in heads or f"opsd_rs.{library}" in imported(tree)

    assert {name for name, tree in MODULES.items() if names(tree)} <= HEAVY[library]


def test_the_map_sees_imports() -> None:
    """The reader of imports is no blind one: it finds known edges, eager and inside functions."""
    assert "config_files" in ours(MODULES["cli"])
    assert "records" in ours(MODULES["gap"])
    assert "torch" in {name.split(".")[0] for name in imported(MODULES["loss"])}


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


def test_every_file_stands_in_the_page_of_the_house() -> None:
    page = (PACKAGE.parent.parent / "docs/house.md").read_text(encoding="utf-8")
    assert [name for name in sorted(MODULES) if f"`{name}`" not in page and f"{name}.py" not in page] == []
