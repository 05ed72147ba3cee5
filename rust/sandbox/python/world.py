"""The state of the interpreter that a program may change and the next test must find unchanged.

Resetting it protects honest programs from what their earlier tests left behind. A program that wants to keep state
finds a way; that is why failures are confirmed in a fresh process.
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

# A program that contains none of these words changes nothing by accident; `eval` and `exec` may run any text. Whatever
# changes the state in other ways does so on purpose.
# fmt: off
CHANGES = (
    "argv", "builtins", "context", "ecimal", "digits", "environ", "eval", "exec", "gc.", "from gc", "import gc",
    "gettext", "handler", "hook", "import path", "sys.path", "profile", "putenv", "signal", "stack_size", "timer",
    "trace", *random.__all__,
)
CHANGES_STREAMS = ("TextIOWrapper", "buffering", "detach", "reconfigure", "seek", "tell", "truncate", "write_through")
# fmt: on

# Saved now: a program may replace what these names mean later.
_seed, _any, _len = random.seed, any, len


class World:
    """The state when the zygote was warm, and how to restore it."""

    def __init__(self):
        self.builtins = dict(vars(builtins))
        self.environment = dict(os.environ._data)
        self.path, self.argv = list(sys.path), [SOURCE]
        # The module `signal` would turn each result into an enum member, at ten times the cost.
        fixed = (_signal.SIGKILL, _signal.SIGSTOP)
        self.handlers = {s: _signal.getsignal(s) for s in sorted(_signal.valid_signals()) if s not in fixed}
        self.hooks = sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook
        self.is_plain = self.keeps_streams = False
        self.stdout = self.stderr = self.fresh = None
        self.num_modules = 0
        self.reset()

    def prepare(self):
        """Prepares the first test after the fork: creates its streams now, on descriptors that are seekable files at
        their start, as they will be then. Creating them in each child would copy a hundred pages."""
        self.reset()
        self.fresh = self.streams()
        self.num_modules = self.count_modules()

    def watch(self, source):
        """Notes which program will run. Restoring everything costs as much as a small test itself, and a reference
        count for each builtin copies 74 pages in a new process."""
        self.is_plain = not _any(word in source for word in CHANGES)
        self.keeps_streams = not _any(word in source for word in CHANGES_STREAMS)

    def open(self):
        """Restores the state and the standard streams; returns the streams to flush at the end."""
        if self.fresh:
            streams, self.fresh = self.fresh, None
            return streams
        same = self.count_modules() == self.num_modules and _len(vars(builtins)) == _len(self.builtins)
        if self.is_plain and same:
            self.reset_always()
        else:
            self.reset()
        if self.keeps_streams and self.has_streams():
            sys.stdin = sys.__stdin__ = self.stdin()
            return self.stdout, self.stderr
        return self.streams()

    def count_modules(self):
        return _len(sys.modules) - ("solution" in sys.modules)

    def has_streams(self):
        """Whether the last test has left standard output and standard error unchanged and open."""
        out, err, find = self.stdout, self.stderr, vars(sys).get
        return (
            (find("stdout") is find("__stdout__") is out and find("stderr") is find("__stderr__") is err)
            and not (out.closed or err.closed)
            and _len(vars(out)) == _len(vars(err)) == 1
        )

    def stdin(self):
        stdin = TextIOWrapper(BufferedReader(FileIO(0, "r", closefd=False)), "utf-8")
        stdin.mode = "r"  # as `open` would set it
        return stdin

    def streams(self):
        sys.stdin = sys.__stdin__ = self.stdin()
        stdout = TextIOWrapper(BufferedWriter(FileIO(1, "w", closefd=False)), "utf-8")
        stderr = TextIOWrapper(BufferedWriter(FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace")
        stdout.mode = stderr.mode = "w"
        self.stdout = sys.stdout = sys.__stdout__ = stdout
        self.stderr = sys.stderr = sys.__stderr__ = stderr
        return stdout, stderr

    def reset_always(self):
        """Restores what many programs, and this package's own code, change."""
        sys.setrecursionlimit(RECURSION_LIMIT)
        sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)

    def reset(self):
        """Restores everything."""
        names = vars(builtins)
        # Even writing equal values would invalidate the interpreter's lookup caches.
        if names != self.builtins:
            names.update(self.builtins)
            for name in names.keys() - self.builtins.keys():
                del names[name]
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
        sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = self.hooks
        self.reset_always()
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
