"""Student and self-teacher: the engine that trains, the average that follows, and the language model under both."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.policy.attention import LONG_ROW
    from opsd_rs.policy.external import ExternalTeacher
    from opsd_rs.policy.head import HeadParts
    from opsd_rs.policy.inputs import ModelInputs, model_inputs
    from opsd_rs.policy.lm import CompletionModel, initial_weights, load_model
    from opsd_rs.policy.process_group import check_launcher, device_of_rank, join_ranks, leave_ranks
    from opsd_rs.policy.student import Student
    from opsd_rs.policy.teacher import Teacher, make_teacher

__all__ = [
    "LONG_ROW", "CompletionModel", "ExternalTeacher", "HeadParts", "ModelInputs", "Student", "Teacher",
    "check_launcher", "device_of_rank", "initial_weights", "join_ranks", "leave_ranks", "load_model", "make_teacher",
    "model_inputs"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "attention": "LONG_ROW", "external": "ExternalTeacher", "head": "HeadParts",
    "inputs": "ModelInputs model_inputs", "lm": "CompletionModel initial_weights load_model",
    "process_group": "check_launcher device_of_rank join_ranks leave_ranks", "student": "Student",
    "teacher": "Teacher make_teacher"})  # fmt: skip
