"""Names and prose use the field's words and plain English: a list of words that no source and no page has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BANNED = {
    # names: the word, and what to use
    r"\b[Cc]orridors?\b": "entry point",
    r"\b[Dd]oor(way)?s?\b": "boundary, interface",
    r"\b[Hh]ouses?\b|open_house": "session, architecture",
    r"\b[Rr]ooms?\b|CheckerRoom": "package, module, space",
    r"\bthe floor\b": "base layer",
    r"\bAsk\b(?! [a-z])": "SampleRequest",
    r"\bOddit(y|ies)\b": "Quirks",
    r"\bRung\b|\bclimb": "LevelReport, probe_levels",
    r"\bSeats?\b": "MemoryLease",
    r"\bSitting\b|\bExam\b": "OfficialRun, OfficialTask",
    r"\bSpelled\b": "CompareSpec",
    r"\bTrial\b": "Attempt",
    r"\bTurnstile\b": "RunLock",
    r"\b([Ss]hel(f|ves)|[Uu]n?shelve)\b": "cache, put_problem, drop_problem",
    r"\bbur(y|ied|ies)\b|last_words": "reap, stderr_tail",
    r"\b_?knocks?\b|doubt_block|_politely|_spokesman|_telling_how": "a word for what it does",
    # prose: the word, and the common one
    r"\b(un)?mend(s|ed|ing)?\b": "fix, repair",
    r"\bdear(er|ly)?\b": "expensive",
    r"\bbef(all|ell|alls)\b": "happen to",
    r"\bby and by\b": "gradually",
    r"\bleavings\b": "what is left",
    r"\bgo(es)? without\b": "does not need, has none",
    r"\bin the place of\b": "instead of, replaces",
    r"\banew\b": "again",
    r"\bhearsay\b": "untrusted",
}
EXCEPTIONS = {
    (
        "python/opsd_rs/configs/contexts/expert_preamble.toml",
        "mend",
    ): "a text that models read; its hash is in results",
    (
        "python/opsd_rs/configs/contexts/oel_merged.toml",
        "anew",
    ): "a text that models read; its hash is in results",
    ("rust/sandbox/src/driver/sandbox.rs", "room"): "`make room`: free space, plain English",
    ("rust/sandbox/src/sys/memory.rs", "room"): "free space in memory, plain English",
    ("tools/primer/programs_text.py", "house"): "a test's input",
    ("tools/primer/text.py", "house"): "a test's input",
}
"""(file, word) -> the reason why it stays."""

PENDING: tuple[str, ...] = ()
"""Beginnings of paths that are not read yet."""

FOLDERS = (
    "benches",
    "docs",
    "examples",
    "fuzz",
    "python",
    "requirements",
    "rust",
    "tests",
    "tools",
    ".github",
)
SUFFIXES = {".cff", ".md", ".py", ".pyi", ".rs", ".toml", ".yaml", ".yml"}
SKIPPED = ("tests/attacks/", "tests/data/", "tests/test_names.py", "fuzz/target/")
"""Hostile programs and recorded data are kept as they are; this file holds the words."""


def files() -> list[Path]:
    """Sources and pages, as paths from the root."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    kept = [path for path in found if path.suffix in SUFFIXES or path.name == "Makefile"]
    return sorted(path.relative_to(ROOT) for path in kept if path.is_file())


def banned(text: str) -> list[tuple[int, str, str]]:
    """(line, word, what to use) of each banned word in ``text``."""
    return [
        (text.count("\n", 0, match.start()) + 1, match[0], instead)
        for pattern, instead in BANNED.items()
        for match in re.finditer(pattern, text)
    ]


def test_no_file_has_a_banned_word() -> None:
    faults = []
    for path in files():
        name = path.as_posix()
        if name.startswith((*SKIPPED, *PENDING)):
            continue
        for line, word, instead in banned((ROOT / path).read_text(encoding="utf-8")):
            if (name, word) not in EXCEPTIONS:
                faults.append(f"{name}:{line}: {word!r}: write {instead}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("name", "word"), EXCEPTIONS, ids=str)
def test_an_exception_is_needed(name: str, word: str) -> None:
    assert word in {found for _, found, _ in banned((ROOT / name).read_text(encoding="utf-8"))}


def test_the_list_reads_everything() -> None:
    names = {path.as_posix() for path in files()}
    assert {"README.md", "Makefile", "docs/architecture.md", "python/opsd_rs/records.py"} <= names
    assert {"rust/py/src/lib.rs", "tests/conftest.py", "pyproject.toml"} <= names


@pytest.mark.parametrize(
    "text", ["the room", "a doorway", "class Ask:", "list[Ask]", "mend it", "dearly", "_knock()", "Turnstile"]
)
def test_the_list_finds_words(text: str) -> None:
    assert banned(text)


@pytest.mark.parametrize(
    "text", ["Ask the kernel first", "math.floor(x)", "recommend", "a trial of three", "anewt"]
)
def test_the_list_spares_plain_english(text: str) -> None:
    assert not banned(text)
