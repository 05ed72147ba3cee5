"""Which levels of isolation hold on this machine, and for each that does not: why, and what to change where.

In: the sandbox's own test of every level (small hostile programs, ``rust/sandbox``). Out: rows for ``doctor``. The
fix depends on what refuses: a container's system-call profile, a distribution's policy, the kernel.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Row = tuple[str, str, str]
"""Name, state, detail: what a finding is made of."""
FILES = {
    "version": "/proc/version",
    "apparmor": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "debian": "/proc/sys/kernel/unprivileged_userns_clone",
    "most": "/proc/sys/user/max_user_namespaces",
    "lsm": "/sys/kernel/security/lsm",
}
"""What the fix depends on; an absent file says nothing."""


def read_machine(environment: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """The facts that decide the fix: the files above, and ``place``: gvisor, kubernetes, docker, podman or empty."""
    facts = {}
    for name, path in FILES.items():
        try:
            facts[name] = (root / path.lstrip("/")).read_text().strip()
        except OSError:
            facts[name] = ""
    facts["release"] = platform.release()
    if "gvisor" in facts["version"].lower() or platform.release().startswith("4.4.0"):
        facts["place"] = "gvisor"
    elif "KUBERNETES_SERVICE_HOST" in environment:
        facts["place"] = "kubernetes"
    elif (root / "run/.containerenv").exists():
        facts["place"] = "podman"
    elif (root / ".dockerenv").exists():
        facts["place"] = "docker"
    else:
        facts["place"] = ""
    return facts


def levels(rungs: Iterable[tuple[str, bool, str, str]], facts: Mapping[str, str]) -> Iterator[Row]:
    """One row a level, best first. A level is missed only where no better one holds.

    >>> row = ("S3", False, "user namespace: Operation not permitted (os error 1)", "")
    >>> [(name, state, detail)] = levels([row], {"place": "docker"})
    >>> name, state, "--security-opt seccomp=" in detail
    ('level S3', 'absent', True)
    """
    rungs = list(rungs)
    facts = {**facts, "held": " ".join(name for name, holds, *_ in rungs if holds)}
    best = ""
    for name, holds, detail, _ in rungs:
        if holds:
            yield f"level {name}", "ok", f"proved: {detail}"
            best = best or name
            continue
        state = "absent" if best or name in ("S3", "S2j", "S1") else "fault"
        yield f"level {name}", state, f"{detail}. {fix_for(detail, facts)}"


def fix_for(cause: str, facts: Mapping[str, str]) -> str:
    """What to change, in one sentence. ``facts``: those of the machine, and ``held``: the levels that hold."""
    place = facts.get("place", "")
    if "no Landlock" in cause:
        return _landlock(place, facts)
    if "namespace" in cause or "private mounts" in cause:
        return _namespaces(place, facts)
    if "mount jail" in cause:
        return f"this process may not mount here{_spared(facts)}"
    if "a program can" in cause:
        return "this is a breach: do not grade untrusted programs at this level here, and report it"
    return "see docs/sandbox.md"


def _spared(facts: Mapping[str, str]) -> str:
    """Which level does not need it."""
    held = facts.get("held", "").split()
    return f"; {'S2' if 'S2' in held else held[0]} does not need it" if held else ""


def _lower(facts: Mapping[str, str]) -> str:
    """Which level can be used as it is."""
    held = facts.get("held", "").split()
    return f', or accept a lower level: Grader(require="{held[0]}"), --require {held[0]}' if held else ""


def _landlock(place: str, facts: Mapping[str, str]) -> str:
    if place == "gvisor":
        return f"gVisor has no Landlock: run the pod with runc (no runtimeClassName) for S2{_lower(facts)}"
    found = re.match(r"(\d+)\.(\d+)", facts.get("release", ""))
    if found and (int(found[1]), int(found[2])) < (5, 13):
        return f"the host's kernel is {facts['release']}: use 5.13 or later{_lower(facts)}"
    named = facts.get("lsm", "")
    return f"add landlock to lsm= on the kernel's command line{f' (now {named})' if named else ''}{_lower(facts)}"


def _namespaces(place: str, facts: Mapping[str, str]) -> str:
    if facts.get("apparmor") == "1":
        return (
            "Ubuntu's AppArmor withholds rights in user namespaces: sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0, or a profile with `userns,` for this Python"
            f"{_spared(facts)}"
        )
    if facts.get("debian") == "0":
        return f"sysctl kernel.unprivileged_userns_clone=1{_spared(facts)}"
    if facts.get("most") == "0":
        return f"sysctl user.max_user_namespaces=10000{_spared(facts)}"
    allow = "a seccomp profile that allows clone, unshare, mount, umount2 and pivot_root"
    if place == "kubernetes":
        return f"set securityContext.seccompProfile to type Localhost with {allow}{_spared(facts)}"
    if place == "gvisor":
        return "take a newer gVisor (runsc), which has user namespaces with mounts"
    if place in ("docker", "podman"):
        return f"start the container with --security-opt seccomp=FILE, {allow}{_spared(facts)}"
    refuses = (
        "something in front of this process (a seccomp profile, a policy, a chroot) refuses user namespaces"
    )
    return refuses + _spared(facts)


def machine() -> dict[str, str]:
    """The facts of this machine."""
    return read_machine(os.environ)
