"""``opsd-rs context``: what it prints, and that whatever it is given it says in one line what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from opsd_rs.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_the_commands_speak_json(smollm2: Path) -> None:
    def run(*words: str) -> Any:
        result = CliRunner().invoke(main, ["context", *words, "--format", "json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    case = ["--model", str(smollm2), "--problem", "primer-add-numbers"]
    shown = run("preview", "expert_preamble", *case)
    assert shown["status"] == "static"
    assert {row["section"] for row in shown["sections"]} == {"prompt", "preamble", "fixed words"}
    assert shown["teacher_tokens"] > shown["student_tokens"]
    assert run("diff", "sdpo", "paper-2605.30070", *case)["left"]["context"] == "sdpo"
    assert run("lint", "sdpo") == []


FILES = {
    "broken.toml": "[context\n",
    "empty.toml": "",
    "two.toml": '[context]\nname = "two"\n[run]\ndir = "x"\n',
    "kind.toml": '[context]\nname = "kind"\n[context.notes]\nkind = "hint"\n',
    "raises.py": "def told(view):\n    raise ValueError('mine')\n",
    "syntax.py": "def told(:\n",
    "number.py": "def told(view):\n    return 3\n",
    "arguments.py": "def told():\n    return None\n",
    "rollouts/step-000000.parquet": "no table",
    "bytes.txt": "\udcff",
}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preview", "spdo"], "did you mean contexts/sdpo"),
        (["preview", "{}/none.toml"], "no such file"),
        (["preview", "{}/broken.toml"], "not TOML"),
        (["preview", "{}/empty.toml"], "holds one [context] table"),
        (["preview", "{}/two.toml"], "and nothing else"),
        (["preview", "{}/kind.toml"], "kind.toml:4: context.notes.kind must be"),
        (["preview", "{}/raises.py:told"], "sample 0: ValueError: mine"),
        (["preview", "{}/syntax.py:told"], "syntax.py cannot be run: SyntaxError"),
        (["preview", "{}/number.py:told"], "its function gave 3; it must return None"),
        (["preview", "{}/arguments.py:told"], "TypeError: told() takes 0"),
        (["preview", "nowhere:told"], "No module named 'nowhere'"),
        (["preview", "sdpo", "--thinking"], "knows no thinking"),
        (["preview", "sdpo", "--budget", "1"], "teacher.max_context_tokens = 1"),
        (["preview", "sdpo", "--budget", "99999999999999999999"], "not in the range"),
        (["preview", "sdpo", "--problem", "nobody"], "no problem nobody"),
        (["preview", "sdpo", "--run", "{}"], "no parquet table"),
        (["preview", "sdpo", "--run", "{}/none"], "no rollouts of problem"),
        (["preview", "sdpo", "--attempt", "{}/bytes.txt"], "cannot be read"),
        (["diff", "sdpo", "{}/two.toml"], "and nothing else"),
        (["diff", "sdpo"], "Missing argument 'RIGHT'"),
        (["lint", "sdpo", "{}/two.toml"], "and nothing else"),
        (["lint", "spdo"], "did you mean contexts/sdpo"),
        (["show", "{}/kind.toml"], "kind.toml:4: context.notes.kind must be"),
    ],
)
def test_bad_input_gets_one_clear_error(words: list[str], said: str, smollm2: Path, tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    given = [word.replace("{}", str(tmp_path)) for word in words]
    model = ["--model", str(smollm2)] if words[0] in ("preview", "diff") else []
    result = CliRunner().invoke(main, ["context", *given, *model])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)  # no exception of another kind, so no traceback
    assert said in " ".join(result.output.split())
    if words[0] != "lint":
        assert sum(line.lower().startswith("error:") for line in result.stderr.splitlines()) == 1
