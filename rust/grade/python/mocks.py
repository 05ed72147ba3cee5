"""What LiveCodeBench's official runner replaces the standard streams and dangerous functions with, as a program sees
it. Written from the runner's observed behaviour; messages and class names are part of that behaviour.
"""

import builtins
import faulthandler
import io
import os
import site
import sys

# fmt: off
# Names that programs find to be None. A call of one of them is a TypeError, as officially.
WITHOUT = (
    (os, (
        "kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "forkpty", "killpg",
        "rename", "renames", "truncate", "replace", "unlink", "fchmod", "fchown", "chmod", "chown", "chroot",
        "lchflags", "lchmod", "lchown", "getcwd", "chdir",
    )),
    (builtins, ("quit", "help")),
)
# The same for modules that a zygote does not import: they load a dozen shared objects, and each one's mappings make
# every fork more expensive.
WITHOUT_LATER = {"shutil": ("rmtree", "move", "chown"), "subprocess": ("Popen",)}
# fmt: on
# Builtins that the prelude copies and that are not what they were when the prelude was made.
CHANGED = ("quit", "help", "copyright", "credits", "license")
BLOCKED = ("ipdb", "joblib", "resource", "psutil", "tkinter")
# numpy sets these while it is imported, if they are not set; a program cannot set them.
WANTED_BY_NUMPY = ("OPENBLAS_MAIN_FREE", "GOTOBLAS_MAIN_FREE")

# Where the runner defines its mocks: shown wherever a program prints a type or an object, and in messages.
RUNNERS_MODULE = "lcb_runner.evaluation.testing_util"

_getcwd = os.getcwd


def guard():
    """Takes away what the runner takes away, and adds what ``-S`` left out of the builtins."""
    site.setcopyright()
    faulthandler.disable()
    os.environ.update({"OMP_NUM_THREADS": "1", **dict.fromkeys(WANTED_BY_NUMPY, "1")})
    for place, names in WITHOUT:
        for name in names:
            setattr(place, name, None)
    for module in WITHOUT_LATER.keys() & sys.modules.keys():
        take_away(sys.modules[module])
    sys.modules.update(dict.fromkeys(BLOCKED))
    sys.meta_path.insert(0, Later())


def take_away(module):
    for name in WITHOUT_LATER[module.__name__]:
        setattr(module, name, None)


class Later:
    """Comes before the other finders, and removes its names from a module as soon as that is loaded."""

    def find_spec(self, name, path=None, target=None):
        if name not in WITHOUT_LATER:
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, specs), None)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                take_away(module)

            spec.loader.exec_module = exec_module
        return spec


def import_with_a_folder(code):
    """The runner has these already; without `os.getcwd` they cannot be imported."""
    if "multiprocessing" in code or "concurrent" in code:
        os.getcwd = _getcwd
        import multiprocessing  # noqa: F401

        os.getcwd = None


def below(frames, step):
    """Calls ``step`` with so many frames more under it, at least one."""
    return step() if frames < 2 else below(frames - 1, step)


class Capturing:
    """Holds what is printed while it is entered, whatever the program puts in place of ``sys.stdout`` meanwhile."""

    def __enter__(self):
        self._before, self._held = sys.stdout, io.StringIO()
        sys.stdout = self._held
        self._held.close = lambda x: (
            1
        )  # takes one argument too many: closing is a TypeError that names this place
        return self

    def __exit__(self, *_):
        self.text = self._held.getvalue()
        sys.stdout = self._before


class MockBuffer:
    """``sys.stdin.buffer`` since May 2025: has no position. ``read`` gives everything, ``readline`` the first line."""

    __module__ = RUNNERS_MODULE

    def __init__(self, inputs):
        self.inputs = inputs.encode("utf-8")

    def read(self, *_):
        return self.inputs

    def readline(self, *_):
        return self.inputs.split(b"\n")[0] + b"\n"


class MockStdinWithBuffer:
    """``sys.stdin`` since May 2025. ``readline`` moves on; ``read`` and ``readlines`` always give everything; it is
    not iterable; anything else is a StringIO's."""

    __module__ = RUNNERS_MODULE

    def __init__(self, inputs):
        self.inputs = inputs
        self._stringio = io.StringIO(inputs)
        self.buffer = MockBuffer(inputs)

    def read(self, *_):
        return self.inputs

    def readline(self, *arguments):
        return self._stringio.readline(*arguments)

    def readlines(self, *_):
        return self.inputs.split("\n")

    def __getattr__(self, name):
        return getattr(self._stringio, name)


def mocked_open(inputs):
    """What ``open`` is when looked up in ``builtins``: gives the input, whatever file is asked for. The mock is the one
    that the runner uses, loaded when first called: few programs do."""
    made = []

    def open(*arguments, **named):
        if not made:
            from unittest.mock import mock_open

            made.append(mock_open(read_data=inputs))
        return made[0](*arguments, **named)

    return open


def call_method(inputs):
    """``read``, ``readlines`` and ``readline`` of the ``sys.stdin`` that was there before. Named as the runner's
    function that makes them: the name is in the message about a wrong argument."""
    lines = iter(inputs.split("\n"))
    return lambda *_: inputs, lambda *_: inputs.split("\n"), lambda *_: next(lines)


class MockedInput:
    """The input, for as long as this is entered. The order matters. First three methods of the ``sys.stdin`` that the
    program may have bound already: its lines come without their ends, and past the last one is a StopIteration.
    Then ``sys.stdin`` itself, then ``open``."""

    def __init__(self, inputs, vintage):
        self.inputs, self.vintage = inputs, vintage

    def __enter__(self):
        inputs, bound = self.inputs, sys.stdin
        mock = MockStdinWithBuffer(inputs) if self.vintage == "2025-05" else io.StringIO(inputs)
        self.bound, self.opened = bound, builtins.open
        bound.read, bound.readlines, bound.readline = call_method(inputs)
        sys.stdin, builtins.open = mock, mocked_open(inputs)

    def __exit__(self, *_):
        sys.stdin, builtins.open = self.bound, self.opened
        del self.bound.read, self.bound.readline, self.bound.readlines
