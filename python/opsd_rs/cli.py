"""``opsd-rs``: the commands, and the one place where an error becomes a line and an exit code.

In: words of a shell. Out: tables for people or JSON for programs on stdout, progress and errors on stderr,
and an exit code: 0 done, 1 our own fault, 2 bad input, 3 stopped with a checkpoint, 130 interrupted.

Rooms are imported inside the commands, so that ``--help`` loads click alone and ``grade`` and ``law`` never
load torch. A corridor, like ``train``: it opens rooms and holds no logic of theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsd_rs import __version__
from opsd_rs.cli_context import context
from opsd_rs.cli_grade import grade
from opsd_rs.cli_options import format_option as _format
from opsd_rs.cli_options import path_type as _path
from opsd_rs.errors import BadInput, OpsdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsd_rs.config import Config

_EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "accelerate", "gguf", "safetensors", "deepspeed"), "train"),
    "huggingface_hub": "train",
    "vllm": "vllm",
    "matplotlib": "plot",
}


class Corridor(click.Group):
    """A group that speaks of errors in one line and knows whether a shell started it."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """As click's; ``ctx.obj`` tells commands whether this process is theirs to restart."""
        extra.setdefault("obj", {"from_shell": args is None})
        return super().main(args, *rest, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; known errors become a line and a code, unknown ones keep their traceback."""
        try:
            return super().invoke(ctx)
        except OpsdError as error:
            for line in _lines(error):
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("error: interrupted", err=True)
            ctx.exit(130)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRA_OF:
                raise
            extra = _EXTRA_OF[package]
            mend = f"pip install 'opsd-rs[{extra}]'"
            click.echo(
                f"error: {package} is not installed; this command needs the extra {extra}: {mend}", err=True
            )
            ctx.exit(2)


def _lines(error: OpsdError) -> Sequence[str]:
    """One line per fault: a configuration may have several, every other error has one."""
    faults: Sequence[str] = getattr(error, "faults", ())
    return faults or [" ".join(str(error).split())]


_sources = click.argument("words", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")


@click.group(cls=Corridor, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="opsd-rs")
def main() -> None:
    """On-policy self-distillation: measure the gap, predict the gain, train.

    CONFIG is a built-in name (demo, paper/qwen3-8b, contexts/feedback) or a path ending in .toml;
    files merge left to right, KEY=VALUE last. `opsd-rs config keys` lists the keys.
    """


def _show(result: Any, form: str) -> None:
    from opsd_rs.base import print_result

    print_result(result, form)


# ---- the loop ------------------------------------------------------------------------------------


@main.command()
@click.argument("words", nargs=-1, metavar="[CONFIG... [KEY=VALUE]...]")
@click.option("--resume", type=_path, metavar="RUN_DIR", help="Go on from the last checkpoint of this run.")
@click.pass_obj
def train(obj: Mapping[str, Any], words: Sequence[str], resume: Path | None) -> None:
    """Measure the gap, then train; or go on with a run."""
    if bool(words) == bool(resume):
        raise click.UsageError("give either CONFIG... or --resume RUN_DIR")
    config = _load(words) if resume is None else _of_run(resume)
    _prepare(obj)
    from opsd_rs.train import train as run

    run(config, resume=resume)


@main.command()
@_sources
@_format
@click.pass_obj
def gap(obj: Mapping[str, Any], words: Sequence[str], form: str) -> None:
    """Student and self-teacher accuracy before training, per context."""
    config = _load(words)
    _prepare(obj)
    from opsd_rs.train import measure_from_config

    _show(measure_from_config(config), form)


@main.command("eval")
@_sources
@_format
@click.pass_obj
def evaluate(obj: Mapping[str, Any], words: Sequence[str], form: str) -> None:
    """Validation accuracy of a configuration's model, or of the last checkpoint of a run.

    For a run, give its folder in the place of CONFIG; KEY=VALUE may change the [eval] table.
    """
    run_dir = Path(words[0]) if Path(words[0]).is_dir() else None
    config = _load(words) if run_dir is None else _of_run(run_dir, words[1:])
    _prepare(obj)
    from opsd_rs.train import evaluate_from_config

    _show(evaluate_from_config(config, run_dir=run_dir), form)


def _load(words: Sequence[str]) -> Config:
    from opsd_rs.config import load_config, split_arguments

    return load_config(*split_arguments(words))


def _of_run(run_dir: Path, words: Sequence[str] = ()) -> Config:
    path = run_dir / "config.json"
    if not path.is_file():
        raise BadInput(f"{run_dir}: not a run folder: it has no config.json")
    return _load([str(path), *words])


def _prepare(obj: Mapping[str, Any]) -> None:
    """What must happen after the configuration is known to be good and before torch is loaded."""
    from opsd_rs.base import restart_on_cpu

    if obj["from_shell"]:
        restart_on_cpu()


# ---- grading, problems, models -------------------------------------------------------------------


main.add_command(context)
main.add_command(grade)


@main.group()
def data() -> None:
    """Problems: show them, fetch LiveCodeBench."""


@data.command("show")
@click.argument("path")
@click.argument("filters", nargs=-1, metavar="[KEY=VALUE]...")
@_format
def data_show(path: str, filters: Sequence[str], form: str) -> None:
    """What a problems file holds: counts by kind, difficulty, platform, date. Filters: keys of [problems]."""
    from opsd_rs.config import load_config
    from opsd_rs.problems import describe

    words = [word if word.startswith("problems.") else f"problems.{word}" for word in filters]
    config = load_config([], [f"problems.path={path}", "control.mask=one", *words])
    _show(describe(config.problems), form)


@data.command("fetch-lcb")
@click.option(
    "--release", default="v6", show_default=True, help="v6, a range v4_v6, or release_v6 for all up to it."
)
@click.option("--out", type=_path, metavar="DIR", help="Where to put it; default: the user's cache.")
def data_fetch_lcb(release: str, out: Path | None) -> None:
    """Download LiveCodeBench's problems from the hub and print where they are."""
    from opsd_rs.problems import fetch_lcb

    click.echo(fetch_lcb(release, out, progress=lambda line: click.echo(line, err=True)))


@main.group()
def model() -> None:
    """Models that opsd-rs knows by name."""


@model.command("fetch")
@click.argument("name")
def model_fetch(name: str) -> None:
    """Build a known model in the user's cache and print its folder."""
    from opsd_rs.model import fetch

    click.echo(fetch(name, progress=lambda line: click.echo(line, err=True)))


# ---- the law -------------------------------------------------------------------------------------


@main.group()
def law() -> None:
    """The line from gap to improvement: fit it on finished runs, predict new ones."""


@law.command("fit")
@click.argument("tables", nargs=-1, required=True, type=_path, metavar="TABLE...")
@_format
@click.option("--out", type=_path, metavar="law.json", help="Write the law here, for `law predict`.")
@click.option("--figure", type=_path, metavar="PATH", help="Draw the points and lines here (.svg, .png).")
def law_fit(tables: Sequence[Path], form: str, out: Path | None, figure: Path | None) -> None:
    """Least squares per family on configuration means; TABLE is parquet, csv or jsonl."""
    from opsd_rs.law import figure1, fit_tables, format_table, save

    fitted = fit_tables(tables)
    if out is not None:
        save(fitted, out)
    if figure is not None:
        for path in figure1(fitted, figure):
            click.echo(f"figure: {path}", err=True)
    _show(fitted, form) if form == "json" else click.echo("\n".join(format_table(fitted)))


@law.command("predict")
@click.argument("fitted", type=_path, metavar="LAW.json")
@click.argument("table", type=_path, metavar="TABLE")
@_format
def law_predict(fitted: Path, table: Path, form: str) -> None:
    """Forecast the improvement of measured gaps, with 80 and 95 % prediction intervals."""
    from opsd_rs.law import format_predictions, predict_table

    forecasts = predict_table(fitted, table)
    _show(forecasts, form) if form == "json" else click.echo("\n".join(format_predictions(forecasts)))


# ---- configuration, machine ----------------------------------------------------------------------


@main.group()
def config() -> None:
    """The configuration: show what files and arguments come to, list the keys."""


@config.command("show")
@click.argument("words", nargs=-1, metavar="[CONFIG]... [KEY=VALUE]...")
@click.option("--format", "form", type=click.Choice(["toml", "json"]), default="toml", show_default=True)
@click.option("--why", metavar="KEY", help="Only this key: its value and who set it.")
def config_show(words: Sequence[str], form: str, why: str | None) -> None:
    """The resolved tree, each key with the file and line that set it."""
    from opsd_rs.config import explain_key, resolve, resolved_json, split_arguments, to_toml

    resolved = resolve(*split_arguments(words))
    for warning in resolved.warnings:
        click.echo(f"warning: {warning}", err=True)
    if why is not None:
        click.echo(explain_key(resolved, why))
    elif form == "json":
        click.echo(resolved_json(resolved.config), nl=False)
    else:
        click.echo(to_toml(resolved), nl=False)


@config.command("keys")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True
)
def config_keys(form: str) -> None:
    """Every key with its type, default and meaning."""
    from opsd_rs.config import key_reference, key_rows

    if form == "markdown":
        click.echo(key_reference(), nl=False)
    else:
        _show(key_rows(), form)


@main.command()
@_format
def doctor(form: str) -> None:
    """What this machine can do, and what stands in the way."""
    from opsd_rs import doctor as room

    findings = room.examine()
    _show([finding._asdict() for finding in findings], form)
    if any(finding.state == "fault" for finding in findings):
        click.get_current_context().exit(1)


if __name__ == "__main__":
    main()
