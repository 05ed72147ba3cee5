"""``samples_model`` is on every test that runs a model, so that ``-m samples_model`` with OPSD_RS_PERTURB_WEIGHTS tries
them all.

A test runs a model if its own text names one of ``RUNS``, or a helper, fixture or constant whose text does, and so on.
Names are read from the source, those inside the texts of child programs too, so this finds more tests than do run one:
``ONLY_FILES`` lists these, each with what it does with the model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
RUNS = {
    "AutoModelForCausalLM", "HFEngine", "VllmEngine", "make_engine", "load_model", "Student", "GRPOTrainer",
    "smollm2",
}  # fmt: skip
"""What loads a model's weights, and the fixture of the real one's folder."""
TOKENIZES = "reads the tokenizer alone"
FOLDER = "looks at the folder's files alone"
NEVER_STARTS = "ends before the weights are loaded"
NAMES = "names the model alone"
ONLY_FILES = {
    "test_chat_templates.py": TOKENIZES,
    "test_trainers.py::test_verl_reward_loop": TOKENIZES,
    "test_trainers.py::test_verl_managers_of_older_versions": TOKENIZES,
    "test_trainers.py::test_verl_stops_at_an_infrastructure_fault": TOKENIZES,
    "test_batch.py": TOKENIZES,
    "test_context_commands.py": TOKENIZES,
    "test_ids.py": TOKENIZES,
    "test_long_prompts.py": TOKENIZES,
    "test_model.py": FOLDER,
    "test_weight_hashes.py": FOLDER,
    "test_hf.py": NEVER_STARTS,
    "test_effects_data.py": TOKENIZES,
    "test_model_files.py": FOLDER,
    "test_plan.py": NEVER_STARTS,
    "test_tensor_names.py": NEVER_STARTS,
    "test_imports.py": NAMES,
    "test_intervals.py": NAMES,
}
"""By test, or by file where one reason holds for all of its tests without the marker."""


def names(node: ast.AST) -> set[str]:
    """The words in the code of a definition: names, attributes, arguments and what its texts hold, but no docstring."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node):
        node.body = node.body[1:]
    return set(re.findall(r"\w+", ast.unparse(node)))


class Source:
    """A file: the words of each of its definitions, and what it imports from the other files here."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_text())
        self.path = path
        self.words: dict[str, set[str]] = {}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.words[node.name] = names(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.words[node.targets[0].id] = names(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.words[node.target.id] = names(node)
        self.imported = {"conftest"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                self.imported.add(node.module)


def runs_a_model(source: Source, test: str, others: dict[str, Source]) -> bool:
    """Whether the words of a test are in ``RUNS``, or name definitions whose words are."""
    seen, waiting = set(), [(source, test)]
    while waiting:
        where, name = waiting.pop()
        if where.words[name] & RUNS:
            return True
        seen.add((where.path, name))
        for found in (where, *(others[module] for module in where.imported if module in others)):
            waiting += [
                (found, word)
                for word in found.words.keys() & where.words[name]
                if (found.path, word) not in seen
            ]
    return False


def unmarked(folder: Path = TESTS) -> Iterator[tuple[str, str]]:
    """(file, test) of each test that seems to run a model and has no marker."""
    sources = [Source(path) for path in sorted(folder.rglob("*.py")) if path.parent.name != "attacks"]
    others = {source.path.stem: source for source in sources if not source.path.name.startswith("test_")}
    for source in sources:
        if source.path.stem in others or "samples_model" in source.words.get("pytestmark", ()):
            continue
        for name, words in source.words.items():
            if (
                name.startswith("test_")
                and "samples_model" not in words
                and runs_a_model(source, name, others)
            ):
                yield source.path.name, name


def test_every_test_that_runs_a_model_is_marked() -> None:
    found = list(unmarked())
    missing = [f"{file}::{name}" for file, name in found if not {file, f"{file}::{name}"} & ONLY_FILES.keys()]
    assert missing == [], "mark them with samples_model, or add them to ONLY_FILES with a reason"
    used = {entry for file, name in found for entry in (file, f"{file}::{name}")}
    assert ONLY_FILES.keys() - used == set(), "these need no entry any more"


def test_the_search_follows_helpers_fixtures_and_child_programs(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("def fixed():\n    return smollm2\n")
    (tmp_path / "helper.py").write_text("CODE = 'import x; x.make_engine()'\ndef other():\n    return 1\n")
    (tmp_path / "test_it.py").write_text(
        "from helper import CODE, other\n"
        "def local():\n    return CODE\n"
        "def test_by_a_helper():\n    return local()\n"
        "def test_by_a_fixture(fixed):\n    pass\n"
        "def test_that_says_so():\n    'no HFEngine'\n    return other()\n"
        "@pytest.mark.samples_model\ndef test_with_the_marker(fixed):\n    pass\n"
    )
    assert list(unmarked(tmp_path)) == [
        ("test_it.py", "test_by_a_helper"),
        ("test_it.py", "test_by_a_fixture"),
    ]
