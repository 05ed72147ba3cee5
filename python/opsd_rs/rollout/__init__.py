"""The sampler: prompt ids in, completion ids with log-probabilities out; Hugging Face's loop or vLLM."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.rollout.engine import Completion, Request, Sampling
    from opsd_rs.rollout.hf import HFEngine
    from opsd_rs.rollout.sampler import Sampler
    from opsd_rs.rollout.start import check_engine, make_engine
    from opsd_rs.rollout.weights.probe import TOLERANCE, verify_against

__all__ = [
    "TOLERANCE", "Completion", "HFEngine", "Request", "Sampler", "Sampling", "check_engine", "make_engine",
    "verify_against"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "engine": "Completion Request Sampling", "hf": "HFEngine", "sampler": "Sampler",
    "start": "check_engine make_engine", "weights.probe": "TOLERANCE verify_against"})  # fmt: skip
