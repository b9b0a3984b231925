"""Values to JSON and back, as the same types."""

from __future__ import annotations

import json
import math
import zlib
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs import codec
from cifra_jobs.errors import DecodeError, EncodeError
from tests.contract.modules.classes import Color, Frozen, Level, Order, Pair, Point, Word

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([Color.RED, Level.HIGH, Word.YES]),
    st.builds(Frozen, st.uuids()),
)
KEYS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.uuids())
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(st.just(codec.TAG), inner, min_size=1),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=12,
)
SETS = st.one_of(
    st.sets(st.one_of(st.integers(), st.text(st.characters(exclude_categories=["Cs"])))),
    st.frozensets(st.tuples(st.integers(), st.dates())),
)


def there_and_back(value: Any) -> Any:
    return codec.loads(codec.dumps(codec.pack(value)))


def types_of(value: Any) -> Any:
    """The types of a value and of all that is in it."""
    if isinstance(value, dict):
        return (type(value), [(types_of(k), types_of(v)) for k, v in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [types_of(item) for item in value])
    return type(value)


@given(VALUES)
def test_a_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert types_of(back) == types_of(value)


@given(SETS)
def test_a_set_comes_back(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_keeps_its_zone_and_which_of_two_it_is(moment: datetime) -> None:
    back = there_and_back(moment)
    assert (str(back.tzinfo), back.utcoffset()) == (str(moment.tzinfo), moment.utcoffset())
    assert (back.replace(tzinfo=None), back.fold) == (moment.replace(tzinfo=None), moment.fold)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_the_clocks_skip_comes_back(fold: int) -> None:
    skipped = datetime(2020, 3, 8, 2, 30, fold=fold, tzinfo=ZoneInfo("America/Menominee"))
    back = there_and_back(skipped)
    assert (back.hour, back.fold, back.utcoffset()) == (2, fold, skipped.utcoffset())


@given(VALUES)
def test_what_people_see_is_plain_json(value: Any) -> None:
    shown = codec.plain(orjson.loads(codec.dumps(codec.pack(value))))
    text = json.dumps(shown)
    if not isinstance(value, dict | list | tuple | Point | Pair):
        assert codec.TAG not in text


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=9))
def test_plain_json_is_not_copied(value: Any) -> None:
    if isinstance(value, str | bool | type(None)):
        assert codec.pack(value) is value


@pytest.mark.parametrize("number", [math.inf, -math.inf, 2**64, -(2**63) - 1, 10**400])
def test_numbers_beyond_json_come_back(number: float) -> None:
    assert there_and_back(number) == number


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(there_and_back(math.nan))
    assert there_and_back(Decimal("NaN")).is_nan()


def test_models_come_back_without_running_their_validators() -> None:
    order = Order(id=UUID(int=1), lines=[Point(1)])
    back = there_and_back(order)
    assert type(back) is Order
    assert back == order
    assert back.model_fields_set == {"id", "lines"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (timedelta(seconds=90), 90.0),
        ((1, {2}), [1, [2]]),
        ({1: "x"}, {"1": "x"}),
        (2**70, 2**70),
        (Color.RED, "red"),
        (Point(1, 2.0, ["t"]), {"x": 1, "y": 2.0, "tags": ["t"]}),
        (Order(id=UUID(int=1), lines=[]), {"id": str(UUID(int=1)), "lines": [], "note": None}),
        ({codec.TAG: "uuid"}, {codec.TAG: "uuid"}),
        (time(1, 2), "01:02:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_front_ends_see_strings_and_plain_objects(value: Any, shown: Any) -> None:
    assert codec.plain(orjson.loads(codec.dumps(codec.pack(value)))) == shown


class Stranger:
    """Has no JSON form."""


@pytest.mark.parametrize(
    "value", [Stranger(), [Stranger()], {"a": (Stranger(),)}, {1: Stranger()}, {Stranger()}, 1j]
)
def test_what_cannot_travel_is_refused_by_its_place_and_type(value: Any) -> None:
    with pytest.raises(EncodeError, match=r"argument 'x' is a .*(Stranger|complex)"):
        codec.pack(value, "argument 'x'")


def test_a_class_that_no_worker_could_import_is_refused() -> None:
    from dataclasses import dataclass

    @dataclass
    class Local:
        x: int

    with pytest.raises(EncodeError, match="defined in a function"):
        codec.pack(Local(1))


def test_what_nests_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EncodeError, match="deep"):
        codec.pack(deep)
    shallow: list[Any] = []
    for _ in range(300):
        shallow = [shallow]
    with pytest.raises(EncodeError):
        codec.dumps(codec.pack(shallow))


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    try:
        codec.loads(data)
    except DecodeError:
        return


@given(
    st.dictionaries(
        st.sampled_from([codec.TAG, "v", "c", "z", "f", "set"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=5,
        )
        | st.sampled_from(
            [
                "int",
                "float",
                "dict",
                "map",
                "uuid",
                "datetime",
                "date",
                "time",
                "timedelta",
                "decimal",
                "bytes",
                "set",
                "frozenset",
                "tuple",
                "enum",
                "model",
                "record",
                "os:system",
                "tests.contract.modules.classes:Point",
            ]
        ),
    )
)
def test_any_tag_decodes_or_raises_decode_error(tagged: dict[str, Any]) -> None:
    try:
        codec.unpack(tagged)
    except DecodeError:
        return


@pytest.mark.parametrize(
    "path", ["os:system", "builtins:object", "subprocess:Popen", "no.such:Class", "", "os", ":"]
)
def test_only_classes_of_data_are_rebuilt(path: str) -> None:
    for kind in ("model", "enum", "record"):
        with pytest.raises(DecodeError):
            codec.unpack({codec.TAG: kind, "c": path, "v": {}})


@given(st.binary(max_size=5_000))
def test_compressed_bytes_come_back(data: bytes) -> None:
    packed = codec.compress(data)
    assert codec.decompress(packed, codec.DEFLATE, max(1, len(data))) == data


def test_a_bomb_is_refused() -> None:
    bomb = zlib.compress(b"\x00" * 10_000_000)
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        codec.decompress(bomb, codec.DEFLATE, 1_000)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"x", "deflate"), (b"x", "gzip"), (zlib.compress(b"abc")[:-2], "deflate")],
)
def test_damaged_bodies_are_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(DecodeError):
        codec.decompress(body, encoding, 1_000)


def test_a_fixed_offset_comes_back_as_one() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert there_and_back(moment).utcoffset() == timedelta(hours=5, minutes=30)
