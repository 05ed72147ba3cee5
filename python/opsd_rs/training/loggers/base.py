"""A logger takes a run's numbers, a line per step. ``log.to`` names those of a run, in order.

    class Printer:
        class Options(Section):             # keys of [log.Printer]; leave it out where there are none
            every: PositiveInt = 1

        def __init__(self, options, config, run_dir): ...
        def rewind(self, step): ...         # the run continues from ``step``; called once, before the first line
        def log(self, line): ...            # plain numbers, strings and dictionaries; None where a figure is undefined
        def close(self): ...

Only the first rank has loggers. What a logger raises ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from opsd_rs.base import resolve_plugin

if TYPE_CHECKING:
    from opsd_rs.training.session import Session


class Logger(Protocol):
    """Takes the numbers of a run."""

    def rewind(self, step: int) -> None:
        """Drop what was logged of ``step`` and later steps: they are done again."""
        ...

    def log(self, line: Mapping[str, Any]) -> None:
        """Take the numbers of one step."""
        ...

    def close(self) -> None:
        """The run ends, well or not."""
        ...


@contextmanager
def open_loggers(session: Session) -> Iterator[list[Logger]]:
    """The loggers of ``log.to``; none on the other ranks.

    :raises BadInput: no such logger, or one that cannot be loaded
    """
    with ExitStack() as stack:
        loggers: list[Logger] = []
        log = session.config.log
        for name in log.to if session.ranks.first else ():
            plugin = resolve_plugin(log.kind, name, key=log.key)
            logger: Logger = plugin(log.options_of(name), session.config, session.run_dir)
            stack.callback(logger.close)
            loggers.append(logger)
        yield loggers
