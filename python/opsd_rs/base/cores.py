"""How many cores this process may use: its affinity mask, bounded by the quota of its control group.

A quota may be a fraction of a core. Graded programs can wait for a core, so the grader rounds up. OpenMP
threads spin while they wait and slow down all others, so OpenMP rounds down.
"""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")
"""Where version 2 of the control groups is mounted, by itself or beside version 1 (``unified``)."""


def usable_cores() -> int:
    """Rounded up: programs worth running at the same time."""
    return max(1, math.ceil(cores_granted()))


def whole_cores() -> int:
    """Rounded down, at least one: threads that really run at the same time."""
    return max(1, math.floor(cores_granted()))


def cores_granted() -> float:
    """Cores, with fractions: the affinity mask, bounded by every quota that counts for this process."""
    return min([float(len(os.sched_getaffinity(0))), *quotas()])


def quotas(groups: Path = GROUPS, membership: Path = Path("/proc/self/cgroup")) -> list[float]:
    """Quotas in cores of this process's control group and those above it, as far as they are visible (cgroups(7)).

    In a container the group's own folder is usually the mount's root.
    """
    found = []
    for folder in _folders(groups, membership):
        try:
            quota, period = folder.joinpath("cpu.max").read_text().split()
            found.append(int(quota) / int(period))
        except (OSError, ValueError):  # no such controller here, or the quota is "max"
            continue
    return found


def _folders(groups: Path, membership: Path) -> list[Path]:
    """The mount's root, then the folders down to the group of version 2 that this process is in."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    parts = PurePosixPath(own).parts[1:]
    if ".." in parts:  # a group outside of this namespace
        parts = ()
    return [groups.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
