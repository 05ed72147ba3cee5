"""Who teaches a run: whether it keeps a self-teacher, the external one and what is checked of it before the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.loss import make_objective
from opsd_rs.model import (
    check_model_files,
    check_same_tokenizer,
    facts,
    local_folder,
    num_parameters,
    resolve,
)
from opsd_rs.policy import ExternalTeacher, Student
from opsd_rs.records import Grade, Problem, Rollout, TeacherContext
from opsd_rs.training.prepare import Prepared

if TYPE_CHECKING:
    from opsd_rs.training.session import Session


def keeps_teacher(config: Config) -> bool:
    """Whether the run holds the self-teacher's weights: its objective asks it, or validation does."""
    return "teacher" in make_objective(config).needs or config.eval.teacher


def read_by_teacher(
    session: Session,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    problems: Mapping[str, Problem],
    step: int,
    *,
    taught: bool,
) -> list[TeacherContext]:
    """What the self-teacher reads before each rollout, in order."""
    if not taught:
        return without_contexts(rollouts)
    return session.contexts(session.assembler, rollouts, grades, problems, step)


def without_contexts(rollouts: Sequence[Rollout]) -> list[TeacherContext]:
    """What a run writes of its rollouts where no self-teacher reads them: no context, nothing assembled."""
    return [TeacherContext(r.problem_id, r.sample, status="bare", has_context=False) for r in rollouts]


def external_folder(config: Config) -> str | None:
    """The folder of the external teacher; None where the objective asks none."""
    if "external_teacher" not in make_objective(config).needs:
        return None
    if config.opd.teacher is None:
        raise BadInput("opd.teacher: the objective needs one: a Hugging Face folder or hub name")
    with _as_teacher():
        return local_folder(resolve(config.opd.teacher))


@contextmanager
def _as_teacher() -> Iterator[None]:
    """What is said of a model folder in the block names the key that named it, not the student's."""
    try:
        yield
    except BadInput as error:
        raise BadInput(str(error).replace("model.path", "opd.teacher", 1)) from error


def external_parameters(config: Config) -> int:
    """Parameters of the external teacher; 0 without one."""
    folder = external_folder(config)
    with _as_teacher():
        return 0 if folder is None else num_parameters(folder)


def check_external(config: Config, prepared: Prepared) -> str:
    """What was found of the external teacher, for ``--check``.

    :raises BadInput: files that are damaged, another tokenizer, or fewer positions than the rows may take
    """
    folder = external_folder(config)
    if folder is None:
        return "none is needed"
    key = f"opd.teacher = {config.opd.teacher}"
    with _as_teacher():
        check_model_files(Path(folder))
    check_same_tokenizer(key, folder, prepared.model_dir)
    kept = [n for name, n in prepared.prompt_tokens.items() if name not in prepared.left_out]
    longest, of_student = facts(folder).max_tokens, facts(prepared.model_dir).max_tokens
    wanted = max(kept) + config.rollout.max_tokens
    wanted = wanted if of_student is None else min(wanted, of_student)
    if longest is not None and longest < wanted:
        raise BadInput(
            f"{key}: the model has {longest} positions, and prompt and answer may take {wanted}; lower"
            " rollout.max_tokens or rollout.max_prompt_tokens"
        )
    return f"{config.opd.teacher}: {num_parameters(folder) / 1e9:.2f} B parameters, the student's tokenizer"


def load_external(config: Config, student: Student) -> ExternalTeacher | None:
    """The external teacher beside ``student``, on its device; None where the objective asks none."""
    folder = external_folder(config)
    if folder is None:
        return None
    with _as_teacher():
        return ExternalTeacher(folder, config.model.dtype, student.device, packed=student.packed)
