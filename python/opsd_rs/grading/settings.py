"""The settings of a grader as its supervisor reads them.

In: ``GraderSettings`` (defined in ``config/grader.py``, since ``[grader]`` is made from it). Out: what the crate
``grade`` reads. The rules of ``compare`` and ``extract`` are checked by the Rust side, which alone knows them; the text
of a checker program is read here, because the supervisor may read none of the caller's files.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opsd_rs.base import expand, usable_cores
from opsd_rs.config import GraderSettings as GraderSettings
from opsd_rs.errors import BadInput

CHECKER = "checker:"


def wire_settings(settings: GraderSettings) -> dict[str, Any]:
    """What the supervisor is told.

    :raises BadInput: a rule that does not exist, or a checker program that cannot be read

    >>> wire_settings(GraderSettings(workers=2, compare="float"))["compare"]
    {'rule': 'float', 'checker': None}
    """
    limits = ("cpu_seconds", "idle_seconds", "wall_seconds", "memory_mib", "output_mib", "threads")
    return {
        "profile": settings.profile,
        "also": settings.also,
        "workers": settings.workers or usable_cores(),
        "stop": settings.stop,
        "isolation": settings.isolation,
        "limits": {name: getattr(settings, name) for name in limits},
        "level": settings.level,
        "require": settings.require or settings.level or "S2",
        "allow_unsandboxed": settings.allow_unsandboxed,
        "memory_budget_mib": settings.memory_budget_mib,
        "compare": comparator(settings.compare, settings.name_of("compare")),
        "extract": _extraction(settings.extraction, settings.name_of("extract")),
        "feedback": {"style": settings.feedback, "max_chars": settings.feedback_chars},
        "site_packages": [str(Path(folder).resolve()) for folder in settings.site_packages],
        "packages": _packages(settings),
    }


def check_folders(settings: GraderSettings) -> None:
    """Refuse folders of packages that are none, where the programs will run.

    :raises BadInput: names the option and the folder
    """
    for folder in settings.site_packages:
        if not Path(folder).is_dir():
            name = settings.name_of("site_packages")
            raise BadInput(f"{name} = {str(folder)!r}: no such folder: name one that holds packages")


def comparator(rule: str, name: str = "compare") -> dict[str, Any]:
    """A rule of ``Grader(compare=...)`` with the text of its checker program.

    :param name: how messages name the rule
    :raises BadInput: no such rule, or a checker program that cannot be read

    >>> comparator("float:abs=1e-9")
    {'rule': 'float:abs=1e-9', 'checker': None}
    """
    from opsd_rs import _core

    if not isinstance(rule, str):
        raise BadInput(f"{name} = {rule!r}: must be a string")
    if not rule.startswith(CHECKER):
        try:
            _core.same_output(b"", b"", rule)
        except BadInput as error:
            raise _renamed(error, "compare", name) from None
        return {"rule": rule, "checker": None}
    path = expand(rule.removeprefix(CHECKER))
    try:
        return {"rule": rule, "checker": path.read_text(encoding="utf-8")}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise BadInput(
            f"{name} = {rule!r}: {path}: {reason}: name a Python program that can be read"
        ) from None


def _extraction(rule: str, name: str) -> str:
    from opsd_rs import _core

    try:
        _core.extract_code("", rule)
    except BadInput as error:
        raise _renamed(error, "extract", name) from None
    return rule


def _renamed(error: BadInput, option: str, name: str) -> BadInput:
    """The Rust side's message, which begins with the option, with the name that the user wrote."""
    return BadInput(name + str(error).removeprefix(option))


def _packages(settings: GraderSettings) -> list[str]:
    """Folders of the installed packages that programs may import, nothing else beside them.

    numpy, as in LiveCodeBench's runner; under ``strict`` also sortedcontainers, which AtCoder and LeetCode offer and
    the runner does not.
    """
    names = ["numpy", "sortedcontainers"] if settings.profile == "strict" else ["numpy"]
    return [folder for name in names for folder in _package(name)]


def _package(name: str) -> list[str]:
    found = find_spec(name)  # looks, does not import
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(next(iter(found.submodule_search_locations))).resolve()
    return [str(path) for path in (folder, folder.with_name(f"{name}.libs")) if path.is_dir()]
