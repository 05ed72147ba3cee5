"""A launcher's variables: all of them, or none that means anything."""

from __future__ import annotations

import pytest
from opsd_rs.errors import BadInput
from opsd_rs.policy import check_launcher
from opsd_rs.policy.process_group import LAUNCHER

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def test_a_whole_set_is_a_launcher_and_nothing_is_one_process() -> None:
    assert set(WHOLE) == set(LAUNCHER)
    assert check_launcher(WHOLE)
    assert not check_launcher({})
    assert not check_launcher({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}), "harmless left-overs"
    assert not check_launcher({"RANK": "0", "WORLD_SIZE": "1"})


@pytest.mark.parametrize("missing", ["LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_part_of_a_set_is_named_with_what_is_missing(missing: str) -> None:
    environ = {name: value for name, value in WHOLE.items() if name != missing}
    with pytest.raises(BadInput, match=rf"WORLD_SIZE=2.* but not {missing}.*unset RANK"):
        check_launcher(environ)


def test_a_left_over_world_size_is_named() -> None:
    with pytest.raises(BadInput, match="the environment has WORLD_SIZE=8 but not RANK"):
        check_launcher({"WORLD_SIZE": "8"})
