"""The Python half of the sandbox: warms the zygote up, then, after each fork, runs one program test by test.

Nothing here holds an expected output. Once a program has started, nothing in its process is trusted, this code
included; a report only says how the program itself ended. The code below keeps *honest* programs free from
what earlier ones left behind, and gives them the same state in every run.

``core`` (the Rust half) offers ``seal`` and ``next_program`` in the zygote, ``next_test`` in the child.
"""

import atexit
import builtins
import contextlib
import gc
import importlib
import json
import linecache
import os
import re
import site
import sys
import threading
import traceback
import types
import weakref
from io import TextIOWrapper

import opsd_importing
import opsd_rehearse
from opsd_spell import NoForm, TooLarge, encode
from opsd_start import register_at_fork as _register_at_fork
from opsd_world import SOURCE, World

# Imported once and inherited by every fork, so that they cost programs nothing. Programs import rarer modules with
# shared objects (hashlib has three) themselves: the mappings would make every fork more expensive.
# fmt: off
WARM = [
    "__future__", "abc", "ast", "bisect", "calendar", "collections", "collections.abc", "copy", "dataclasses",
    "datetime", "enum", "fractions", "functools", "heapq", "inspect", "io", "itertools", "math", "numbers", "operator",
    "re", "statistics", "string", "struct", "textwrap", "time", "typing",
]
# LeetCode-style solutions use the names of these without importing them. The order decides which
# of two equal names is kept.
STARRED = [
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
]
# A source that uses none of these can only see the names of the prelude that it contains.
LOOKS_AROUND = {
    "__dict__", "__globals__", "__import__", "_getframe", "compile", "dir", "eval", "exec", "f_globals", "f_locals",
    "get_type_hints", "globals", "import_module", "inspect", "locals", "modules", "solution", "vars",
}
# fmt: on
PRELUDE = {}

# What programs are told, on every machine: pools are sized by it, and the number of threads is limited.
CORES = 4

LONGEST_MESSAGE = 4000  # characters; the Rust half cuts at 4096 bytes
FUNCTION_RECURSION_LIMIT = 50_000  # for function calls: such solutions recurse deeply

# Saved now: a program may replace what these names mean later.
_type, _len, _dumps, _loads, _words = type, len, json.dumps, json.loads, re.compile(r"\w+").findall
_pread, _exit, _print = os.pread, os._exit, print


# Address space to use for the report after a MemoryError, never written. Not shared: all children would share it.
RESERVE = [bytes(1 << 20)]
FINISHED = b'{"end":"finished"}'
OUT_OF_MEMORY = {"end": "raised", "kind": "MemoryError", "message": "", "frames": []}
OUT_OF_MEMORY_EXIT = 96  # not even the report fits


# --- one test -------------------------------------------------------------------------------------------------


def describe(error):
    """Kind, message and the user's own frames of an exception, for the report."""
    try:
        message = str(error)
    except BaseException as inner:
        message = f"<str() of the exception raised {_type(inner).__name__}>"
    frames, tb = [], error.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == SOURCE:
            frames.append((tb.tb_lineno, tb.tb_frame.f_code.co_name))
            if _len(frames) > 1000:
                del frames[10:-10]
        tb = tb.tb_next
    if _len(frames) > 20:
        del frames[10:-10]
    kind = _type(error).__name__
    return {"end": "raised", "kind": kind, "message": message[:LONGEST_MESSAGE], "frames": frames}


def show(error):
    """The traceback on standard error, from the user's first frame on, as the interpreter prints it."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename != SOURCE:
        tb = tb.tb_next
    with contextlib.suppress(BaseException):  # a broken __str__ or sys.stderr is the program's own fault
        traceback.print_exception(_type(error), error, tb)


def exit_report(error):
    """The report for a ``sys.exit``, with the code that the interpreter would use."""
    code = error.code
    if code is None:
        return {"end": "finished"}
    if isinstance(code, int):
        return {"end": "finished"} if code & 0xFF == 0 else {"end": "exited", "code": code & 0xFF}
    with contextlib.suppress(BaseException):  # as in `show`
        _print(code, file=sys.stderr)
    return {"end": "exited", "code": 1}


def guarded(step):
    """Runs a step of the program and turns its end, normal or not, into a report."""
    try:
        return step()
    except SystemExit as error:
        return exit_report(error)
    except MemoryError:
        RESERVE.clear()
        return OUT_OF_MEMORY
    except BaseException as error:
        show(error)
        module = opsd_importing.blocked(error)
        return {"end": "blocked", "module": module} if module else describe(error)


def run_exit_handlers():
    """What the interpreter does at exit: waits for threads, runs atexit functions."""
    if _len(threading._active) > 1 or threading._limbo or threading._threading_atexits:
        join_threads()
    atexit._run_exitfuncs()


def join_threads():
    main = threading.main_thread()
    for callback in reversed(threading._threading_atexits):
        callback()
    while True:
        rest = [t for t in threading.enumerate() if t is not main and not t.daemon]
        if not rest:
            break
        for thread in rest:
            thread.join()
    if "concurrent.futures.thread" in sys.modules:
        sys.modules["concurrent.futures.thread"]._shutdown = False  # its atexit callback closed it


def flush(streams):
    for stream in streams:
        if stream is not None and not getattr(stream, "closed", False) and hasattr(stream, "flush"):
            stream.flush()


class Program:
    """One candidate: compiled once, run from the start for each test."""

    def __init__(self, core, text, most_bytes):
        self.core = core
        self.entry, _, self.source = text.partition("\n")
        self.code = self.compile_error = self.prelude = None
        lines = self.source.splitlines(keepends=True)
        self.lines = _len(self.source), None, lines, SOURCE  # as linecache has them
        self.most_bytes = most_bytes
        self.has_finalizers = "__del__" in self.source

    def compile(self):
        if self.entry:
            # All 600 names would cost more than most programs do: each reference count is a write.
            words = set(_words(self.source))
            narrow = self.source.isascii() and words.isdisjoint(LOOKS_AROUND)
            self.prelude = {w: PRELUDE[w] for w in words if w in PRELUDE} if narrow else PRELUDE
        try:
            self.code = compile(self.source, SOURCE, "exec", dont_inherit=True)
        except MemoryError:
            raise
        except BaseException as error:
            line = getattr(error, "lineno", None)
            message = str(getattr(error, "msg", None) or error)[:LONGEST_MESSAGE]
            self.compile_error = {
                "end": "compile",
                "kind": _type(error).__name__,
                "message": message,
                "line": line if _type(line) is int and line > 0 else None,
            }

    def test(self, world):
        """Runs one test; returns (report, JSON text of a function's value or None)."""
        streams = world.open()
        arguments = None
        if self.entry:
            try:
                arguments = read_arguments()
            except Exception as error:  # the driver decides whether the problem is at fault
                return describe(error), None
        if self.code is None and self.compile_error is None:
            failure = guarded(self.compile)
            if failure:
                return failure, None
        if self.compile_error:
            return dict(self.compile_error), None
        linecache.cache[SOURCE] = self.lines
        module = types.ModuleType("__main__" if not self.entry else "solution")
        module.__builtins__ = builtins
        module.__file__ = SOURCE
        sys.modules[module.__name__] = module
        result = []
        if self.entry:
            sys.setrecursionlimit(FUNCTION_RECURSION_LIMIT)
            module.__dict__.update(self.prelude)
            report = guarded(lambda: self.call(module.__dict__, arguments, result))
        else:
            report = guarded(lambda: exec(self.code, module.__dict__))
        if report is OUT_OF_MEMORY:
            module.__dict__.clear()
        ending = guarded(run_exit_handlers)
        sys.setrecursionlimit(FUNCTION_RECURSION_LIMIT)  # the program may have set a tiny one
        if report is None or report["end"] == "finished":
            exited = {"end": "exited", "code": 0}  # a function that calls sys.exit(0) has returned no answer
            report = ending or (exited if self.entry and not result else {"end": "finished"})
        value, report = self.spell(result, report)
        result.clear()
        # As the interpreter does it: streams of the program's own first, while its names still mean something.
        out, err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
        own = () if out is streams[0] and err is streams[1] else (out, err)
        failure = guarded(lambda: flush(own)) if own else None
        if self.has_finalizers:
            # Objects end before the names that their methods use: a collection calls all finalizers first.
            rest = weakref.ref(module)
            sys.modules.pop(module.__name__, None)
            module = None
            gc.collect()
            module = rest()
        if module is not None:
            module.__dict__.clear()  # finalizers may print
        if own:  # what the interpreter writes out itself, whatever the program is by then
            streams = (*(stream for stream in own if _type(stream) is TextIOWrapper), *streams)
        return guarded(lambda: flush(streams)) or failure or report, value

    def call(self, names, arguments, result):
        """Defines the program and calls its entry point; the returned value goes into ``result``."""
        exec(self.code, names)
        owner, dot, name = self.entry.rpartition(".")
        function = None
        if dot:
            if owner not in names:
                return {"end": "missing"}
            function = getattr(names[owner](), name, None)
        elif isinstance(names.get("Solution"), _type):
            function = getattr(names["Solution"](), name, None)
        if function is None and not dot and name in names and names[name] is not PRELUDE.get(name):
            function = names[name]  # the program's own, not `re.search` or the like
        if function is None:
            return {"end": "missing"}
        result.append(function(*arguments))
        return None

    def spell(self, result, report):
        if not result or report["end"] != "finished":
            return None, report
        try:
            sys.set_int_max_str_digits(0)  # the program's own limit on digits does not apply here
            return encode(result[0], self.most_bytes), {"end": "finished", "value": True}
        except NoForm as error:
            note = f"the returned value has no JSON form: {error}"
            return None, {"end": "finished", "value": False, "note": note}
        except TooLarge:
            return None, {"end": "output"}
        except BaseException as error:
            return None, describe(error)


def read_arguments():
    """A test's arguments: one JSON value a line. Python's limit on digits does not apply to the problem's data."""
    text = _pread(0, os.fstat(0).st_size, 0).decode()
    os.lseek(0, 0, os.SEEK_END)
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return [_loads(line) for line in text.split("\n") if line.strip()]
    finally:
        sys.set_int_max_str_digits(digits)


# --- the process ----------------------------------------------------------------------------------------------


def run(core, world, text, file_bytes):
    """The main loop of a program's process: one test after the other. Never returns; the driver kills it."""
    most_bytes = file_bytes - (64 << 10)
    program = Program(core, text, most_bytes if most_bytes > 0 else 16 << 20)
    world.watch(text)
    index = core.next_test(None, b"")
    while True:
        index = core.next_test(index, written(*program.test(world)))


def written(report, value):
    """A report's bytes: the header, then a function's value."""
    header = FINISHED if report == {"end": "finished"} else _dumps(report).encode()
    return header + b"\n" + value.encode() if value else header + b"\n"


KEPT = []  # the objects that fill the pools


def fill_pools():
    """Fills the interpreter's partly used pools of small blocks, so that children allocate from new, adjacent pools:
    free blocks in scattered pools would each cost a page. A pool is 16 KiB; its first block is at byte 48."""
    for size in range(16, 513, 16):
        for number in range(20_000):
            block = object() if size == 16 else complex(1, number) if size == 32 else bytes(size - 33)
            if id(block) & 0x3FFF == 48:
                break  # a new pool; the block is freed again
            KEPT.append(block)


def hide_cores():
    """Makes the number of processors the same everywhere: how many threads a pool starts must not change a verdict."""
    os.cpu_count = lambda: CORES
    os.sched_getaffinity = lambda pid: set(range(CORES))
    if hasattr(os, "process_cpu_count"):  # since Python 3.13
        os.process_cpu_count = lambda: CORES


def serve(core, site_packages, packages, with_numpy, custom):
    """The zygote's main function: warm up, seal, fork on request. A child never returns from here.

    ``custom``: name of the module of a harness that runs programs its own way; None: this one runs them."""
    sys.path[:] = [p for p in sys.path if os.path.isdir(p)] + site_packages  # noqa: PTH112
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    opsd_importing.install(packages)
    for name in WARM + (opsd_importing.EARLY if core.no_open else []):
        importlib.import_module(name)
    if with_numpy:
        importlib.import_module("numpy")
    hide_cores()
    site.setquit()  # -S leaves out exit() and quit()
    for name in STARRED:
        exec(f"from {name} import *", PRELUDE)
    for name in STARRED[:-2]:
        exec(f"import {name}", PRELUDE)
    del PRELUDE["__builtins__"]
    os.register_at_fork = _register_at_fork
    if core.no_open:
        opsd_importing.block(site_packages)
    custom = sys.modules.get(custom)
    for name in [name for name in sys.modules if name.startswith("opsd_")]:
        del sys.modules[name]  # programs must not find it
    if custom:
        begin = custom.prepare(core, PRELUDE)
    else:
        world = World()
        opsd_rehearse.rehearse(Program, written, core, world)
        begin = lambda text, file_bytes: run(core, world, text, file_bytes)  # noqa: E731
    gc.collect()
    fill_pools()
    core.seal(library, sys.base_prefix, site_packages, packages)
    gc.freeze()  # a collection in a child would copy every page
    bytes(1 << 16)  # makes glibc merge its small free chunks now, not in every child
    text, file_bytes = core.next_program()  # from here on in a process of its own
    try:
        if "native_id" in text:
            threading.main_thread()._set_native_id()
        begin(text, file_bytes)
    except MemoryError:
        _exit(OUT_OF_MEMORY_EXIT)
    finally:
        _exit(98)
