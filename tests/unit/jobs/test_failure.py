"""Exceptions as data, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.errors import RemoteError, TaskFailed
from cifra_jobs.jobs.failure import MAX_MESSAGE, MAX_TRACEBACK, describe, rebuild
from tests.contract.modules.classes import Odd, Secretive


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught


def there_and_back(error: BaseException) -> BaseException:
    return rebuild(json.loads(json.dumps(describe(raised(error), task="t"))), task_id="i")


@given(
    st.sampled_from([ValueError, KeyError, RuntimeError, TaskFailed]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
)
def test_an_exception_comes_back_as_its_own_class(cls: type[Exception], text: str) -> None:
    back = there_and_back(cls(text))
    assert type(back) is cls
    assert back.args == (text,)


@pytest.mark.parametrize(
    "error", [Odd(1, "x"), OSError(2, "gone"), UnicodeError("x"), ValueError()]
)
def test_arguments_come_back(error: Exception) -> None:
    back = there_and_back(error)
    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize(
    "error",
    [
        Secretive(code=5),
        SystemExit(3),
        KeyboardInterrupt(),
        ValueError(object()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_rebuilt_is_a_remote_error(error: BaseException) -> None:
    back = there_and_back(error)
    assert isinstance(back, RemoteError)
    assert type(error).__name__ in str(back)
    assert "Traceback" in back.remote_traceback


def test_an_exception_without_a_text_is_described_all_the_same() -> None:
    described = describe(raised(Broken()))
    assert "RuntimeError" in described["message"]
    assert isinstance(rebuild(described), Broken)


def test_causes_come_back() -> None:
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("effect") from cause
    except ValueError as error:
        back = rebuild(describe(error))
    assert isinstance(back.__cause__, KeyError)


def test_a_chain_of_causes_has_an_end() -> None:
    error = ValueError("0")
    for i in range(1, 50):
        later = ValueError(str(i))
        later.__cause__ = error
        error = later
    length = 0
    link: Any = describe(error)
    while link:
        link, length = link.get("cause"), length + 1
    assert length <= 6


def test_texts_are_bounded() -> None:
    described = describe(raised(ValueError("x" * 100_000)))
    assert len(described["message"]) <= MAX_MESSAGE + 50
    assert len(described["traceback"]) <= MAX_TRACEBACK + 50


@pytest.mark.parametrize("type_name", ["os:system", "builtins:int", "no:Such", "x", "", ":"])
def test_only_exceptions_are_rebuilt(type_name: str) -> None:
    back = rebuild({"type": type_name, "message": "m", "args": ["echo"]})
    assert isinstance(back, RemoteError)
