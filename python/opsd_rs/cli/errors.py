"""One clear line for every error, and the exit code that says who has to act."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from opsd_rs.errors import OpsdError

if TYPE_CHECKING:
    from collections.abc import Sequence


_EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "accelerate", "gguf", "safetensors", "deepspeed"), "train"),
    "huggingface_hub": "train",
    "vllm": "vllm",
    "matplotlib": "plot",
    "jinja2": "report",
}


class ErrorGroup(click.Group):
    """A group that reports errors in one line and knows whether a shell started it."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """As click's; ``ctx.obj`` tells commands whether they may restart this process."""
        extra.setdefault("obj", {"from_shell": args is None})
        return super().main(args, *rest, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; known errors become a line and a code, unknown ones keep their traceback."""
        try:
            return super().invoke(ctx)
        except OpsdError as error:
            for line in _lines(error):
                _say(line)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _say("interrupted")
            ctx.exit(130)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRA_OF:
                raise
            extra = _EXTRA_OF[package]
            fix = f"pip install 'opsd-rs[{extra}]'"
            _say(f"{package} is not installed; this command needs the extra {extra}: {fix}")
            ctx.exit(2)


def _say(line: str) -> None:
    """A line on stderr. Where its reader has gone, the exit code says what is left to say."""
    try:
        click.echo(f"error: {line}", err=True)
    except OSError:
        # What could not be written would be tried again at the interpreter's end, and change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _lines(error: OpsdError) -> Sequence[str]:
    """One line per fault: a configuration may have several, every other error has one."""
    faults: Sequence[str] = getattr(error, "faults", ())
    return faults or [" ".join(str(error).split())]
