"""A test's world: what a program may change in its process and the next test must find as it was.

It keeps honest programs apart from their own leavings; one that means to keep state finds a way, which is why failures
are confirmed in a fresh process.
"""

import _signal
import builtins
import decimal
import gc
import os
import random
import sys
import threading
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper

SOURCE = "solution.py"
RECURSION_LIMIT = sys.getrecursionlimit()

# Taken now: a program may replace what these names mean later.
_seed = random.seed


class World:
    """As it was when the zygote was warm."""

    def __init__(self):
        self.builtins = dict(vars(builtins))
        self.environment = dict(os.environ._data)
        self.path, self.argv = list(sys.path), [SOURCE]
        # The module `signal` would turn each answer into an enum's member, at ten times the cost.
        fixed = (_signal.SIGKILL, _signal.SIGSTOP)
        self.handlers = {s: _signal.getsignal(s) for s in sorted(_signal.valid_signals()) if s not in fixed}
        self.hooks = sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook
        self.touched = True
        self.reset()
        self.touched = False

    def open(self):
        """Fresh standard streams, in a world as it was: nothing to do for the first test after the fork."""
        if self.touched:
            self.reset()
        self.touched = True
        stdin = TextIOWrapper(BufferedReader(FileIO(0, "r", closefd=False)), "utf-8")
        stdout = TextIOWrapper(BufferedWriter(FileIO(1, "w", closefd=False)), "utf-8")
        stderr = TextIOWrapper(BufferedWriter(FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace")
        stdin.mode, stdout.mode, stderr.mode = "r", "w", "w"  # as `open` would set them
        sys.stdin = sys.__stdin__ = stdin
        sys.stdout = sys.__stdout__ = stdout
        sys.stderr = sys.__stderr__ = stderr
        return stdout, stderr

    def reset(self):
        """Puts it back."""
        names = vars(builtins)
        # Writing even the same would undo what the interpreter has learnt about its lookups.
        if names != self.builtins:
            names.update(self.builtins)
            for name in names.keys() - self.builtins.keys():
                del names[name]
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
        sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = self.hooks
        sys.setrecursionlimit(RECURSION_LIMIT)
        sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
        threading.stack_size(0)
        if "signal" in sys.modules:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            for number, handler in self.handlers.items():
                if _signal.getsignal(number) is not handler and handler is not None:
                    _signal.signal(number, handler)
        if os.environ._data != self.environment:
            os.environ.clear()
            for key, value in self.environment.items():
                os.environ[os.fsdecode(key)] = os.fsdecode(value)
        sys.path[:], sys.argv[:] = self.path, self.argv
        decimal.setcontext(decimal.DefaultContext.copy())
        _seed(0)
        gc.enable()
