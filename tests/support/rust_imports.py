"""Which Rust file imports which, read from the sources, and the circles among them. No Rust toolchain is needed.

An edge A -> B means: code of A names something that B defines, in a ``use`` or by a path in the code
(``crate::a::b``, ``super::b``, ``b::name`` of a module that is in scope). A re-export is followed to the file that
defines the name; it is an edge of the file that writes it only where that file uses the name itself. ``mod b;`` is no
edge, and tests (``#[cfg(test)]``) are left out. With ``methods``, ``self.m()`` and ``Type::m`` count too where another
file's ``impl Type`` has ``m``: that shows a type whose methods are spread over files that call each other.

What it cannot see: names that a macro makes, and ``value.m()`` of a method that another file defines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LITERAL = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|(?<!\w)b?r(?P<marks>\#*)".*?"(?P=marks)'
    r'|(?<!\w)b?"(?:\\.|[^"\\])*"'
    r"|(?<!\w)b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'])'",
    re.DOTALL,
)
TEST_ITEM = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")
TEST_FILE = re.compile(
    r'(?:#\[path = "(?P<before>[^"]+)"\]\s*)?#\[cfg\(test\)\]\s*(?:#\[path = "(?P<after>[^"]+)"\]\s*)?'
    r"(?:pub(?:\([^)]*\))? )?mod (?P<name>\w+);"
)
USE = re.compile(r"(?P<public>pub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
PATH = re.compile(r"(?<![\w:.])\w+(?:::\w+)+")
INLINE = re.compile(r"\bmod\s+\w+\s*\{")
IMPL = re.compile(r"\bimpl(?:<[^{;]*?>)?\s+(\w+)(?:<[^{;]*?>)?\s*\{")

METHOD = re.compile(r"\bfn\s+(\w+)")

Module = tuple[str, ...]
"""Where a file stands in its crate: ``("types", "case")``; ``()`` is ``lib.rs``."""


@dataclass
class Source:
    """One file: its code without comments, literals, tests and ``use``; and what it imports."""

    code: str
    uses: list[tuple[Module, str, bool]] = field(default_factory=list)
    """Path as written, the name it gets here (``*`` for all), whether it is a re-export."""


def bare(text: str) -> str:
    """``text`` without comments and with empty literals.

    >>> bare('f("}") // {')
    'f("")'
    """
    return LITERAL.sub(lambda found: " " if found[0].startswith(("/*", "//")) else '""', text).rstrip()


def item_end(code: str, start: int) -> int:
    """Where the item that begins at ``start`` ends: after its ``;``, or after the brace that closes its body."""
    depth = 0
    for at in range(start, len(code)):
        depth += (code[at] in "{([") - (code[at] in "})]")
        if depth == 0 and code[at] in ";}":
            return at + 1
    return len(code)


def without_tests(code: str) -> str:
    """``code`` without the items that only tests have."""
    while found := TEST_ITEM.search(code):
        code = code[: found.start()] + code[item_end(code, found.end()) :]
    return code


def expanded(tree: str) -> Iterator[tuple[Module, str]]:
    """The single imports of a ``use``, each with the name that it gets.

    >>> sorted(expanded("crate::a::{self, b::C, d as e}"))
    [(('crate', 'a'), 'a'), (('crate', 'a', 'b', 'C'), 'C'), (('crate', 'a', 'd'), 'e')]
    """
    head, brace, rest = tree.partition("{")
    path = tuple(part.strip() for part in head.split("::") if part.strip())
    if brace:
        depth, begin = 0, 0
        inner = rest.rstrip().removesuffix("}") + ","
        for at, character in enumerate(inner):
            depth += (character == "{") - (character == "}")
            if character == "," and depth == 0:
                if part := inner[begin:at].strip():
                    for more, name in expanded(part):
                        if more == ("self",):  # what stands before the brace
                            yield path, path[-1] if name == "self" else name
                        else:
                            yield (*path, *more), name
                begin = at + 1
    else:
        *front, last = path
        last, _, alias = last.partition(" as ")
        yield (*front, last), alias.strip() or last


class Crate:
    """The files of one crate, ``root`` being the folder with its ``src``."""

    def __init__(self, root: Path) -> None:
        source = root / "src"
        texts: dict[Module, str] = {}
        tests: set[Module] = set()
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            module = () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts
            texts[module] = file.read_text(encoding="utf-8")
            folder = module if file.name in {"lib.rs", "mod.rs"} else module[:-1]
            for found in TEST_FILE.finditer(texts[module]):
                path = found["before"] or found["after"]
                tests.add((*folder, path.removesuffix(".rs")) if path else (*module, found["name"]))
        self.files = {module: self._read(text) for module, text in texts.items() if module not in tests}

    @staticmethod
    def _read(text: str) -> Source:
        code = without_tests(bare(text))
        for found in INLINE.finditer(code):  # a module inside the file: its parent is this file
            end = item_end(code, found.start())
            body = re.sub(r"\bsuper::", "self::", code[found.start() : end])
            code = code[: found.start()] + body.ljust(end - found.start()) + code[end:]
        source = Source(re.sub(r"\bmod\s+\w+;", "", USE.sub(" ", code)))
        for found in USE.finditer(code):
            for path, name in expanded(found["tree"]):
                source.uses.append((path, name, found["public"] is not None))
        return source

    def _absolute(self, module: Module, path: Module) -> Module | None:
        """``path``, as ``module`` writes it, from the root; None for another crate's."""
        first, rest = path[0], path[1:]
        if first == "crate":
            return rest
        if first == "self":
            return (*module, *rest)
        if first == "super":
            up = module[:-1]
            while rest and rest[0] == "super":
                up, rest = up[:-1], rest[1:]
            return (*up, *rest)
        if (*module, first) in self.files:
            return (*module, *path)
        for used, name, _ in self.files[module].uses:
            if name == first and used != path and (target := self._absolute(module, used)) in self.files:
                return (*target, *rest)
        return None

    def _definer(self, target: Module, seen: frozenset[Module] = frozenset()) -> Module | None:
        """The file that defines what stands at ``target``; re-exports are followed."""
        depth = max((n for n in range(len(target) + 1) if target[:n] in self.files), default=0)
        module, rest = target[:depth], target[depth:]
        if not rest or target in seen:
            return module
        for path, name, public in self.files[module].uses:
            if public and name in {rest[0], "*"}:
                found = self._absolute(module, path[:-1] if name == "*" else path)
                if found is None:
                    continue
                if name == "*" and not self._defines((*found, rest[0])):
                    continue
                more = rest if name == "*" else rest[1:]
                return self._definer((*found, *more), seen | {target})
        return module

    def _defines(self, target: Module) -> bool:
        """Whether a file itself defines the item at ``target``."""
        source = self.files.get(target[:-1])
        kinds = "fn|struct|enum|trait|type|const|static|union|macro_rules!"
        return source is not None and bool(re.search(rf"\b(?:{kinds})\s+{target[-1]}\b", source.code))

    def edges(self, *, methods: bool = False) -> dict[Module, set[Module]]:
        """For each file, the files whose definitions it names."""
        found: dict[Module, set[Module]] = {}
        for module, source in self.files.items():
            paths = [tuple(path.split("::")) for path in PATH.findall(source.code)]
            for path, name, public in source.uses:
                target = self._absolute(module, path[:-1] if name == "*" else path)
                by_module = target in self.files and any(used[0] == name for used in paths)
                idle = public and not re.search(rf"\b{re.escape(name)}\b", source.code)
                if not by_module and not idle:
                    paths.append(path[:-1] if name == "*" else path)
            targets = [self._absolute(module, path) for path in paths]
            definers = {self._definer(target) for target in targets if target is not None}
            found[module] = {other for other in definers if other is not None} - {module}
        if methods:
            for module, others in self._method_calls().items():
                found[module] |= others
        return found

    def _method_calls(self) -> dict[Module, set[Module]]:
        """For each file, the files with methods that it calls on a type whose ``impl`` is spread over files."""
        impls: dict[Module, dict[Module, str]] = {}
        for module, source in self.files.items():
            for block in IMPL.finditer(source.code):
                body = source.code[block.end() : item_end(source.code, block.start())]
                bodies = impls.setdefault(self._type(module, block[1]), {})
                bodies[module] = bodies.get(module, "") + body
        found: dict[Module, set[Module]] = {module: set() for module in self.files}
        for kind, bodies in impls.items():
            homes = {name: module for module, body in bodies.items() for name in METHOD.findall(body)}
            for module, source in self.files.items():
                called = re.findall(r"\b(?:self\.|Self::)(\w+)\(", bodies.get(module, ""))
                if self._type(module, kind[-1]) == kind:
                    called += re.findall(rf"\b{kind[-1]}::(\w+)\b", source.code)
                found[module] |= {homes[name] for name in called if name in homes} - {module}
        return found

    def _type(self, module: Module, name: str) -> Module:
        """Where the type is defined that ``module`` calls by a bare ``name``."""
        used = [self._absolute(module, path) for path, known, _ in self.files[module].uses if known == name]
        homes = [self._definer(target) for target in used if target is not None]
        return (*(homes[0] or ()), name) if homes else (*module, name)


def by_folder(edges: dict[Module, set[Module]]) -> dict[Module, set[Module]]:
    """The same between first-level folders (a file beside ``lib.rs`` is one of its own)."""
    folders: dict[Module, set[Module]] = {}
    for module, others in edges.items():
        folders.setdefault(module[:1], set()).update(other[:1] for other in others if other[:1] != module[:1])
    return folders


def circles(edges: dict[Module, set[Module]]) -> list[str]:
    """Ways round, ``a -> b -> a``: a shortest one from each file that no earlier one passes; empty where there is none.

    >>> circles({("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("b",)}})
    ['b -> c -> b']
    """
    found, done = [], set[Module]()
    for start in sorted(edges):
        if start in done:
            continue
        ways: list[list[Module]] = [[start]]
        seen: set[Module] = set()
        while ways:
            way = ways.pop(0)
            for other in sorted(edges.get(way[-1], ())):
                if other == start:
                    found.append(" -> ".join("::".join(module) or "lib" for module in (*way, start)))
                    done.update(way)
                    ways, seen = [], set(edges)
                    break
                if other not in seen:
                    seen.add(other)
                    ways.append([*way, other])
    return found
