"""Cores: the quota of the process's own control group counts, and so do those above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from opsd_rs.base import cores, usable_cores
from opsd_rs.base.cores import whole_cores


def groups(root: Path, quotas: dict[str, str]) -> Path:
    for group, text in quotas.items():
        folder = root / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("0::/\n", [4.0]),
        ("0::/pod\n", [4.0]),  # the pod itself has no limit
        ("12:cpu:/old\n0::/pod/job\n", [4.0, 1.5]),
        ("0::/pod/job/inner\n", [4.0, 1.5]),
        ("0::/../elsewhere\n", [4.0]),
        ("12:cpu:/old\n", [4.0]),
    ],
)
def test_quotas_on_the_way_down(tmp_path: Path, own: str, found: list[float]) -> None:
    root = groups(
        tmp_path / "cgroup", {"": "400000 100000\n", "pod": "max 100000\n", "pod/job": "150000 100000\n"}
    )
    (tmp_path / "self").write_text(own)
    assert cores.quotas(root, tmp_path / "self") == found


def test_a_machine_without_groups_has_no_quota(tmp_path: Path) -> None:
    assert cores.quotas(tmp_path / "none", tmp_path / "nobody") == []


def test_programs_round_up_and_threads_round_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, up, down in ((1.5, 2, 1), (0.25, 1, 1), (3.0, 3, 3), (20.0, 8, 8)):
        monkeypatch.setattr(cores, "quotas", lambda quota=quota: [quota])
        assert (usable_cores(), whole_cores()) == (up, down)
