"""When a call is due and when it is too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.errors import OptionError
from cifra_jobs.jobs.moments import eta_of, expiry_of, moment_ms

NOW = 1_700_000_000_000


@given(st.floats(0, 1e9))
def test_a_countdown_counts_from_now(seconds: float) -> None:
    assert eta_of(seconds, None, NOW) == NOW + round(seconds * 1000)
    assert eta_of(timedelta(seconds=seconds), None, NOW) == pytest.approx(
        NOW + seconds * 1000, abs=1
    )


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - the bounds are naive by contract of hypothesis
def test_a_moment_is_never_early(moment: datetime) -> None:
    ms = moment_ms(moment, "eta")
    assert moment.timestamp() * 1000 <= ms < moment.timestamp() * 1000 + 1.001
    assert eta_of(None, moment, NOW) == ms
    assert expiry_of(moment, NOW) == ms


def test_neither_is_now_and_both_are_refused() -> None:
    assert eta_of(None, None, NOW) is None
    with pytest.raises(OptionError, match="not both"):
        eta_of(1, datetime.now(UTC), NOW)


@pytest.mark.parametrize(
    "bad", ["1", -1, True, float("nan"), float("inf"), 1e12, object()], ids=repr
)
def test_what_is_no_span_is_refused(bad: object) -> None:
    with pytest.raises(OptionError, match="countdown"):
        eta_of(bad, None, NOW)
    with pytest.raises(OptionError, match="expires"):
        expiry_of(bad, NOW)
