"""The envelope on the wire: Dramatiq's own, with typed values inside."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import dramatiq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs import codec
from cifra_jobs.errors import ConfigError, DecodeError, EncodeError
from cifra_jobs.jobs.message import decode, encode, sent_on

LIMIT = 1_000_000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=6,
)


def message(*args: Any, **kwargs: Any) -> dramatiq.Message[Any]:
    return dramatiq.Message("queue", "actor", args, kwargs, {"retries": 1})


@given(JSON, JSON)
def test_either_side_may_be_dramatiq(one: Any, two: Any) -> None:
    ours = message(one, name=two)
    assert dramatiq.Message.decode(encode(ours)) == ours
    back = decode(ours.encode(), None, limit=LIMIT)
    assert (back.args, back.kwargs, back.options) == (ours.args, ours.kwargs, ours.options)
    assert (back.message_id, back.message_timestamp) == (ours.message_id, ours.message_timestamp)


def test_typed_values_come_back() -> None:
    ours = message(UUID(int=1), when=(1, {2}))
    assert decode(encode(ours), None, limit=LIMIT) == ours


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        (message(1, object()), "argument 2"),
        (message(name=object()), "argument 'name'"),
        (dramatiq.Message("q", "actor", (), {}, {"link": object()}), "option 'link'"),
        (message("\ud800"), "argument 1"),
    ],
)
def test_what_cannot_travel_is_named(bad: dramatiq.Message[Any], place: str) -> None:
    with pytest.raises(EncodeError, match=f"actor.*{place}"):
        encode(bad)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body, None, limit=LIMIT)


FIELDS: dict[str, Any] = json.loads(message(1).encode())


@given(st.sampled_from(sorted(FIELDS)), JSON)
def test_a_wrong_field_is_refused_or_harmless(name: str, value: Any) -> None:
    try:
        got = decode(json.dumps({**FIELDS, name: value}).encode(), None, limit=LIMIT)
    except DecodeError:
        return
    assert isinstance(got.actor_name, str)
    assert isinstance(got.options, dict)


def test_a_missing_field_is_refused() -> None:
    for name in FIELDS:
        rest = {key: value for key, value in FIELDS.items() if key != name}
        with pytest.raises(DecodeError, match="not a Dramatiq message"):
            decode(json.dumps(rest).encode(), None, limit=LIMIT)


def test_a_body_over_the_limit_is_refused() -> None:
    body = message("x" * 2_000).encode()
    for data, encoding in ((body, None), (codec.compress(body), codec.DEFLATE)):
        with pytest.raises(DecodeError, match="1000"):
            decode(data, encoding, limit=1_000)
    assert decode(codec.compress(body), codec.DEFLATE, limit=LIMIT).args == ("x" * 2_000,)


def test_a_message_sent_on_counts_its_rounds() -> None:
    first = message(1)
    second = sent_on(first, eta=5, retries=2)
    third = sent_on(second, eta=None)
    assert (second.options["round"], third.options["round"]) == (1, 2)
    assert second.options["eta"] == 5
    assert "eta" not in third.options
    assert third.message_id == first.message_id
    assert "round" not in first.options


def test_pickle_is_refused() -> None:
    from dramatiq.encoder import PickleEncoder

    before = dramatiq.get_encoder()
    dramatiq.set_encoder(PickleEncoder())
    try:
        with pytest.raises(ConfigError, match="pickle"):
            encode(message(1))
        with pytest.raises(ConfigError, match="pickle"):
            decode(b"x", None, limit=LIMIT)
    finally:
        dramatiq.set_encoder(before)
