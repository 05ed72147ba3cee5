"""One program as LiveCodeBench's official runner runs it: rewritten, in the runner's namespace, on mocked streams.

Written from the observed behaviour of the runner, surprises included. Two things differ: the runner compares in this
process, here only the answer leaves it; and the runner judges all tests in one go, here each step ends with a report
and waits for the next one. A report is a line of JSON, then bytes:

    {"step": "ready"}                               compiled; the function is there
    {"step": "output", "seconds": s}                the captured text follows (lone surrogates in three-byte form)
    {"step": "value", "seconds": s}                 the result follows, as `opsd_typed` writes it
    {"step": "error", "timeout": b, "error": repr}  raised inside a test; "inputs": the arguments' text (functions)
    {"step": "outside", "message": text}            raised outside a test: the runner gives the whole program up
    {"step": "blocked", "module": name}             this level of isolation could not load it: not a wrong answer
    {"step": "shown", "output": o, "inputs": i}     texts of the last wrong answer, as the runner would show them

Anything else, or no report, means that the program ended its process.
"""

import builtins
import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
import types

from opsd_importing import blocked
from opsd_mocks import CHANGED, RUNNERS_MODULE, Capturing, MockedInput, below
from opsd_rewrite import as_function, without_guard
from opsd_typed import encode

# Saved now: a program may replace what these names mean later.
_loads, _str, _type, _exit = json.loads, str, type, os._exit

PRELUDE_LINES = 36  # of the runner's import text, its final line end included
RECURSION_LIMIT = 50_000
LONGEST = 300  # characters of a text in the metadata
# The runner's own, which count for the limit on recursion: see `process.py`.
FRAMES_OF_MOCKS = 3
NO_METHOD = "cannot unpack non-iterable NoneType object"
"""The message for a program without the function: an error of the runner in its own return value."""


READY = {"step": "ready"}


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
        """Defines the program as a function. If that does not compile, the program is rewritten as in the runner: the
        message may name a line."""
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
        """Executes ``text``, or its ``code``, in a module of its own. A statement instead of the
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
            assert solution is not None  # as the runner does, without a message
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
        """The texts of the last result, which turned out to be wrong. Writing it runs the program's own code."""
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
