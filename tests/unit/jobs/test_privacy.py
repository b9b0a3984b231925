"""Masking the values of sensitive arguments."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.jobs.privacy import MASK, Veil, hidden_places, masked, values_at

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=20)


def call(user: str, password: str, *rest: str, token: str = "", **more: str) -> None: ...


def test_places_are_found_by_name_and_position() -> None:
    assert hidden_places(call, ["password"], skip_first=False) == ("password", "1")
    assert hidden_places(call, ["password"], skip_first=True) == ("password", "0")
    assert hidden_places(call, ["token", "rest"], skip_first=False) == ("token", "rest", "2+")
    assert hidden_places(call, ["more"], skip_first=False) == ("more", "**")
    assert hidden_places(call, ["other"], skip_first=False) == ("other",)


def test_masked_arguments_keep_their_shape() -> None:
    assert masked((1, 2, 3), {"a": 1, "b": 2}, ["1", "b"]) == ([1, MASK, 3], {"a": 1, "b": MASK})
    assert masked((1, 2, 3), {}, ["1+"]) == ([1, MASK, MASK], {})
    assert masked((1,), {"a": 1}, ["**"]) == ([1], {"a": MASK})
    assert values_at((1, 2), {"a": 3}, ["1", "a"]) == [2, 3]


@given(TEXTS, st.text(max_size=20), st.text(max_size=20))
def test_a_value_is_in_no_text(secret: str, before: str, after: str) -> None:
    veil = Veil([secret])
    for form in (secret, repr(secret), json.dumps(secret)):
        shown = veil.text(f"{before}{form}{after}".replace(MASK, ""))
        assert secret not in shown.replace(MASK, "\0") or secret in MASK


@given(st.recursive(TEXTS | st.integers(1000), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_parts_of_a_value_are_masked_too(value: Any) -> None:
    shown = Veil([value]).text(str(value))
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, list | tuple):
            parts += part
        elif isinstance(part, int):
            assert str(part) not in shown


def test_a_short_value_is_masked_as_a_word() -> None:
    assert Veil([7]).text("line 7 of 17, 7.") == "line *** of 17, ***."
    assert Veil(["ab"]).text("ab cabs") == "*** cabs"


def test_nothing_is_not_masked() -> None:
    assert Veil([None, "", True, []]).text("None, True, []") == "None, True, []"


def test_json_is_masked_deeply() -> None:
    veil = Veil(["secret", 4711])
    assert veil.json({"a": ["my secret", 4711, 5, None, True]}) == {
        "a": [f"my {MASK}", MASK, 5, None, True]
    }
