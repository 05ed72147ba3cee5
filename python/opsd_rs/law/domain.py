"""Whether a law holds where a gap was measured: its domain against the settings of the gap's row.

The law's domain is what the fitted runs shared. A setting that the row does not have must be assumed by name, and
one that differs must be forced: both then stand among the forecast's flags. How many samples measured the gap or the
validation (``k_gap``, ``k_val``) changes the error and not the quantity, so there a difference is a flag alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsd_rs.errors import BadInput, near
from opsd_rs.law.rows import DOMAIN, LawRow, plain_value

SAMPLES = ("k_gap", "k_val")


def parse_assumptions(words: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as domain keys.

    :raises BadInput: no ``=``, or a key that no domain has

    >>> parse_assumptions(["horizon_steps=24"])
    {'horizon_steps': '24'}
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise BadInput(f"--assume {word}: write KEY=VALUE, as in horizon_steps=50")
        if key not in DOMAIN:
            raise BadInput(
                f"--assume {word}: {key} is no key of a domain{near(key, DOMAIN)}; they are {', '.join(DOMAIN)}"
            )
        found[key] = plain_value(value)
    return found


def domain_flags(
    fitted: Mapping[str, object],
    rows: Sequence[LawRow],
    where: str,
    *,
    assumed: Mapping[str, str],
    force: bool = False,
    assume: str = "--assume KEY=VALUE",
    override: str = "--force",
) -> list[str]:
    """``assumed:KEY``, ``domain:KEY``, or ``domain_unknown``; nothing where the rows are of the law's domain.

    :param where: the table and rows, for messages
    :param assume: what a message advises for a setting that is not there
    :param override: what a message advises for one that differs
    :raises BadInput: a key that the rows lack and nobody assumed, or one that differs and is not forced
    """
    law = {key: plain_value(value) for key, value in fitted.items() if value not in (None, "")}
    if not law:
        return ["domain_unknown"]
    lacking = [key for key in law if key not in assumed and any(key not in row.domain for row in rows)]
    if lacking:
        said = ", ".join(f"{key} = {law[key]}" for key in lacking)
        raise BadInput(
            f"{where}: the law holds at {said}; the table does not say {'this' if len(lacking) == 1 else 'these'}: add "
            f"the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}, or {assume}"
        )
    found = {
        key: [str(row.domain[key] if key in row.domain else assumed[key]) for row in rows] for key in law
    }
    other = {
        key: next(value for value in values if value != law[key])
        for key, values in found.items()
        if set(values) != {law[key]}
    }
    if not force and any(key not in SAMPLES for key in other):
        said = "; ".join(f"{key} = {value}, the law's is {law[key]}" for key, value in other.items())
        raise BadInput(
            f"{where}: outside of the law's domain: {said}; fit runs of this setting, or {override}"
        )
    used = [key for key in law if key in assumed and any(key not in row.domain for row in rows)]
    return [*(f"assumed:{key}" for key in used), *(f"domain:{key}" for key in other)]
