"""A program quickly rewritten into a function, beside the official runner's own way: the same code, or no answer."""

from __future__ import annotations

import importlib.util
import json
import os
import types
import warnings
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from opsd_rs._core import as_official_function

ROOT = Path(__file__).parents[3]
PRIMER = ROOT / "python/opsd_rs/data/primer.jsonl"
FUTURE = "from __future__ import annotations\n"  # no such import compiles there
EXAMPLES = 20_000 if os.environ.get("OPSD_RS_LONG_TESTS") else 300

spec = importlib.util.spec_from_file_location("rewrite", ROOT / "rust/grade/python/rewrite.py")
assert spec is not None
assert spec.loader is not None
rewrite = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rewrite)


def parts(code: types.CodeType) -> list[object]:
    """All of a code object but where its lines are."""
    constants = [
        parts(value) if isinstance(value, types.CodeType) else plain(value) for value in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_qualname
    numbers = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_stacksize,
    )
    return [code.co_code, code.co_exceptiontable, constants, names, numbers]


def plain(value: object) -> object:
    """A constant as something that equals only itself."""
    if isinstance(value, tuple | frozenset):
        inner = [plain(part) for part in value]
        return type(value), sorted(inner, key=repr) if isinstance(value, frozenset) else inner
    return type(value), repr(value)


def compiled(text: str) -> list[object]:
    return parts(compile("0\n" + text, "<string>", "exec", dont_inherit=True))


def check(source: str) -> bool:
    """Whether there was a quick answer that compiles; it must be the slow one's code."""
    quick = as_official_function(source)
    if quick is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            code = compiled(quick)
        except (SyntaxError, ValueError, OverflowError, RecursionError):
            return False
        slow = rewrite.as_function(*rewrite.without_guard(source))
        assert slow is not None, source
        assert code == compiled(slow), source
    return True


def test_programs_at_hand() -> None:
    """Hostile ones, the profiles' edge cases, this package's own files as odd but real code, problems' solutions."""
    hostile = [path.read_text() for path in sorted((ROOT / "tests/attacks").glob("*.py"))]
    rows = [json.loads(row) for row in (ROOT / "tests/data/lcb_edge_cases.jsonl").read_text().splitlines()]
    problems = [json.loads(row) for row in PRIMER.read_text().splitlines()]
    solutions = [problem["solution"] for problem in problems if problem.get("solution")]
    quick = {
        "attacks": sum(map(check, hostile)),
        "edge cases": sum(check(row["code"]) for row in rows),
        "files": sum(
            check(path.read_text().replace(FUTURE, "")) for path in sorted((ROOT / "python").rglob("*.py"))
        ),
        "solutions": sum(map(check, solutions)),
    }
    # Nearly all that is not odd goes the quick way: what is left alone here has a reason in its text.
    assert quick["solutions"] == len(solutions) > 200
    assert all(number > 10 for number in quick.values()), quick


# fmt: off
EXPRESSIONS = [
    "x", "-1", "1.5e300", "'it\\'s'", '"a\\tb"', "f'{x}'", "f'{x!r:>{y}}{{}}'", "f\"{d['a']:.2f} %\"", "rb'\\d'",
    "u'x' 'y'", "'''a\n  b'''", "[i for i in y if i]", "{k: v for k, v in d.items()}", "(a := 3)",
    "lambda *a, k=1, **d: (a, k)", "x if y else z", "not x and y or z",
    "x < y <= z != 1", "a[1:2, ::3]", "f(*a, k=1, **d)", "(yield)", "(1,)",
    "{*a, 1}", "x ** -y", "~x @ y", "(\n  x,\n\n  # note\n y\n)", "x + \\\n  y", "a.b.c(1)[0]", "...",
    "0x1F + 0b1 + 1_000 + 2j", "'\\N{BULLET}ä'", "await x", "f'ä{x}'", "'\"' f'{d[1]}'", "f'''{x}\n\"{y}\"'''",
]
SIMPLE = [
    "pass", "x = @", "x: int = @", "(x): int", "x += @", "print(@, @, sep='')", "a, *b = @, @", "del x", "assert @, @",
    "global q", "import os.path as p", "from math import (\n gcd,\n pi)", "from sys import *", "return @",
    "raise @ from @", "@; @", "x = @; import re", "'''doc\n   string'''", "@  # trailing", "break", "nonlocal x",
    "from __future__ import annotations",
]
COMPOUND = [
    ["if @:"], ["while @:"], ["for x, y in @:"], ["with @ as x, @:"], ["def f(a, /, b: int = @, *c, d=@, **e) -> int:"],
    ["class C(@, k=1):"], ["async def g():"], ["@dec(@)", "def h():"], ["try:", "    @", "except (A, B) as e:"],
    ["try:", "\t@", "finally:"], ["if @: pass", "elif @:"], ["if @: x", "else:"], ["for x in @: y", "else:"],
    ["match @:", "    case [1, *_] | {'a': 2}:", "        pass", "    case _:", "        pass", "if x:"],
    ["if __name__ == '__main__':"], ['if __name__=="__main__" :  # go'], ["if (__name__ == '__main__'):"],
]
# fmt: on


@st.composite
def program(draw: st.DrawFn) -> str:
    """A source of random statements in random layout; not all of them compile. ``@`` stands for an expression."""
    lines: list[str] = []

    def fill(text: str) -> str:
        head, *rest = text.split("@") if not text.startswith("@dec") else [text[:5], *text[5:].split("@")]
        return head + "".join(draw(st.sampled_from(EXPRESSIONS)) + part for part in rest)

    def block(indent: str, depth: int) -> None:
        for _ in range(draw(st.integers(1, 4 if depth == 0 else 2))):
            lines.append(draw(st.sampled_from(["", "\n", "# note\n", "      # far\n", "   \n"])))
            if depth < 3 and draw(st.integers(0, 2)) == 0:
                lines.extend(f"{indent}{fill(line)}\n" for line in draw(st.sampled_from(COMPOUND)))
                block(indent + draw(st.sampled_from([" ", "    ", "\t"])), depth + 1)
            else:
                lines.append(f"{indent}{fill(draw(st.sampled_from(SIMPLE)))}\n")

    block("", 0)
    return "".join(lines) + draw(st.sampled_from(["", "\n", "# end", "  "]))


def test_random_programs() -> None:
    """Some get a quick answer, and each quick answer is the slow one's code."""
    quick = 0

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(program())
    def run(source: str) -> None:
        nonlocal quick
        quick += check(source)

    run()
    assert quick > EXAMPLES // 10
