"""``opsd-rs context``: list, show, preview, lint and diff contexts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from opsd_rs.cli.options import format_option, path_type
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from opsd_rs.context import Preview
    from opsd_rs.records import Problem

Command = TypeVar("Command", bound=Callable[..., Any])

_CASE = [
    click.option("--model", default="smollm2-135m", show_default=True, help="Whose tokenizer; no weights are read."),
    click.option("--thinking", is_flag=True, help="Render with model.enable_thinking = true."),
    click.option("--problems", "path", default="primer", show_default=True, metavar="P", help="Problems file."),
    click.option("--problem", "problem_id", metavar="ID", help="Which problem; default: the first."),
    click.option("--prompt", type=click.Choice(["plain", "sdpo"]), default="plain", show_default=True),
    click.option("--budget", type=click.IntRange(1, 2**31 - 1), default=10240, show_default=True,
                 help="teacher.max_context_tokens."),
    click.option("--run", "run_dir", type=path_type, metavar="RUN_DIR", help="Take the rollout from this run."),
    click.option("--step", type=click.IntRange(min=0), default=0, show_default=True, help="Of the run."),
    click.option("--sample", type=click.IntRange(min=0), default=0, show_default=True, help="Of the run's problem."),
    click.option("--attempt", type=path_type, metavar="FILE", help="This rollout's text."),
    click.option("--feedback", type=path_type, metavar="FILE", help="What the sandbox said about it."),
    click.option("--solution", type=path_type, metavar="FILE", help="Text of another rollout, which passed."),
    click.option("--note", type=path_type, metavar="FILE", help="What the model wrote (hints, a reflection...)."),
    click.option("--passed", is_flag=True, help="This rollout passed."),
    click.option("--no-peer", is_flag=True, help="No other rollout passed."),
]  # fmt: skip


def _case_options(command: Command) -> Command:
    for option in reversed(_CASE):
        command = option(command)
    return command


@click.group()
def context() -> None:
    """Privileged contexts: list them, show what the teacher reads, check a file, compare two."""


@context.command("list")
@format_option
def context_list(form: str) -> None:
    """The built-in contexts."""
    from opsd_rs.base import print_result
    from opsd_rs.config import config_names, load_context

    rows = []
    for name in config_names("contexts"):
        loaded = load_context(name.removeprefix("contexts/"))
        control = {"other_problem": " of another problem"}.get(loaded.solution_from, "")
        damaged = ", damaged" if loaded.solution_corrupt else ""
        rows.append(
            {
                "context": loaded.name,
                "solution": f"{loaded.solution}{control}{damaged}",
                "feedback": loaded.feedback,
                "notes": loaded.notes.kind,
                "examples": loaded.examples.kind,
                "static": loaded.static,
                "preamble": f"{loaded.preamble_id} {loaded.preamble_sha256}" if loaded.preamble else "none",
                "sha256": loaded.sha256,
            }
        )
    print_result(rows, form)


@context.command("show")
@click.argument("name")
@click.option("--problems", "path", default="primer", show_default=True, metavar="P", help="Problems file.")
@click.option("--problem", "problem_id", metavar="ID", help="Which problem; default: the first.")
@click.option("--prompt", type=click.Choice(["plain", "sdpo"]), default="plain", show_default=True)
def context_show(name: str, path: str, problem_id: str | None, prompt: Literal["plain", "sdpo"]) -> None:
    """What the teacher reads of a problem under the context NAME, with placeholders in the slots."""
    from opsd_rs.context import Context, render_message

    config = Context.load(name).config
    click.echo(render_message(config, _problem(path, problem_id)[0], prompt))


@context.command("preview")
@click.argument("name")
@_case_options
@format_option
def context_preview(name: str, form: str, **case: Any) -> None:
    """What student and teacher read of one problem and rollout, with tokens by section and what was cut.

    Needs a tokenizer only. Without --run or files, placeholders stand for the texts: a rollout that failed, and one
    that passed.
    """
    from opsd_rs.base import print_result

    found = _preview(name, case)
    if form == "json":
        print_result(found, form)
        return
    click.echo(
        f"context {found.context} ({found.context_sha256}), problem {found.problem_id}, sample {found.sample}"
    )
    flags = f", flags: {', '.join(found.flags)}" if found.flags else ""
    mask = "in the loss" if found.has_context else "masked"
    click.echo(f"status: {found.status}, {mask}{flags}")
    click.echo(f"student: {found.student_tokens} tokens; teacher: {found.teacher_tokens} of {found.budget}\n")
    print_result([row._asdict() for row in found.sections], form)
    click.echo(f"\n--- student reads ---\n{found.student}\n--- teacher reads ---\n{found.teacher}")


@context.command("lint")
@click.argument("names", nargs=-1, metavar="[NAME_OR_FILE]...")
@format_option
def context_lint(names: tuple[str, ...], form: str) -> None:
    """What is wrong with contexts, or rarely intended; all built-in ones by default. A fault exits with 2."""
    from opsd_rs.base import print_result
    from opsd_rs.config import config_names
    from opsd_rs.context import lint_context

    every = names or [name.removeprefix("contexts/") for name in config_names("contexts")]
    rows = [{"context": name, **finding._asdict()} for name in every for finding in lint_context(name)]
    if rows or form == "json":
        print_result(rows, form)
    else:
        click.echo(f"{len(every)} contexts, nothing to say")
    if any(row["level"] == "fault" for row in rows):
        click.get_current_context().exit(2)


@context.command("diff")
@click.argument("left")
@click.argument("right")
@_case_options
@format_option
def context_diff(left: str, right: str, form: str, **case: Any) -> None:
    """How the teacher's prompt differs between two contexts on the same problem and rollout."""
    from opsd_rs.base import print_result
    from opsd_rs.context import diff_previews

    pair = [_preview(name, case) for name in (left, right)]
    lines = diff_previews(*pair)
    if form == "json":
        sides = [{"context": p.context, "status": p.status, "teacher_tokens": p.teacher_tokens} for p in pair]
        print_result({"left": sides[0], "right": sides[1], "diff": lines}, form)
    else:
        click.echo("\n".join(lines) if lines else "the same prompt")


def _problem(path: str, problem_id: str | None) -> tuple[Problem, list[Problem]]:
    """The requested problem, and all of its file."""
    from opsd_rs.problems import load

    every = load(path)
    found = [problem for problem in every if problem_id in (None, problem.problem_id)]
    if not found:
        raise BadInput(f"{path}: no problem {problem_id}; `opsd-rs data show` counts what is there")
    return found[0], list(every)


def _preview(name: str, case: dict[str, Any]) -> Preview:
    from opsd_rs.context import Assembler, Context, case_of_run, made_up_case, preview_context
    from opsd_rs.model import resolve

    problem, pool = _problem(case["path"], case["problem_id"])
    loaded = Context.load(name)
    assembler = Assembler(
        resolve(case["model"]),
        loaded,
        enable_thinking=case["thinking"],
        max_context_tokens=case["budget"],
        prompt_style=case["prompt"],
        pool=pool,
    )
    assembler.assert_generation_header()
    if case["run_dir"] is not None:
        chosen = case_of_run(case["run_dir"], case["step"], case["sample"], problem, loaded.name)
    else:
        texts = {key: _text(case[key]) for key in ("attempt", "feedback", "solution", "note")}
        chosen = made_up_case(problem, **texts, passed=case["passed"], peer=not case["no_peer"])
    return preview_context(assembler, chosen, budget=case["budget"])


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
