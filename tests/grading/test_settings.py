"""The options of a grader: the same at every interface, each with an effect, each named in errors as it was written."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest
from graded import ADD, LOOP, QUICK, RIGHT, one, verdicts
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.cli.grade import FlagSettings, grade
from opsd_rs.config import OPTIONS, BadOption, Config, GraderOptions, GraderSettings, key_rows, resolve
from opsd_rs.config.faults import ConfigFaults
from opsd_rs.config.grader import Option
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.settings import wire_settings

RECORDED = Path(__file__).parents[1] / "data/grader_settings.jsonl"
CONTROL = "control.mask=one"  # keeps the default context's warning out of the way


def from_config(*keys: str) -> GraderSettings:
    """Settings as a run takes them from its configuration."""
    settings: GraderSettings = resolve([], [*keys, CONTROL]).config.grader.settings()
    return settings


def from_flags(*words: str) -> GraderSettings:
    """Settings as ``opsd-rs grade`` takes them from its command line."""
    files = ["--problems", "p", "--solutions", "s", "--out", "o"]
    given = grade.make_context("grade", [*files, *words]).params
    return FlagSettings(**{name: given[name] for name in OPTIONS})


# ---- one vocabulary --------------------------------------------------------------------------------


def test_every_interface_has_every_option() -> None:
    names = [field.name for field in fields(GraderSettings)]
    assert list(OPTIONS) == names
    assert list(Config().grader.model_dump()) == names
    assert [name for name in (option.name for option in grade.params) if name in OPTIONS] == names
    assert get_type_hints(GraderOptions) == get_type_hints(GraderSettings), "what type checkers see"


def test_every_interface_has_the_same_words_and_defaults() -> None:
    flags = {option.name: option for option in grade.params if isinstance(option, click.Option)}
    keys = {row["key"]: row for row in key_rows()}
    for name, option in OPTIONS.items():
        if option.choices:
            assert isinstance(flags[name].type, click.Choice)
            assert tuple(flags[name].type.choices) == option.choices
            assert keys[f"grader.{name}"]["type"].startswith(
                ", ".join(f'"{word}"' for word in option.choices)
            )
        assert option.help in (flags[name].help or "")
    assert asdict(from_flags()) == asdict(GraderSettings()) == asdict(Grader().settings)
    own = {"require": "S2", "stop": "first-timeout", "feedback": "sdpo"}
    assert asdict(from_config()) == asdict(GraderSettings(**own)), "training has defaults of its own"


@pytest.mark.parametrize("line", RECORDED.read_text().splitlines())
def test_the_supervisor_is_told_what_it_was_always_told(line: str) -> None:
    """Keys of journals and caches are made of it, so a change would run every program again."""
    recorded = json.loads(line)
    told = wire_settings(GraderSettings(**recorded["options"]))
    del told["packages"]
    if "workers" not in recorded["options"]:
        del told["workers"]
    assert json.dumps(told, sort_keys=True) == json.dumps(recorded["wire"], sort_keys=True)


def test_settings_and_options_may_be_mixed() -> None:
    settings = GraderSettings(stop="first-failure", workers=3)
    grader = Grader(settings, workers=2)
    assert (grader.workers, grader.settings) == (2, replace(settings, workers=2))
    assert GraderSettings(feedback=True, site_packages=["/a"]) == GraderSettings(site_packages=("/a",))
    assert GraderSettings(feedback=False).feedback == "none"


# ---- errors ----------------------------------------------------------------------------------------

CONFLICTS: list[tuple[dict[str, Any], str, str]] = [
    ({"level": "S0"}, "level", "only {allow_unsandboxed} accepts it"),
    ({"level": "S1", "require": "S2"}, "level", "is below {require} = 'S2'"),
    ({"profile": "lcb-2025-05", "also": "lcb-2025-05"}, "also", "is the profile itself"),
    ({"also": "lcb-2025-01", "isolation": "test"}, "isolation", "profile lcb-2025-01 runs all tests"),
    ({"profile": "lcb-2025-01", "compare": "float"}, "compare", "compares officially"),
    ({"profile": "lcb-2025-01", "idle_seconds": 2.0}, "idle_seconds", "has no such limit"),
]


@pytest.mark.parametrize(("options", "name", "words"), CONFLICTS)
def test_conflicts_name_the_options_as_they_were_written(
    options: dict[str, Any], name: str, words: str
) -> None:
    flag = {option: f"--{option.replace('_', '-')}" for option in OPTIONS}
    with pytest.raises(BadOption) as keyword:
        Grader(**options)
    assert str(keyword.value).startswith(f"{name} = {options[name]!r}: ")
    assert words.format(**{option: option for option in OPTIONS}) in str(keyword.value)
    with pytest.raises(BadOption) as flags:
        from_flags(*[word for option, value in options.items() for word in (flag[option], str(value))])
    assert str(flags.value).startswith(f"{flag[name]} = ")
    assert words.format(**flag) in str(flags.value)
    with pytest.raises(ConfigFaults) as key:
        from_config(*[f"grader.{option}={value}" for option, value in options.items()])
    [fault] = key.value.faults
    assert fault.startswith(f"argument grader.{name}={options[name]}: grader.{name} = ")
    assert words.format(**{option: f"grader.{option}" for option in OPTIONS}) in fault


@pytest.mark.parametrize("name", ["compare", "extract"])
def test_rules_are_named_as_they_were_written(name: str) -> None:
    for settings, written in (
        (GraderSettings(**{name: "loose"}), name),  # type: ignore[arg-type]
        (from_flags(f"--{name}", "loose"), f"--{name}"),
        (from_config(f"grader.{name}=loose"), f"grader.{name}"),
    ):
        with pytest.raises(BadInput, match=f'^{written} = "loose": must be'):
            Grader(settings)
    with pytest.raises(BadInput, match=r"^grader.compare = 'checker:/no': /no: No such file"):
        Grader(from_config("grader.compare=checker:/no"))


def wrong_values(option: Option) -> list[Any]:
    if option.kind is bool:
        return ["true", 1, None]
    if option.kind in (int, float):
        return [0, -1, "1", True, float("nan"), float("inf"), *([1.5] if option.kind is int else [])]
    return [3, ["strict", 3], *(["/folder"] if option.is_list else [None] * (not option.may_be_unset))]


@pytest.mark.parametrize("name", OPTIONS)
def test_wrong_values_are_named(name: str) -> None:
    for value in wrong_values(OPTIONS[name]):
        with pytest.raises(BadInput, match=f"^{name} = .*must be"):
            GraderSettings(**{name: value})


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("S2a:. ", max_size=9),
)
def test_any_value_is_taken_or_named(name: str, value: Any) -> None:
    with suppress(BadInput):
        assert isinstance(hash(GraderSettings(**{name: value})), int)
        return
    with pytest.raises(BadInput, match=f"^{name} = "):
        GraderSettings(**{name: value})


# ---- effects ---------------------------------------------------------------------------------------

READS_FOLDER = "import sys\nsys.path.append({!r})\nimport gift\nprint(sum(map(int, input().split())))"
SLEEPS = "import time\ntime.sleep(3)\n" + RIGHT
THREADS = (
    """\
import threading, time
for _ in range(6): threading.Thread(target=time.sleep, args=(0.2,)).start()
"""
    + RIGHT
)
LARGE = "x = bytearray(300 << 20)\n" + RIGHT
FENCES = "```\nprint(0)\n```\nor, better, this\n```\nimport sys\n" + RIGHT + "\n```"
OFFICIALLY_WRONG = "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))"
HALF = Problem("half", "", (Case("1", "0.5"),))
SPENDS = (
    "end = __import__('time').process_time() + 0.6\nwhile __import__('time').process_time() < end: pass\n"
    + RIGHT
)


def graded(*keys: str, problem: Problem = ADD, code: str = RIGHT) -> Any:
    with Grader(from_config("grader.workers=1", *keys)) as grader:
        return one(grader, problem, code)


def test_profile_and_also() -> None:
    assert graded(code=OFFICIALLY_WRONG).passed
    assert not graded("grader.profile=lcb-2025-05", code=OFFICIALLY_WRONG).passed
    assert "profiles_disagree" in graded("grader.also=lcb-2025-05", code=OFFICIALLY_WRONG).flags


def test_workers() -> None:
    assert Grader(from_config("grader.workers=3")).workers == 3
    assert Grader(from_config("grader.workers=0")).workers == Grader().workers


def test_stop_and_isolation() -> None:
    assert verdicts(graded(code="print(0)")) == ["wrong_answer"] * 3
    assert verdicts(graded("grader.stop=first-failure", code="print(0)")).count("not_run") == 2
    assert (graded().isolation, graded("grader.isolation=test").isolation) == ("solution", "test")


def test_level_require_and_allow_unsandboxed() -> None:
    assert graded("grader.level=S1", "grader.require=S1").sandbox_level == "S1"
    assert (
        graded("grader.level=S0", "grader.require=S0", "grader.allow_unsandboxed=true").sandbox_level == "S0"
    )
    if graded().sandbox_level == "S3":
        assert graded("grader.require=S3").sandbox_level == "S3"
    else:
        with pytest.raises(OpsdError, match="S3"):
            graded("grader.require=S3")


def test_limits() -> None:
    assert graded(code=SPENDS).passed
    assert graded("grader.cpu_seconds=0.3", code=SPENDS).verdict == "time_limit"
    assert graded("grader.idle_seconds=0.5", code=SLEEPS).verdict == "idle_limit"
    given_up = graded("grader.wall_seconds=0.5", "grader.idle_seconds=9", code=SLEEPS)
    assert (given_up.verdict, "starved" in given_up.flags) == ("infra_error", True)
    assert graded(code=LARGE).passed
    assert graded("grader.memory_mib=200", code=LARGE).verdict == "memory_limit"
    assert graded("grader.output_mib=1", code="print('x' * (2 << 20))").verdict == "output_limit"
    assert graded(code=THREADS).passed
    assert graded("grader.threads=3", code=THREADS).verdict == "runtime_error"
    assert graded(problem=QUICK, code=LOOP).verdict == "time_limit"


def test_memory_budget() -> None:
    waits = "x = bytearray(b'x') * (200 << 20)\nend = __import__('time').process_time() + 0.5\n"
    waits += "while __import__('time').process_time() < end: pass\n" + RIGHT
    items = [(ADD, Solution("add", n, code=f"{waits}  # {n}")) for n in range(2)]
    with Grader(from_config("grader.workers=2", "grader.memory_budget_mib=300")) as grader:
        grades = grader.grade(items)
    assert [grade.passed for grade in grades] == [True, True]
    assert any("killed" in grade.flags for grade in grades), "together they were over it"


def test_compare_and_extract() -> None:
    assert not graded(problem=HALF, code="print(0.5000001)").passed
    assert graded("grader.compare=float", problem=HALF, code="print(0.5000001)").passed
    for rule, verdict in (("last", "accepted"), ("first", "wrong_answer")):
        with Grader(from_config("grader.workers=1", f"grader.extract={rule}")) as grader:
            [grade] = grader.grade([(ADD, Solution("add", 0, completion=FENCES))])
            assert grade.verdict == verdict


def test_an_empty_rule_is_none_of_the_rules() -> None:
    with pytest.raises(BadInput, match=r'^extract = "": must be one of'):
        Grader(extract="")


def test_the_profile_implies_the_extraction() -> None:
    """As a key, as a flag and as a keyword; a rule that is named stays."""
    for profile, rule in (("strict", "last"), ("lcb-2025-05", "official"), ("lcb-2025-01", "official")):
        settings = (
            from_config(f"grader.profile={profile}"),
            from_flags("--profile", profile),
            GraderSettings(profile=profile),  # type: ignore[arg-type]
        )
        assert {one.extraction for one in settings} == {rule}
        assert wire_settings(settings[0])["extract"] == rule
        assert from_config(f"grader.profile={profile}", "grader.extract=first").extraction == "first"


def test_feedback_and_its_length() -> None:
    assert graded(code="print(0)").feedback.startswith("Test Case 1: Wrong Answer\n")
    assert graded("grader.feedback=leetcode", code="print(0)").feedback.startswith("Wrong Answer: 0 of 3")
    assert len(graded("grader.feedback_chars=300", code="print('x' * 999)").feedback) <= 300
    assert len(graded(code="print('long ' * 999)").feedback) > 300


def test_site_packages(tmp_path: Path) -> None:
    (tmp_path / "gift.py").write_text("")
    code = READS_FOLDER.format(str(tmp_path))
    assert graded(code=code).verdict in ("runtime_error", "security_violation")
    assert graded(f"grader.site_packages={tmp_path}", code=code).passed


def test_a_folder_of_packages_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none", tmp_path / "file"):
        with (
            pytest.raises(BadInput, match=rf"^grader\.site_packages = '{folder}': no such folder"),
            Grader(from_config(f"grader.site_packages={folder}")),
        ):
            pass


FLAGS = {
    "profile": "lcb-2025-01", "also": "lcb-2025-05", "workers": 3, "stop": "first-timeout", "isolation": "test",
    "level": "S2", "require": "S2j", "allow_unsandboxed": True, "cpu_seconds": 1.5, "idle_seconds": 2.0,
    "wall_seconds": 30.0, "memory_mib": 64, "output_mib": 2, "threads": 4, "memory_budget_mib": 999,
    "compare": "float", "extract": "first", "feedback": "sdpo", "feedback_chars": 500, "site_packages": ("/a", "/b"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_and_a_key_set_their_option(name: str) -> None:
    value = FLAGS[name]
    flag = FlagSettings.name_of(name)
    words = [flag] if value is True else [flag, str(value)]
    if isinstance(value, tuple):
        words = [word for item in value for word in (flag, item)]
    text = (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if value is True else str(value)
    )
    wanted = GraderSettings(**{name: value})  # type: ignore[arg-type]
    assert asdict(from_flags(*words)) == asdict(wanted)
    assert getattr(from_config(f"grader.{name}={text}"), name) == value
