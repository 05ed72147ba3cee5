"""``opsd-rs``: the commands, in one group.

In: command-line arguments. Out: tables for people or JSON for programs on stdout, progress and errors on stderr,
and an exit code: 0 done, 1 our own fault, 2 bad input, 3 stopped with a checkpoint, 130 interrupted.

Other packages are imported inside the commands, so that ``--help`` loads click alone and ``grade`` and ``law`` never
load torch. Commands call packages and hold no logic of their own.
"""

from __future__ import annotations

import click

from opsd_rs import __version__
from opsd_rs.cli.config import config
from opsd_rs.cli.context import context
from opsd_rs.cli.data import data, model
from opsd_rs.cli.doctor import doctor
from opsd_rs.cli.errors import ErrorGroup
from opsd_rs.cli.forecast import FORECAST_COMMANDS
from opsd_rs.cli.gap import gap, screen
from opsd_rs.cli.grade import grade
from opsd_rs.cli.law import law
from opsd_rs.cli.report import figure, report
from opsd_rs.cli.sweep import sweep
from opsd_rs.cli.train import evaluate, train


@click.group(
    cls=ErrorGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="opsd-rs")
def main() -> None:
    """On-policy self-distillation: measure the gap, predict the gain, train.

    CONFIG is a built-in name (demo, paper/qwen3-8b, contexts/feedback) or a path ending in .toml;
    files merge left to right, KEY=VALUE last. `opsd-rs config keys` lists the keys.
    """


for command in (
    train, gap, screen, evaluate, sweep, context, grade, data, model, law, report, figure, config, doctor,
):  # fmt: skip
    main.add_command(command)
for command in FORECAST_COMMANDS:
    law.add_command(command)
