"""A run's end before its last step, by ``law.stop``: decided from ``eval.parquet`` and the forecast alone.

So a run that was killed and resumed ends where it would have ended, and one that has ended ends again at the same
step. What the rules are is ``law.curve``'s matter.
"""

from __future__ import annotations

from opsd_rs.base import read_table
from opsd_rs.law import Stop, StopTerms, find_stop, looks_of, prior_of
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint
from opsd_rs.training.folder import save_checkpoint
from opsd_rs.training.forecast import own_forecast
from opsd_rs.training.session import Session


def ends_early(session: Session, student: Student, teacher: Teacher, step: int) -> bool:
    """Whether the run ends before ``step``, its checkpoint then saved and the reason said. All ranks call it.

    With ``law.file`` the run's forecast is made and said at the first call.
    """
    law = session.config.law
    if law.file is None:
        return False
    forecast = own_forecast(session)
    if law.stop == "off" or step == 0:
        return False
    stop: Stop | None = None
    if session.ranks.first:
        looks = [look for look in looks_of(read_table(session.run_dir / "eval.parquet")) if look.step <= step]
        terms = StopTerms(law.worthwhile, law.further_gain, law.confidence)
        found = find_stop(law.stop, looks, prior_of(forecast), session.config.train.num_steps, terms)
        # A step that was not validated has no accuracy to end with.
        stop = found if looks and looks[-1].step == step else None
    stop = session.ranks.broadcast(stop)
    if stop is None:
        return False
    session.progress.say(f"step {step}: the run ends here by law.stop = {stop.rule}: {stop.reason}")
    if not checkpoint.is_saved(session.run_dir, step):
        save_checkpoint(session, student, teacher, step)
    return True
