"""The pages: links lead somewhere, the code of README and recipes runs, and the architecture names every package.

Also what stands beside them for developers: the hooks, the workflow and the citation."""

from __future__ import annotations

import doctest
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from opsd_rs.base import read_lines

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (\S+\.\w+)$", re.MULTILINE)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(FENCE, "", (ROOT / page).read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}"


def test_pages_that_the_sources_name_exist() -> None:
    sources = [
        file
        for folder in ("python", "rust", "benches", "examples", "tools", "tests")
        for suffix in ("py", "rs", "toml")
        for file in (ROOT / folder).rglob(f"*.{suffix}")
        if "target" not in file.parts
    ]
    named = {
        (str(file.relative_to(ROOT)), page)
        for file in sources
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert {(file, page) for file, page in named if not (ROOT / page).is_file()} == set()


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``: headings in lower case, words joined by dashes."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block that has a language."""
    return [(found[1], found[2]) for found in FENCE.finditer(text)]


def run(words: list[str], folder: Path) -> str:
    """Run a command in ``folder``, where ``opsd-rs`` is the command of this package."""
    command = folder / ".bin/opsd-rs"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m opsd_rs.cli "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "python"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_code_of_the_readme_runs(tmp_path: Path) -> None:
    codes = [code for language, code in blocks((ROOT / "README.md").read_text()) if language == "python"]
    assert codes
    for code in codes:
        assert len(code.splitlines()) <= 16
        said = run([sys.executable, "-c", code], tmp_path)
        assert said.startswith("wrong_answer\n")
        assert "slope 95 % CI" in said


@pytest.mark.sandbox
def test_the_first_command_prints_what_the_readme_says(tmp_path: Path) -> None:
    found = blocks((ROOT / "README.md").read_text())
    place = next(
        i for i, (language, code) in enumerate(found) if language == "sh" and "opsd-rs grade" in code
    )
    assert found[place + 1][0] == "text"
    assert run(["sh", "-ec", found[place][1]], tmp_path) == found[place + 1][1]


@pytest.mark.parametrize("page", ["docs/grader.md", "docs/loss.md"])
def test_sessions_of_a_page_say_what_happens(page: str) -> None:
    """Blocks that begin with a prompt, as one session after the other."""
    text = (ROOT / page).read_text(encoding="utf-8")
    sessions = [code for language, code in blocks(text) if language == "python" and code.startswith(">>> ")]
    assert sessions
    for number, code in enumerate(sessions):
        test = doctest.DocTestParser().get_doctest(code, {}, f"{page}, {number}", None, None)
        assert doctest.DocTestRunner().run(test).failed == 0


def recipes() -> dict[str, str]:
    """Title -> text of each recipe."""
    parts = re.split(
        r"^## (.+)$", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_works_as_printed(title: str, tmp_path: Path) -> None:
    """Files are written under the name in their first line, Python ones run; then each block of commands runs."""
    ran = 0
    for language, code in blocks(recipes()[title]):
        named = FILE.match(code)
        if named:
            (tmp_path / named[1]).write_text(code, encoding="utf-8")
        if language == "python":
            assert named, "a recipe's Python is a file"
            run([sys.executable, named[1]], tmp_path)
        elif language == "sh":
            run(["sh", "-ec", code], tmp_path)
            ran += 1
    assert ran


@pytest.mark.samples_model
@pytest.mark.slow
def test_the_recipes_train(tmp_path: Path) -> None:
    """One run with the environment, the objective and the logger of the recipes, on a tiny model."""
    for text in recipes().values():
        for _, code in blocks(text):
            if named := FILE.match(code):
                (tmp_path / named[1]).write_text(code, encoding="utf-8")
    (tmp_path / "easy.py").write_text(EASY)
    model = tiny_models.tiny(tmp_path / "tiny", "llama")
    settings = [
        "smoke", "contexts/feedback", f"model.path={model}", "run.dir=run", "rollout.engine=hf", "rollout.max_tokens=8",
        "train.num_steps=2", "gap.contexts=feedback", "environment=easy.py:Easy", "environment.num=6",
        "objective=imitate.py:Imitate", "objective.label_smoothing=0.1", "log.to=jsonl,table.py:Table",
    ]  # fmt: skip
    run(["opsd-rs", "train", *settings], tmp_path)
    lines = read_lines(tmp_path / "run/metrics.jsonl")
    table = [line.split("\t") for line in (tmp_path / "run/metrics.tsv").read_text().splitlines()]
    assert [[str(line["step"]), str(line["loss"])] for line in lines] == table
    assert len(table) == 2
    assert all(line["cross_entropy"] > 0 for line in lines)


EASY = '''
from sums import Sums
import dataclasses


class Easy(Sums):
    """Every second answer passes: a tiny model of random weights adds nothing up."""

    def grade(self, answers, progress=None):
        grades = super().grade(answers)
        return [dataclasses.replace(g, passed=True, verdict="accepted") if g.sample % 2 else g for g in grades]
'''


# ---- the map -------------------------------------------------------------------------------------

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w/]+)` \|", ARCHITECTURE, re.MULTILINE)


def test_the_architecture_has_a_row_for_every_package_and_module() -> None:
    package = ROOT / "python/opsd_rs"
    present = {path.parent.name for path in package.glob("*/__init__.py")}
    present |= {path.stem for path in package.glob("*.py")} - {"__init__"} | {"_core"}
    present |= {f"rust/{path.parent.name}" for path in ROOT.glob("rust/*/Cargo.toml")}
    assert sorted(ROWS) == sorted(present)


def test_hooks_and_workflow_call_make() -> None:
    """What runs before a commit and in CI are the words of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    hooks = re.findall(r"entry: make (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
    check = r"^check: build ##.*\n\t\$\(MAKE\) .* TOGETHER=1 (.+)$"
    (words,) = re.findall(check, (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert hooks == words.split(), "the hooks are `make check`, whose parts build"
    assert set(hooks) <= targets
    assert "- run: make test\n" in (ROOT / ".github/workflows/test.yml").read_text()


def test_the_citation_has_the_version_of_the_package() -> None:
    import opsd_rs

    assert f"\nversion: {opsd_rs.__version__}\n" in (ROOT / "CITATION.cff").read_text()
