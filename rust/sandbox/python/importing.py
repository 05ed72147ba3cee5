"""Imports that do not go through the folders of ``sys.path``: single packages, and modules that cannot be loaded.

Takes folders of packages that programs may use and puts finders on ``sys.meta_path``. Only the package itself can be
imported: what else is installed beside numpy stays unreadable.
"""

import importlib.util
import os
import sys

# Imported in advance too if nothing can be opened later.
# fmt: off
EARLY = [
    "array", "asyncio", "base64", "binascii", "bz2", "cProfile", "cmath", "cmd", "codecs", "colorsys",
    "concurrent.futures.thread", "contextvars", "csv", "difflib", "email", "encodings.ascii",
    "encodings.latin_1", "encodings.idna", "errno", "fileinput", "fnmatch", "getopt", "glob", "graphlib",
    "gzip", "hashlib", "hmac", "html", "ipaddress", "keyword", "linecache", "locale", "logging", "lzma", "marshal",
    "mmap", "multiprocessing", "optparse", "argparse", "pathlib", "pickle", "platform", "pprint", "queue", "resource",
    "secrets", "select", "shlex", "shutil", "stat", "subprocess", "tempfile", "timeit", "token", "tokenize",
    "tracemalloc",
    "unicodedata", "unittest", "unittest.mock", "urllib.parse", "uuid", "warnings", "weakref", "xml.etree.ElementTree",
    "zipfile", "zlib", "zoneinfo",
]
# fmt: on


class Packages:
    """Finds packages by name in folders of their own."""

    def __init__(self, folders):
        self.inits = {}
        for folder in folders:
            init = os.path.join(folder, "__init__.py")  # noqa: PTH118 - pathlib is not warm here
            if os.path.exists(init):  # noqa: PTH110 - `numpy.libs` holds shared libraries only
                self.inits[os.path.basename(folder)] = init  # noqa: PTH119

    def find_spec(self, name, path=None, target=None):
        init = self.inits.get(name)
        if init is None:
            return None
        folders = [os.path.dirname(init)]  # noqa: PTH120
        return importlib.util.spec_from_file_location(name, init, submodule_search_locations=folders)


class ImportBlocked(ImportError):
    """The module exists, but nothing can be loaded any more at this level."""


class Blocker:
    """Comes before the finders that read files, and raises for every module that they could find."""

    def __init__(self, folders):
        self.names = set(sys.stdlib_module_names)
        for folder in folders:
            self.names |= {entry.partition(".")[0] for entry in os.listdir(folder)}  # noqa: PTH208

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportBlocked(f"{name} cannot be loaded at this level of isolation", name=name)


def install(packages):
    """Lets programs import these packages."""
    sys.meta_path.append(Packages(packages))


def block(site_packages):
    """From now on an import that would open a file raises. The last step before the zygote seals itself."""
    blocker = Blocker(site_packages)
    blocker.names |= sys.meta_path[-1].inits.keys()
    # After the finders of built-in and frozen modules, which open no file.
    sys.meta_path.insert(2, blocker)


def blocked(error):
    """Name of the module whose blocked import caused the exception, if that is the cause."""
    for _ in range(20):
        if error is None:
            return None
        if isinstance(error, ImportBlocked):
            return error.name
        error = error.__cause__ or error.__context__
    return None
