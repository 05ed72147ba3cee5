"""How a context looks, the same in every figure: Okabe and Ito's colours, which the colour-blind can tell apart, each
with a marker, for print. The control is grey and hollow.

No library is loaded here; ``canvas`` draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SKY, ORANGE, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#56b4e9", "#e69f00", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#7f7f7f",
)  # fmt: skip
INK, MUTED, RULE, GRID, PAPER = "#1c2126", "#5b6570", "#9aa3ad", "#e3e7eb", "#ffffff"
"""Text and lines, lesser text, reference lines, grids, the ground."""
STUDENT, TEACHER = BLUE, VERMILION


class Look(NamedTuple):
    """Colour, marker, and whether the marker is hollow."""

    colour: str
    marker: str
    hollow: bool = False


LOOKS = {
    "none": Look(GREY, "o", hollow=True),
    "expert_preamble": Look(SKY, "s"),
    "feedback": Look(ORANGE, "^"),
    "llm_peer_hints": Look(GREEN, "D"),
    "own_solution_feedback": Look(BLUE, "v"),
    "peer_solution_feedback": Look(VERMILION, "P"),
    # Beyond the paper's six: a colour comes a second time with another marker.
    "wrong_problem_solution": Look(PURPLE, "X"),
    "corrupted_solution": Look(SKY, "p"),
    "reference_free": Look(GREEN, "h"),
    "sdpo": Look(ORANGE, "*"),
    "opsd": Look(BLUE, "<"),
    "sdft": Look(VERMILION, ">"),
    "erl": Look(PURPLE, "d"),
    "rltf_sd": Look(SKY, "<"),
    "oel": Look(GREEN, ">"),
    "few_shot": Look(ORANGE, "p"),
    "concise": Look(BLUE, "h"),
}
LABELS = {
    "none": "none (control)",
    "expert_preamble": "expert preamble",
    "feedback": "feedback",
    "llm_peer_hints": "LLM peer hints",
    "own_solution_feedback": "own solution + feedback",
    "peer_solution_feedback": "peer solution + feedback",
    "wrong_problem_solution": "wrong problem's solution",
    "corrupted_solution": "corrupted solution",
    "reference_free": "reference-free",
}
SPARE = tuple(
    Look(colour, marker)
    for marker in ("8", "H", "^", "s", "D", "v", "P")
    for colour in (PURPLE, GREEN, ORANGE, SKY, BLUE, VERMILION)
    if Look(colour, marker) not in LOOKS.values()
)
"""For contexts of a user's own, in the order of their names."""


def context_looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each context, those of the paper first.

    >>> list(context_looks(["mine", "feedback", "none"]))
    ['none', 'feedback', 'mine']
    """
    found = set(names)
    own = sorted(found - LOOKS.keys())
    spare = {name: SPARE[place % len(SPARE)] for place, name in enumerate(own)}
    return {name: look for name, look in LOOKS.items() if name in found} | spare


def context_label(name: str) -> str:
    """A context's name for a legend.

    >>> context_label("llm_peer_hints"), context_label("my_notes")
    ('LLM peer hints', 'my notes')
    """
    return LABELS.get(name) or shortened(name.replace("_", " ").strip() or name)


def shortened(text: str) -> str:
    """A text that fits into a figure.

    >>> shortened("a" * 50)[-3:], len(shortened("a" * 50))
    ('aa…', 40)
    """
    return text if len(text) <= 40 else f"{text[:39]}…"
