"""Lines for people reach stderr, other libraries' output the log, whatever happens to either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from opsd_rs.base import diverted, keep_output
from opsd_rs.base.console import write
from opsd_rs.errors import BadInput
how = sys.argv[1]
try:
    with diverted():
        print("from a library")
        os.system("echo from a child")
        write("for people\\n")
        if how == "kept":
            keep_output(Path("log"))
            print("later", file=sys.stderr)
        if how == "bad input":
            raise BadInput("one line")
        if how == "fault":
            raise RuntimeError("ours")
except (BadInput, RuntimeError) as error:
    print("error:", error, file=sys.stderr)
print("result")
"""


def run(folder: Path, how: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    streams: dict[str, object] = {"capture_output": True} | kwargs
    return subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=folder, text=True, check=False, **streams)  # type: ignore[call-overload, no-any-return]


def test_output_is_kept_in_the_file_from_its_beginning(tmp_path: Path) -> None:
    done = run(tmp_path, "kept")
    assert (done.stdout, done.stderr) == ("result\n", "for people\n")
    assert (tmp_path / "log").read_text() == "from a library\nfrom a child\nlater\n"


def test_output_that_has_no_file_shows_only_after_a_fault_of_our_own(tmp_path: Path) -> None:
    assert run(tmp_path, "well").stderr == "for people\n"
    assert run(tmp_path, "bad input").stderr == "for people\nerror: one line\n"
    done = run(tmp_path, "fault")
    assert done.stderr == "for people\nfrom a library\nfrom a child\nerror: ours\n"
    assert done.stdout == "result\n"


def test_a_full_device_takes_nothing_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    with Path("/dev/full").open("w") as full:
        done = run(tmp_path, "kept", stderr=full, stdout=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stdout) == (0, "result\n")


def test_a_reader_that_has_gone_ends_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run(tmp_path, "kept", stderr=write, stdout=subprocess.PIPE, capture_output=False)
    os.close(write)
    assert (done.returncode, done.stdout) == (0, "result\n")
