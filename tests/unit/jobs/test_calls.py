"""Fitting calls to signatures, and finding ``self``."""
# ruff: noqa: F821
# mypy: disable-error-code="name-defined"

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.errors import ArgumentError, OptionError
from cifra_jobs.jobs.calls import call_checker, check_names, is_self_first, reads_free_self

if TYPE_CHECKING:
    from collections.abc import Callable


def plain(a: Any, b: Any = 1, *args: Any, c: Any, d: Any = 2, **kwargs: Any) -> None: ...
def positional(a: Any, /, b: Any = 1) -> None: ...
def named(*, a: Any, b: Any = 1) -> None: ...
def nothing() -> None: ...
def both(a: Any, /, b: Any, *, c: Any = 1) -> None: ...
def rest(*args: Any) -> None: ...
def words(**kwargs: Any) -> None: ...


@given(
    st.sampled_from([plain, positional, named, nothing, both, rest, words]),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcdz"), st.integers(), max_size=4),
)
def test_it_agrees_with_the_interpreter(
    fn: Callable[..., Any], args: list[int], kwargs: dict[str, int]
) -> None:
    check = call_checker(fn, "task", skip_first=False)
    try:
        inspect.signature(fn).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(ArgumentError, match="task"):
            check(tuple(args), kwargs)
    else:
        check(tuple(args), kwargs)


def test_the_first_parameter_may_be_left_out() -> None:
    def bound(self: Any, x: int) -> None: ...

    check = call_checker(bound, "bound", skip_first=True)
    check((1,), {})
    with pytest.raises(ArgumentError, match=r"bound\(x: 'int'\) cannot be called so: missing"):
        check((), {})


def test_self_as_first_parameter_is_found() -> None:
    assert is_self_first(lambda self: None)
    assert not is_self_first(lambda x, self: None)
    assert not is_self_first(lambda: None)


def test_a_free_self_is_found_wherever_it_stands() -> None:
    def direct() -> Any:
        return self.request

    def nested() -> Any:
        def inner() -> Any:
            return lambda: [self for _ in ()]

        return inner

    assert reads_free_self(direct)
    assert reads_free_self(nested)


def test_a_self_of_its_own_is_left_alone() -> None:
    def parameter(x: Any, self: Any) -> Any:
        return self

    def local() -> Any:
        self = 1
        return lambda: self

    def method() -> Any:
        class Inner:
            def me(self) -> Any:
                return self

        return Inner().me()

    def none(x: Any) -> Any:
        return x

    for fn in (parameter, local, method, none):
        assert not reads_free_self(fn)
    assert not reads_free_self(len)


def test_names_of_arguments_are_checked() -> None:
    check_names(plain, ["a", "anything"], "task")
    check_names(positional, ["a", "b"], "task")
    with pytest.raises(OptionError, match=r"task names 'aa'.*did you mean 'a'"):
        check_names(named, ["aa"], "task")
    with pytest.raises(OptionError, match="it takes a, b"):
        check_names(named, ["password"], "task")
