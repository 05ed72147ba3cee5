"""On-policy self-distillation, as the paper's algorithm box (arXiv 2605.30070): measure the gap, then train.

``train`` holds the order of things: sample, grade, assemble, distil, follow, sync, validate, save. The mathematics of
a step is in ``update``, what the teacher reads in ``context``, what a run needs in ``session``.

Everything a step draws depends on (seed, step) alone, so a run that was killed continues from its last checkpoint as
if nothing had happened: the same ``metrics.jsonl`` but for ``seconds``, the same weights to the bit on CPU.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from opsd_rs.base import stop_signals
from opsd_rs.config import Config
from opsd_rs.loss import make_objective
from opsd_rs.policy import Student, make_teacher
from opsd_rs.training.deterministic import deterministic
from opsd_rs.training.early import ends_early
from opsd_rs.training.folder import begin, run_folder, save_if_due
from opsd_rs.training.gaps import measure_gap
from opsd_rs.training.loggers.base import open_loggers
from opsd_rs.training.prepare import dated
from opsd_rs.training.record import finish, record_step
from opsd_rs.training.session import open_session
from opsd_rs.training.start import check_start
from opsd_rs.training.stopping import between_updates, stop_if, stops
from opsd_rs.training.sync import sync
from opsd_rs.training.teachers import keeps_teacher, load_external, read_by_teacher
from opsd_rs.training.token_budget import set_token_budget
from opsd_rs.training.token_kl import TokenKl
from opsd_rs.training.update import distill, pack_rollouts
from opsd_rs.training.validate import validate_if_due


def train(config: Config, *, resume: Path | None = None) -> Path:
    """Train ``config`` (or continue in the folder ``resume``); returns the run folder.

    Raises BadInput before any work on bad input, Stopped when the run ended early and can be resumed, DiskFull where
    the disk is full; it can be resumed then, too.

    :param resume: the folder of a run, whose configuration ``config`` is but for keys that a resumed run may change
    """
    config = dated(config) if resume is None else config
    objective = make_objective(config)
    taught = "teacher" in objective.needs
    with (
        stop_signals() as stop,
        run_folder(config, resume) as run_dir,
        deterministic(on=config.train.deterministic),
        open_session(config, run_dir, stop, check=partial(check_start, config, run_dir, resume)) as session,
        open_loggers(session) as loggers,
    ):
        student = Student(config, session.model_dir, session.device)
        teacher = make_teacher(config, student, kept=keeps_teacher(config))
        external = load_external(config, student)
        state = begin(session, student, teacher, loggers)
        set_token_budget(session, student)
        with stops(session, student, teacher, state):
            sync(session, student, state.step)
            if state.step == 0 and (taught or config.gap.from_ is not None):
                measure_gap(session, [config.context])
            for step in range(state.step, config.train.num_steps):
                validate_if_due(session, student, teacher, step)
                if ends_early(session, student, teacher, step):
                    break
                # ---- the algorithm box ----------------------------------------------------------------------
                problems = session.draw(step)
                requests = session.sample_requests(problems, config.rollout.n)
                rollouts = session.sample(requests, session.train_sampling(), purpose="train", step=step)
                seen = {problem.problem_id: problem for problem in problems}
                grades = session.grade(rollouts, seen, step=step)
                contexts = read_by_teacher(session, rollouts, grades, seen, step, taught=taught)
                stop_if(session)
                with state.update():
                    with session.progress.phase("update", step) as tick:
                        rows = pack_rollouts(rollouts, grades, contexts)
                        tick = between_updates(session, state, tick)
                        kl = TokenKl() if config.log.token_kl else None
                        numbers = distill(
                            student, teacher, objective, rows, config, session.ranks, tick, kl, external
                        )
                    with session.progress.phase("follow", step):
                        teacher.follow(student.fp32_parts())
                    record_step(session, loggers, student, step, rollouts, grades, contexts, numbers, kl)
                # -----------------------------------------------------------------------------------------------
                save_if_due(session, student, teacher, state.step)
                sync(session, student, state.step)
                stop_if(session)
            validate_if_due(session, student, teacher, state.step)
        finish(session, student, state.step)
    return run_dir
