"""The Rust comparisons against plain Python twins: the official rule for outputs, ``==`` for results."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import comparator_twin as twin
from hypothesis import example, given
from hypothesis import strategies as st
from opsd_rs._core import extract_code, same_output, same_value

SPACES = " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2028\u3000\u200b\ufeff"
PIECES = st.sampled_from(
    [*SPACES, *"0123456789", "+", "-", ".", "e", "E", "_", "inf", "Infinity", "NaN", "sNaN", "a", "é", "٣", "1", "1.0",
     "10", "1e1", "00", "0.3", "0.3000001", "A", "É", "ß", "Σ", "ς", "İ", "1e400", "1e999999999999999999",
     "1e-1999999999999999997", "99999999999999999999"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=12).map("".join)


RULES = ["official", "exact", "tokens", "tokens_ci", "float"]


@given(TEXTS, TEXTS, st.sampled_from(RULES))
@example("1_0", "10", "float")
@example("0.3000001 inf", "0.3 Infinity", "float")
@example("1e400", "1e500", "float")
@example("\u03a3 \u0130", "\u03c3 i\u0307", "tokens_ci")
def test_outputs_by_every_rule(actual: str, expected: str, rule: str) -> None:
    assert same_output(actual.encode(), expected.encode(), rule) is twin.same_output(actual, expected, rule)


@given(TEXTS, TEXTS)
@example("1_0", "10")
@example("1e1000000000000000000", "1e1000000000000000000 ")
@example("0e1000000000000000000", "0")
@example("0e-1999999999999999998", "0")
@example("1e-1999999999999999998", "1e-1999999999999999998 x")
@example("\u0663\uff13", "33")
@example("\U0001d7d8", "0")
def test_outputs(actual: str, expected: str) -> None:
    assert same_output(actual.encode(), expected.encode()) is twin.same_output(actual, expected, "official")


@given(st.text(), st.text(alphabet=SPACES))
def test_space_around_never_counts(text: str, space: str) -> None:
    text, space = (part.replace("\u200b", "").replace("\ufeff", "") for part in (text, space))
    assert same_output((space + text + space).encode(), text.encode())


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_in_another_spelling_are_equal(number: Decimal) -> None:
    assert same_output(f"{number:f}".encode(), str(number).encode())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.integers(-(2**70), 2**70).map(float),
    st.text(max_size=3),
    st.sampled_from([0, 1, -0.0, 2**53 + 1, float(2**53), "\ud800", "\x00"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


def reread(text: str) -> Any:
    """Decoded, each NaN an object of its own: containers compare identical objects as equal, unasked."""
    return json.loads(text, parse_constant=float)


@given(VALUES, VALUES, st.booleans())
def test_values(actual: Any, expected: Any, ascii_only: bool) -> None:
    left = json.dumps(actual, ensure_ascii=True)
    right = json.dumps(expected, ensure_ascii=True, indent=1 if ascii_only else None)
    assert same_value(left.encode(), right.encode()) is (reread(left) == reread(right))


@given(VALUES, VALUES, st.sampled_from(RULES))
@example([1.0000001, {"a": 10**400}], [1, {"a": 10**400}], "float")
@example(True, 1.0000001, "float")
def test_values_by_every_rule(actual: Any, expected: Any, rule: str) -> None:
    left, right = json.dumps(actual), json.dumps(expected)
    assert same_value(left.encode(), right.encode(), rule) is twin.same_value(
        reread(left), reread(right), rule
    )


@given(st.floats(allow_nan=False), st.floats(-2e-6, 2e-6))
def test_numbers_at_the_edge_of_the_tolerance(number: float, step: float) -> None:
    for moved in (number + step, number * (1 + step)):
        pair = repr(moved), repr(number)
        wanted = twin.same_output(*pair, "float")
        assert same_output(pair[0].encode(), pair[1].encode(), "float") is wanted
        assert same_value(json.dumps(moved).encode(), json.dumps(number).encode(), "float") is wanted


@given(VALUES)
def test_a_value_equals_itself_unless_it_holds_nan(value: Any) -> None:
    text = json.dumps(value)
    assert same_value(text.encode(), text.encode()) is (reread(text) == reread(text))


@given(st.text(alphabet='[]{}":,0123456789.eE+-tfn \\u\n', max_size=12))
@example("NaN")
@example("-Infinity")
@example("1.")
@example("01")
@example("[1,]")
def test_what_is_json_and_what_is_not(text: str) -> None:
    try:
        value = reread(text)
    except ValueError:
        assert not same_value(text.encode(), text.encode())
    else:
        assert same_value(text.encode(), text.encode()) is (value == reread(text))


EXTRACTIONS = [
    think + rule
    for think in ("", "after-think:")
    for rule in ("last", "first", "longest", "official", "official:GenericBase", "official:CodeLLaMaInstruct")
]


@given(st.text(alphabet="`~ab\n \r", max_size=40), st.sampled_from(EXTRACTIONS))
def test_extraction_takes_from_the_text_and_never_fails(text: str, rule: str) -> None:
    code = extract_code(text, rule)
    assert code is None or (code.strip() and set(code) <= set(text))
