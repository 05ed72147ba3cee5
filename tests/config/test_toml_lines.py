"""The line on which each key of a TOML file was set: every way of writing keys, and files made by chance."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.config.toml_lines import key_lines


def test_lines_of_every_form_of_key() -> None:
    text = '''# head
a = "x # y" # z
b.c = """
[not.a.header]
d = 1
""" # closes
e = [
  1, # two = 2
  "]",
]

[ f . "g h" ] # table
'i' = {j = 1, k = {l = 2}}
[[m]]
n = 'o'
p = 1979-05-27
'''
    lines = {".".join(path): line for path, line in key_lines(text).items()}
    assert lines == {
        "a": 2, "b": 3, "b.c": 3, "e": 7, "f": 12, "f.g h": 12, "f.g h.i": 13, "m": 14, "m.n": 15, "m.p": 16,
    }  # fmt: skip
    tomllib.loads(text)  # it is TOML


NAMES = st.text(st.sampled_from("abc-_19"), min_size=1, max_size=4)
VALUES = st.one_of(
    st.integers(),
    st.booleans(),
    st.text(st.sampled_from("ab#\"'[]{}=\n\\ \t"), max_size=12),
    st.lists(st.integers()),
)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4), st.booleans())
def test_lines_agree_with_where_keys_were_written(tables: dict[str, dict[str, Any]], spaced: bool) -> None:
    written: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table, values in tables.items():
        written.append(f"[{table}]")
        expected[table,] = len(written)
        for name, value in values.items():
            text = json.dumps(value).replace("\\n", "\\u000A")
            if (
                spaced
                and isinstance(value, str)
                and '"' not in value
                and "\\" not in value
                and "'" not in value
            ):
                text = f"'''\n{value}'''"
            expected[table, name] = len(written) + 1
            written.extend(f"{name} = {text} # = [".split("\n"))
    text = "\n".join(written)
    assert tomllib.loads(text).keys() == tables.keys()
    assert key_lines(text) == expected
