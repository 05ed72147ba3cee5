"""Run by torchrun: on several ranks the teacher's weights go in and out of the student's as on one.

``swap_on_ranks.py MODEL FOLDER`` prints the number of combinations that held; any other end is a failure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from engines import pair, release
from opsd_rs.base import Ranks
from opsd_rs.policy import host, leave_ranks
from opsd_rs.training import checkpoint
from swap_cases import BATCHES, CASES, accumulate, config_of, equal, update, weights_of


def check(model_dir: str, folder: Path, case: tuple[int, str, str], offload: bool) -> None:
    """One combination: in and out between micro-batches, after a step, and after a checkpoint."""
    config = config_of(*case, optim=offload, teacher=offload)
    student, teacher = pair(config, model_dir)
    undisturbed, _ = pair(config_of(*case), model_dir)
    ranks = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def swapped() -> None:
        before = weights_of(student)
        with teacher.loaded():
            inside = {name: tensor.clone() for name, tensor in student._weights()}
        assert equal(weights_of(student), before)
        assert equal(inside, weights_of(teacher))
        head = teacher.head_weight
        assert head is not None
        assert torch.equal(head, inside.get("lm_head.weight", inside["model.embed_tokens.weight"]))

    for _ in range(2):
        update(student, between=swapped)
        update(undisturbed)
        swapped()
        teacher.follow(student.fp32_parts())
    assert equal(weights_of(student), weights_of(undisturbed))
    assert not equal(weights_of(student), weights_of(teacher))
    whole = dict(teacher.whole())
    for name, tensor in teacher.weights():
        assert torch.equal(tensor, whole[name].to(tensor.dtype))

    checkpoint.save_state(folder, 2, student, teacher, ranks, keep=1)
    again, its_teacher = pair(config, model_dir)
    assert checkpoint.restore_newest(folder, again, its_teacher, ranks, print) == 2
    assert equal(weights_of(again), weights_of(student))
    assert equal(weights_of(its_teacher), weights_of(teacher))
    accumulate(again, between=lambda: its_teacher.logits(BATCHES[0]))
    again.step()
    update(undisturbed)
    assert equal(weights_of(again), weights_of(undisturbed))
    release()


def main(model_dir: str, folder: Path) -> None:
    """All combinations on the device, and each of DeepSpeed's classes with everything in host memory."""
    host.CHUNK = 10_007
    count = 0
    for case, offload in [*((case, False) for case in CASES), *((CASES[i], True) for i in (1, 5, 8))]:
        check(model_dir, folder / f"{count}", case, offload)
        count += 1
    if torch.distributed.get_rank() == 0:
        print(f"combinations that held: {count}")
    leave_ranks()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
