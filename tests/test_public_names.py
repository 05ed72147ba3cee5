"""The names that a user's code may import: those of the README, the docs and the examples. They stay."""

from __future__ import annotations

import importlib

import click
import pytest

PUBLIC = {
    "opsd_rs": "Assembler Batch Case CaseResult Context Grade Grader Problem Rollout Solution TeacherContext "
    "__version__",
    "opsd_rs.compat.lcb": "codegen_metrics",
    "opsd_rs.compat.trl": "make_reward_func reward_func",
    "opsd_rs.compat.verl": "compute_score compute_score_async compute_score_batch",
    "opsd_rs.config": "Config LossConfig",
    "opsd_rs.context": "Assembler Batch Context",
    "opsd_rs.errors": "BadInput DiskFull OpsdError Stopped",
    "opsd_rs.grading": "Grader grade_files",
    "opsd_rs.law": "RUNS_SCHEMA append_run_row figure1 figure2 fit_tables format_predictions format_table "
    "predict_table save synthetic_table",
    "opsd_rs.loss": "OutputHead linear_lse_gather linear_lse_topk linear_topk_logp opsd_loss "
    "opsd_loss_from_hidden topk_kl",
    "opsd_rs.model": "fetch resolve",
    "opsd_rs.policy": "Teacher",
    "opsd_rs.problems": "files load",
    "opsd_rs.problems.files": "index load",
    "opsd_rs.report": "FIGURES write_figure write_report",
    "opsd_rs.records": "Case CaseResult Grade Problem Rollout Solution TeacherContext",
}
"""Module -> names, each for ``from MODULE import NAME``."""

ATTRIBUTES = "compat.lcb config context gap grading law loss model policy problems rollout teacher"
"""What ``import opsd_rs`` alone gives, by attribute; the modules of ``compat`` are imported one by one."""

COMMANDS = """
config keys, config show, context diff, context lint, context list, context preview, context show, data check,
data fetch-lcb, data show, doctor, eval, figure, gap, grade, law backtest, law check, law fit, law import, law power,
law predict, law show, law simulate, model fetch, report, screen, sweep, train
"""


@pytest.mark.parametrize(("module", "names"), PUBLIC.items(), ids=list(PUBLIC))
def test_public_names_import(module: str, names: str) -> None:
    for name in names.split():
        space: dict[str, object] = {}
        exec(f"from {module} import {name}", space)
        assert space[name] is not None


def test_packages_are_attributes_of_the_package() -> None:
    import opsd_rs
    import opsd_rs.compat.lcb

    for path in ATTRIBUTES.split():
        thing: object = opsd_rs
        for part in path.split("."):
            thing = getattr(thing, part)


def test_one_class_has_one_name() -> None:
    """A record or class is the same whichever public module it is taken from."""
    by_name: dict[str, set[int]] = {}
    for module, names in PUBLIC.items():
        for name in names.split():
            if name[0].isupper():
                by_name.setdefault(name, set()).add(id(getattr(importlib.import_module(module), name)))
    assert {name for name, found in by_name.items() if len(found) > 1} == set()


def test_the_commands_stay() -> None:
    from opsd_rs.cli import main

    found = set()
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            found |= {f"{name} {below}" for below in command.list_commands(context)}
        else:
            found.add(name)
    assert set(COMMANDS.replace("\n", " ").strip().split(", ")) <= found
