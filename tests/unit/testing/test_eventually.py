import pytest

from cifra_jobs.testing import eventually


def test_it_returns_the_first_true_value() -> None:
    values = iter([0, None, "", "there"])
    assert eventually(lambda: next(values)) == "there"


def test_a_failed_assertion_counts_as_not_yet() -> None:
    values = iter([1, 2, 3])

    def is_three() -> bool:
        assert next(values) == 3
        return True

    assert eventually(is_three)


def test_the_failure_says_what_was_hoped_for_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: two messages .*last seen: 0"):
        eventually(lambda: 0, timeout=0.01, message="two messages")


def test_the_last_failed_assertion_is_the_cause() -> None:
    def never() -> None:
        raise AssertionError("count is 1")

    with pytest.raises(AssertionError, match="never") as caught:
        eventually(never, timeout=0.01)
    assert str(caught.value.__cause__) == "count is 1"


def test_other_errors_come_through() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError):
        eventually(lambda: empty["x"])
