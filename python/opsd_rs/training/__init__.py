"""Training: the algorithm box, and what it opens, records, saves and resumes."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.training.gaps import measure_from_config
    from opsd_rs.training.loop import train
    from opsd_rs.training.plan import Plan, plan_run
    from opsd_rs.training.recipe import recipe_columns, run_settings
    from opsd_rs.training.screen import Limits, screen_from_config
    from opsd_rs.training.session import Session, open_session
    from opsd_rs.training.validate import evaluate_from_config

__all__ = [
    "Limits", "Plan", "Session", "evaluate_from_config", "measure_from_config", "open_session", "plan_run",
    "recipe_columns", "run_settings", "screen_from_config", "train"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "gaps": "measure_from_config", "loop": "train", "plan": "Plan plan_run",
    "recipe": "recipe_columns run_settings", "screen": "Limits screen_from_config", "session": "Session open_session",
    "validate": "evaluate_from_config"})  # fmt: skip
