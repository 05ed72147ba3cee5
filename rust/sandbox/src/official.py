"""One program as LiveCodeBench's official runner runs it: rewritten, in the runner's namespace, on mocked streams.

Written from what the runner can be observed to do, surprises included. Two things are otherwise: the runner compares
in this process, here only the answer leaves it; and the runner judges all tests in one go, here each step ends with a
report and waits for the next one. A report is a line of JSON, then bytes:

    {"step": "ready"}                               compiled; the function is there
    {"step": "output", "seconds": s}                the captured text follows (lone surrogates in three-byte form)
    {"step": "value", "seconds": s}                 the result follows, as `opsd_typed` writes it
    {"step": "error", "timeout": b, "error": repr}  raised inside a test; "inputs": the arguments' text (functions)
    {"step": "outside", "message": text}            raised outside a test: the runner gives the whole program up
    {"step": "blocked", "module": name}             this level of isolation could not load it: nobody's wrong answer
    {"step": "shown", "output": o, "inputs": i}     texts of the last wrong answer, as the runner would show them

Anything else, silence included, means that the program took its process down.
"""

import builtins
import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import time
import types

from opsd_importing import blocked
from opsd_mocks import CHANGED, RUNNERS_MODULE, Capturing, MockedInput, below, guard, import_with_a_folder
from opsd_rehearse import rehearse_official
from opsd_rewrite import as_function, without_guard
from opsd_typed import encode

# Taken now: a program may replace what these names mean later.
_dumps, _loads = json.dumps, json.loads
_str, _type, _float, _len, _exit = str, type, float, len, os._exit

PRELUDE_LINES = 36  # of the runner's import text, its final line end included
MOST_DIGITS = 50_000
RECURSION_LIMIT = 50_000
LONGEST = 300  # characters of a text in the metadata
# What lies below a program counts for the limit on recursion: as much as when a script calls the runner at top level.
FRAMES_BELOW, FRAMES_OF_COMPILE, FRAMES_OF_MOCKS = 20, 1, 3
NO_METHOD = "cannot unpack non-iterable NoneType object"
"""What a program without the function gets to hear: the runner trips over its own return value."""


READY = {"step": "ready"}
USED_BY_JSON = isinstance, str, float, list, tuple


class TimeoutException(Exception):
    __module__ = RUNNERS_MODULE


def on_alarm(signum, frame):
    print("timeout occured: alarm went off")  # goes where the program's output goes
    raise TimeoutException


def shown(value):
    text = value if isinstance(value, str) else str(value)
    return (
        text if len(text) <= LONGEST else text[: LONGEST // 2] + "...(truncated) ..." + text[-LONGEST // 2 :]
    )


def namespace(prelude):
    """A module as the runner's import text leaves it: the names are put there instead of executing the text."""
    module = types.ModuleType("tmp_sol", "")
    module.__dict__.update(prelude)
    module.__dict__.update({name: getattr(builtins, name) for name in CHANGED})
    module.__dict__.update(stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr)
    return module


class Program:
    """A candidate in its process.

    ``signal.alarm``, ``faulthandler.enable`` and ``time.time`` are looked up where the runner looks them up: a program
    that takes them away breaks its own run there, too.
    """

    def __init__(self, order, text, module):
        """``order``: vintage, seconds, characters of the function's name (-1: none) and of the source. ``text``: that
        name, the source, then the same as a function where that is known."""
        vintage, timeout, name_length, code_length = order.split()
        self.timeout, self.vintage, self.module = int(timeout), vintage, module
        start = int(name_length)
        self.name, start = (text[:start], start) if start >= 0 else (None, 0)
        end = start + int(code_length)
        self.code, self.wrapped = text[start:end], text[end:]
        self.method = self.last = None
        # The runner catches fatal signals during a test, to no effect unless the program has handlers of its own, or a
        # standard error that cannot take what would be said.
        self.watched = any(word in self.code for word in ("signal", "faulthandler", "stderr"))

    def compile(self):
        """Defines the program; returns a report."""
        signal.alarm(self.timeout)
        try:
            if self.name is None:
                solution, name = self.rewritten(), "wrapped_function"
            else:
                solution, name = self.define(self.code, 1, True), self.name
            with contextlib.suppress(Exception):
                if hasattr(solution, name):
                    self.method = getattr(solution, name)
        except Exception as error:
            return outside(error)
        finally:
            signal.alarm(0)
        return READY if self.method is not None else {"step": "outside", "message": NO_METHOD}

    def rewritten(self):
        """Defines the program as a function. What does not compile goes the runner's own way: its message may name a
        line."""
        code = None
        if self.wrapped:
            with contextlib.suppress(SyntaxError, ValueError, OverflowError, RecursionError):
                code = compile("0\n" + self.wrapped, "<string>", "exec", dont_inherit=True)
        if code is not None:
            return self.define(self.wrapped, 0, True, code)
        code, tree = without_guard(self.code)
        text = as_function(code, tree)
        return self.define(code, 0, False) if text is None else self.define(text, 0, True)

    def define(self, text, gap, prelude, code=None):
        """Executes ``text``, or its ``code``, in a module of its own. A statement in the place of the
        prelude keeps the line numbers and the grammar (docstrings, ``from __future__``)."""
        signal.alarm(self.timeout)
        try:
            if prelude:
                module, text_then = self.module, "0" + "\n" * (PRELUDE_LINES + gap) + text
            else:
                module, text_then = types.ModuleType("tmp_sol", ""), text
            if code is None:
                code = compile(text_then, "<string>", "exec", dont_inherit=True)
            if prelude:
                sys.setrecursionlimit(RECURSION_LIMIT)
            exec(code, module.__dict__)
            solution = module.Solution() if "class Solution" in text else module
            assert solution is not None  # as the runner does, without a word
            return solution
        finally:
            signal.alarm(0)

    def test(self, text):
        """Runs one test; returns (report, bytes)."""
        try:
            return self.call(text) if self.name is not None else self.run(text)
        except Exception as error:
            report = outside(error), b""
            signal.alarm(0)
            return report

    def run(self, text):
        if self.watched:
            signal.alarm(self.timeout)
            faulthandler.enable()
        signal.alarm(self.timeout)
        with Capturing() as captured:
            try:
                start = time.time()
                with MockedInput(text, self.vintage), contextlib.suppress(SystemExit):
                    below(FRAMES_OF_MOCKS, self.method)
                seconds = time.time() - start
                signal.alarm(0)
            except Exception as error:
                signal.alarm(0)
                return raised(error), b""
            finally:
                signal.alarm(0)
                if self.watched:
                    faulthandler.disable()
        return {"step": "output", "seconds": seconds}, captured.text.encode("utf-8", "surrogatepass")

    def call(self, text):
        arguments = [_loads(line) for line in text.split("\n")]
        signal.alarm(self.timeout)
        if self.watched:
            faulthandler.enable()
        try:
            start = time.time()
            prediction = self.method(*arguments)
            seconds = time.time() - start
            signal.alarm(0)
            if isinstance(prediction, tuple):
                prediction = list(prediction)
            self.last = prediction, arguments
            return {"step": "value", "seconds": seconds}, encode(prediction)
        except Exception as error:
            signal.alarm(0)
            return {**raised(error), "inputs": shown(arguments)}, b""
        finally:
            signal.alarm(0)
            if self.watched:
                faulthandler.disable()

    def show(self, result_too):
        """The texts of the last result, which turned out to be wrong. Spelling it runs the program's own code."""
        prediction, arguments = self.last
        try:
            if not result_too:
                return {"step": "shown", "inputs": shown(arguments)}
            try:
                output = sent(shown(prediction))
                return {"step": "shown", "output": output, "inputs": shown(arguments)}
            except Exception as error:
                return {**raised(error), "inputs": shown(arguments)}
        except Exception as error:
            return outside(error)


def sent(text):
    """A text that the runner hands to another process. One of a class that lives in the program cannot be pickled,
    which ends the runner's process."""
    if _type(text) is not _str:
        import pickle

        try:
            pickle.dumps(text)
        except Exception:
            _exit(1)
    return text


def no_module(error):
    """A report that this level of isolation could not give the program a module, if that is what happened."""
    module = blocked(error)
    return module and {"step": "blocked", "module": module}


def raised(error):
    if missing := no_module(error):
        return missing
    text = sent(repr(error))
    return {
        "step": "error",
        "timeout": "timeoutexception" in text.lower(),
        "error": text,
        "brief": brief(error),
    }


def outside(error):
    return no_module(error) or {"step": "outside", "message": f"{error}", "brief": brief(error)}


def brief(error):
    """For people: kind and message."""
    try:
        return f"{type(error).__name__}: {error}"[:4000]
    except Exception:
        return type(error).__name__


# --- the process --------------------------------------------------------------------------------------------------


def own_streams():
    """0, 1 and 2 are the null device, as far as a program can tell: what it writes there past the mocks is lost. In the
    zygote 0 is."""
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


TEST, COMPILE, SHOW, SHOW_INPUTS = range(4)  # as in wire.rs


def take(core, done, report):
    """Sends a report; gets the next step: its index, its kind, its text."""
    index, step, data = core.next_step(done, report)
    return index, step, data.decode()


def header(report):
    """A report's line. The usual ones are spelt here: `json` would copy a dozen pages. Where a program has replaced
    what `json` works with, it is `json`'s to fail, as the runner would."""
    if (isinstance, str, float, list, tuple) != USED_BY_JSON:
        return _dumps(report).encode() + b"\n"
    seconds = report.get("seconds")
    if report == READY:
        return b'{"step": "ready"}\n'
    if _type(seconds) is _float and seconds - seconds == 0.0 and _len(report) == 2:
        return f'{{"step": "{report["step"]}", "seconds": {seconds!r}}}\n'.encode()
    return _dumps(report).encode() + b"\n"


def settle():
    """What the runner's process is like when a program starts."""
    random.seed(0)  # officially unseeded; here two runs agree
    sys.setrecursionlimit(1000)
    sys.set_int_max_str_digits(MOST_DIGITS)


def prepare(prelude):
    """In the zygote: all that does not depend on the program. Returns the module that a child's program is defined in:
    filling it after the fork would copy the page of each of its 600 names."""
    own_streams()
    guard()
    sys.argv[:] = ["main.py"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    signal.signal(signal.SIGALRM, on_alarm)
    settle()
    rehearse_official(
        Program, lambda: namespace(prelude), lambda code: as_function(*without_guard(code)), header
    )
    settle()
    return namespace(prelude)


def child(core, text, module):
    """The life of the process. Never returns."""
    order, _, text = text.partition("\n")
    import_with_a_folder(text)
    program = Program(order, text, module)
    below(FRAMES_BELOW, lambda: life(core, program))


def life(core, program):
    """One step after the other until nobody asks for more."""
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
