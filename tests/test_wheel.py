"""What a user installs: the built wheel, in a fresh environment without torch, grades, shows configs, fits a law."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from opsd_rs.problems import load
from opsd_rs.problems.sets import dump

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*words: str | Path, **more: object) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    maturin = Path(sys.executable).parent / "maturin"
    run(maturin, "build", "--release", "--quiet", "--out", out, cwd=ROOT)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``opsd-rs`` of an environment that holds the wheel and its base requirements only."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    absent = run(python, "-c", "import importlib.util as u; print(u.find_spec('torch') is None)")
    assert absent.strip() == "True"
    return environment / "bin" / "opsd-rs"


def test_wheel_carries_configs_data_stub_and_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "abi3" in wheel.name
    for wanted in (
        "opsd_rs/_core.abi3.so",
        "opsd_rs/_core.pyi",
        "opsd_rs/py.typed",
        "opsd_rs/configs/paper/qwen3-8b.toml",
        "opsd_rs/configs/contexts/feedback.toml",
        "opsd_rs/data/primer.jsonl",
        "opsd_rs/data/law_synthetic.csv",
        "opsd_rs/report/page/report.html.jinja",
        "opsd_rs/report/page/report.css",
        "opsd_rs/report/page/report.js",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name]


def test_extension_has_nothing_for_tests_alone(command: Path) -> None:
    shown = run(command.parent / "python", "-I", "-c", "from opsd_rs import _core; print(*_core.__all__)")
    assert "probe_levels" in shown.split()
    assert "Sandbox" not in shown.split()


def test_config_show(command: Path, tmp_path: Path) -> None:
    shown = run(command, "config", "show", "paper/qwen3-8b", "contexts/feedback", cwd=tmp_path)
    assert 'name = "feedback"' in shown
    assert "mini_batch_prompts = 1" in shown


def test_grade(command: Path, tmp_path: Path) -> None:
    chosen = load("primer", limit=6)
    dump(chosen, tmp_path / "problems.jsonl")
    lines = [{"problem_id": p.problem_id, "sample": 0, "code": p.solution} for p in chosen]
    lines += [{"problem_id": chosen[0].problem_id, "sample": 1, "completion": "I do not know."}]
    (tmp_path / "solutions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--problems", "problems.jsonl", "--solutions", "solutions.jsonl", "--out", "results.jsonl"]
    run(command, "grade", *words, cwd=tmp_path)
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {(r["problem_id"], r["sample"]): (r["passed"], r["verdict"]) for r in results} == {
        **{(p.problem_id, 0): (True, "accepted") for p in chosen},
        (chosen[0].problem_id, 1): (False, "no_code"),
    }


def test_law_fit(command: Path, tmp_path: Path) -> None:
    rows = [("a", 0.00, 0.01), ("b", 0.05, 0.08), ("c", 0.10, 0.14), ("d", 0.15, 0.23)]
    lines = [
        json.dumps({"family": "f", "config_id": name, "gap": gap, "improvement": gain})
        for name, gap, gain in rows
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    fitted = json.loads(run(command, "law", "fit", "runs.jsonl", "--format", "json", cwd=tmp_path))
    assert fitted["families"]["f"]["slope"] == pytest.approx(1.44)
    assert fitted["families"]["f"]["n"] == 4


def test_report_without_its_extra_and_with_it(wheel: Path, command: Path, tmp_path: Path) -> None:
    table = command.parent / "python"
    code = "from opsd_rs.law import synthetic_table; print(synthetic_table())"
    points = run(table, "-I", "-c", code).strip()
    done = subprocess.run(
        [str(command), "report", points], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "opsd-rs[report]" in done.stderr
    pip = [command.parent / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    run(*pip, f"{wheel}[report]")
    run(command, "report", points, "-o", "page.html", cwd=tmp_path)
    assert "SYNTHETIC" in (tmp_path / "page.html").read_text()


def test_train_without_its_extra_says_which_one(command: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(command), "train", "smoke"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert "opsd-rs[train]" in done.stderr
    assert "Traceback" not in done.stderr
