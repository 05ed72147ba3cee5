"""The process of a program under an official profile: its streams, what the zygote prepares, and the loop of steps.

The last module of this harness; the sandbox calls `prepare` in the zygote.
"""

import json
import os
import random
import signal
import sys
import types

from opsd_mocks import below, guard, import_with_a_folder
from opsd_official import READY, Program, namespace, on_alarm
from opsd_rehearse import ROUNDS, TESTS
from opsd_rewrite import as_function, without_guard

# Saved now: a program may replace what these names mean later.
_dumps, _loads, _type, _float, _len = json.dumps, json.loads, type, float, len

MOST_DIGITS = 50_000
# Frames below a program count for the limit on recursion: as many as when a script calls the runner at top level.
FRAMES_BELOW, FRAMES_OF_COMPILE = 20, 1
USED_BY_JSON = isinstance, str, float, list, tuple
BROKEN = "def f(x):\n    return y\nif __name__ == '__main__':\n    f(int(input()))\n"


def own_streams():
    """Makes 0, 1 and 2 the null device for programs: what they write there past the mocks is lost. In the zygote only
    0 is."""
    kept = os.dup(2)
    os.dup2(0, 2)
    sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    for stream, name in ((sys.__stdin__, "stdin"), (sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.buffer.raw.name = f"<{name}>"
    sys.__stdin__.close()  # by `multiprocessing`, which the runner's processes come from
    os.dup2(kept, 2)
    os.close(kept)


COMPILE, TEST, SHOW, SHOW_INPUTS = range(4)  # as in harness.rs


def take(core, done, report):
    """Sends a report; gets the next step: its index, its kind, its text."""
    index, step, data = core.next_step(done, report)
    return index, step, data.decode()


def header(report):
    """A report's first line. The usual ones are written here: `json` would copy a dozen pages. If a program has
    replaced what `json` uses, `json` is used and may fail, as in the runner."""
    if (isinstance, str, float, list, tuple) != USED_BY_JSON:
        return _dumps(report).encode() + b"\n"
    seconds = report.get("seconds")
    if report == READY:
        return b'{"step": "ready"}\n'
    if _type(seconds) is _float and seconds - seconds == 0.0 and _len(report) == 2:
        return f'{{"step": "{report["step"]}", "seconds": {seconds!r}}}\n'.encode()
    return _dumps(report).encode() + b"\n"


def settle():
    """Sets what the runner's process has when a program starts."""
    random.seed(0)  # unseeded in the runner; here two runs agree
    sys.setrecursionlimit(1000)
    sys.set_int_max_str_digits(MOST_DIGITS)


def rehearse(prelude):
    """Runs programs of the usual kinds under both vintages, one that fails included, with and without the program's
    form as a function: children share what the interpreter learns from it."""
    for vintage in ("2025-05", "2025-01") * ROUNDS:
        for entry, source, text in (*TESTS, ("", BROKEN, b"1\n")):
            order = f"{vintage} 60 {len(entry) if entry else -1} {len(source)}"
            wrapped = "" if entry or vintage == "2025-01" else as_function(*without_guard(source))
            program = Program(order, entry + source + wrapped, namespace(prelude))
            reports = [program.compile(), *(program.test(text.decode())[0] for _ in range(2))]
            steps = [_loads(header(report))["step"] for report in reports]
            last = "error" if source is BROKEN else "value" if entry else "output"
            if steps != ["ready", last, last]:
                raise RuntimeError(f"rehearsal: {reports}")
            if entry:
                program.show(True)


def prepare(core, prelude):
    """In the zygote: all that does not depend on the program. Returns what a child runs. The module that its program is
    defined in is filled here: after the fork that would copy the page of each of its 600 names."""
    own_streams()
    guard()
    sys.argv[:] = ["main.py"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    signal.signal(signal.SIGALRM, on_alarm)
    settle()
    rehearse(prelude)
    settle()
    module = namespace(prelude)
    return lambda text, _: child(core, text, module)


def child(core, text, module):
    """The main function of the process. Never returns."""
    order, _, text = text.partition("\n")
    import_with_a_folder(text)
    program = Program(order, text, module)
    below(FRAMES_BELOW, lambda: loop(core, program))


def loop(core, program):
    """One step after the other. Never returns; the driver kills the process."""
    index, step, text = take(core, None, b"")
    while True:
        data = b""
        if step == COMPILE:
            report = below(FRAMES_OF_COMPILE, program.compile)
        elif step == TEST:
            report, data = program.test(text)
        else:
            report = program.show(step == SHOW)
        index, step, text = take(core, index, header(report) + data)
