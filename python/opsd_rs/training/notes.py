"""What the model writes for its teacher during a run: asked of the sampler once, kept in the run folder.

In: rollouts with their grades, under a context that has notes. Out: the notes, from ``RUN/notes/`` or freshly sampled
by the weights that ``notes.generator`` names. What is asked, and who reads it, is ``context.notes``'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opsd_rs.config import ContextConfig
from opsd_rs.context import Assembler, Memory, NoteCache, NoteRequest, Notes, note_key
from opsd_rs.model import weights_id
from opsd_rs.policy import initial_weights
from opsd_rs.records import Grade, Problem, Rollout, SampleRequest
from opsd_rs.rollout import Sampling

if TYPE_CHECKING:
    from opsd_rs.training.session import Session


def write_notes(
    session: Session,
    assembler: Assembler,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    problems: Mapping[str, Problem],
    step: int,
    *,
    remember: bool = True,
    group: int = 0,
    seed: int | None = None,
) -> Notes | None:
    """The notes about these rollouts; None where the context has none.

    :param remember: experience joins the run's memory, and older experience is read too
    :param group: of several that are drawn at the same step; each gets texts of its own
    :param seed: of the texts' draws; by default the run's
    """
    context, cache = assembler.context, NoteCache(session.run_dir)
    if context.notes.kind == "none":
        return None
    remember = remember and context.notes.kind == "experience"
    # The first rank alone writes, so another one could read too early.
    known = session.ranks.broadcast(
        cache.remembered(context.name, step) if remember and session.ranks.first else {}
    )
    memory = Memory(known)
    requests = assembler.note_requests(rollouts, grades, problems, memory)
    seed = session.config.seed if seed is None else seed
    texts = _texts(session, requests, context, step, group, seed)
    notes = assembler.notes_from(requests, texts, rollouts, grades, problems, memory)
    if notes is not None and context.notes.merge_prompt:
        merges = assembler.merge_requests(notes)
        texts = _texts(session, merges, context, step, group, seed, merging=True)
        notes = assembler.merged_from(notes, merges, texts, rollouts, grades, problems)
    if remember and notes is not None and session.ranks.first:
        cache.remember(context.name, step, notes.learned)
    return notes


def _texts(
    session: Session,
    requests: Sequence[NoteRequest],
    context: ContextConfig,
    step: int,
    group: int,
    seed: int,
    *,
    merging: bool = False,
) -> list[str]:
    """The texts of ``requests``, in order; those that the run folder does not hold are sampled and kept."""
    settings, cache, config = context.notes, NoteCache(session.run_dir), session.config
    max_tokens = settings.merge_tokens if merging else settings.max_tokens
    initial = settings.generator == "initial"
    keys = [
        note_key(
            prompt_ids=request.prompt_ids,
            decoding=[settings.temperature, max_tokens],
            seed=[seed, request.problem_id, request.sample, group],
            weights=[weights_id(session.model_dir), config.model.dtype, 0 if initial else step],
        )
        for request in requests
    ]
    known = session.ranks.broadcast(cache.texts(context.name, step) if session.ranks.first else {})
    new = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
    if new:
        if initial and step > 0:
            # Nothing else samples before the end of the step, which loads the student again.
            engine = session.sampler.engine
            engine.load(initial_weights(session.model_dir, config.model.dtype), engine.version + 1)
        answers = session.sample(
            [SampleRequest(r.problem_id, r.sample, r.prompt_ids) for r in new.values()],
            Sampling(settings.temperature, 1.0, max_tokens, tuple(session.assembler.eos_ids)),
            purpose=f"{'merge' if merging else 'notes'}-{context.name}" + (f"-{group}" if group else ""),
            step=step,
            phase="notes",
            seed=seed,
        )
        lines = [
            {
                "key": key,
                "step": step,
                "problem_id": answer.problem_id,
                "sample": answer.sample,
                "kind": "merge" if merging else settings.kind,
                "truncated": answer.truncated,
                "text": answer.text,
            }
            for key, answer in zip(new, answers, strict=True)
        ]
        if session.ranks.first:
            cache.add(context.name, step, lines)
        known = known | {key: answer.text for key, answer in zip(new, answers, strict=True)}
    return [known[key] for key in keys]
