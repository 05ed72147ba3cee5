"""The examples in docstrings run, every one of them: what stands behind ``>>>`` in a source file is found and holds."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import opsd_rs
import pytest

PACKAGE = Path(opsd_rs.__file__).parent
PRIMER = Path(__file__).parent.parent / "tools/primer"


def modules(folder: Path, name: str) -> dict[str, int]:
    """Modules below ``folder`` with the number of examples that their files hold."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder.parent).with_suffix("").parts[1:]
        number = written(file.read_text(encoding="utf-8"))
        if number:
            found[".".join([name, *parts]).removesuffix(".__init__")] = number
    return found


def written(source: str) -> int:
    """Examples in any string of a source, whether or not a docstring finder would reach it."""
    strings = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = [text for text in strings if isinstance(text, str) and ">>> " in text]
    return sum(line.lstrip().startswith(">>> ") for text in texts for line in text.splitlines())


EXAMPLES = modules(PACKAGE, "opsd_rs") | modules(PRIMER, "tools.primer")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PRIMER.parent.parent)
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module, name) if test.examples]
    assert sum(len(test.examples) for test in tests) == EXAMPLES[name], "an example where no finder looks"
    said: list[str] = []
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_every_example_is_counted() -> None:
    assert sum(EXAMPLES.values()) > 90
    assert (
        written('def f():\n    """\n    >>> f()\n    1\n    >>> [\n    ...     f()]\n    [1]\n    """') == 2
    )
