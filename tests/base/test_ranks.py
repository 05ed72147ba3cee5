"""Shares and gathers between real processes, and alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from opsd_rs.base import Ranks

RANK = """
import sys, numpy as np, torch.distributed as dist
from opsd_rs.base import Ranks
rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
ranks = Ranks(rank, 2)
items = [np.arange(i) for i in range(5)]
everyone = ranks.gather([item * 10 for item in ranks.share(items)])
assert [list(item) for item in everyone] == [[j * 10 for j in range(i)] for i in range(5)]
assert everyone[4].dtype == items[4].dtype
assert ranks.broadcast({"of": rank}) == {"of": 0}
assert ranks.any(rank == 1) and not ranks.any(False)
ranks.barrier()
dist.destroy_process_group()
"""


def test_two_ranks_share_gather_and_broadcast(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said


def test_one_rank_needs_no_peers() -> None:
    ranks = Ranks()
    assert ranks.first
    assert ranks.share(["a", "b"]) == ["a", "b"]
    assert [list(row) for row in ranks.gather([np.arange(2)])] == [[0, 1]]
    assert ranks.broadcast("x") == "x"
    assert not ranks.any(False)
    ranks.barrier()
