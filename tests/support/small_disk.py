"""Commands on a disk of a few MiB: a tmpfs of their own, which nobody else sees and which goes with them."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def run_on(folder: Path, mib: int, *commands: str, codes: tuple[int, ...]) -> list[str]:
    """Run shell commands in ``folder``, on which a tmpfs of ``mib`` is mounted; what each wrote to stderr.

    Skips the test where an ordinary process may not mount in a namespace of its own.
    """
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no disk of our own: unshare -rm is not permitted here")
    script = [
        f"mount -t tmpfs -o size={mib}m tmpfs {shlex.quote(str(folder))} || exit 1",
        f"cd {shlex.quote(str(folder))} || exit 1",
    ]
    for number, command in enumerate(commands):
        errors = shlex.quote(f"{folder}-{number}.stderr")
        script.append(f"( {command} ) >{errors}.out 2>{errors}; echo $?")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "\n".join(script)], capture_output=True, text=True, check=False
    )
    said = [folder.with_name(f"{folder.name}-{number}.stderr").read_text() for number in range(len(commands))]
    assert done.stdout.split() == list(map(str, codes)), (done.stderr, *said)
    return said
