"""When a call is due and when it is too late: what users write, as milliseconds since the epoch."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from cifra_jobs.errors import OptionError
from cifra_jobs.jobs.options import MAX_SECONDS
from cifra_jobs.jobs.port import backend

__all__ = ["eta_of", "expiry_of", "moment_ms"]


def eta_of(countdown: Any, eta: Any, now: int) -> int | None:
    """The due time of ``countdown`` (seconds, timedelta) or ``eta`` (datetime, timedelta).

    Raises:
        OptionError: both are given, or neither type fits.
    """
    if countdown is not None and eta is not None:
        raise OptionError("give countdown or eta, not both")
    if countdown is not None:
        return now + _span_ms(countdown, "countdown")
    if eta is None:
        return None
    if isinstance(eta, datetime):
        return moment_ms(eta, "eta")
    if isinstance(eta, timedelta):
        return now + _span_ms(eta, "eta")
    raise OptionError(f"eta={eta!r} must be a datetime; countdown takes seconds")


def expiry_of(expires: Any, now: int) -> int:
    """The moment after which a run must not start: seconds or timedelta from now, or a datetime."""
    if isinstance(expires, datetime):
        return moment_ms(expires, "expires")
    return now + _span_ms(expires, "expires")


def moment_ms(moment: datetime, name: str) -> int:
    """Milliseconds since the epoch; a naive datetime is in this process's local zone.

    Raises:
        OptionError: it is naive and the settings say ``naive_datetimes: error``.
    """
    if moment.tzinfo is None and backend().settings.naive_datetimes == "error":
        raise OptionError(
            f"{name}={moment!r} has no time zone, and naive_datetimes is 'error';"
            " use datetime.now(UTC) or a zone"
        )
    return math.ceil(moment.timestamp() * 1000)


def _span_ms(value: Any, name: str) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < MAX_SECONDS:
        raise OptionError(f"{name}={value!r} must be seconds, 0 or more, or a timedelta")
    return round(seconds * 1000)
