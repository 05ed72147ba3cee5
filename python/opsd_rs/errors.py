"""The errors of this package, by who has to act. The command line prints each as one line with an exit code.

A candidate program that fails its test is data (a verdict), never an error.
"""

from __future__ import annotations


class OpsdError(Exception):
    """Our own fault, or a fault we could not attribute: exit code 1."""

    exit_code = 1


class BadInput(OpsdError):
    """The user's input, configuration or data: the message names the file, key or step and the fix."""

    exit_code = 2


class DiskFull(OpsdError):
    """No space left for a file: the message names the folder, the file and the fix. See ``base.disk``."""


class Stopped(OpsdError):
    """A run that ended early with a checkpoint to resume from (dead engine, NaN, SIGTERM)."""

    exit_code = 3
