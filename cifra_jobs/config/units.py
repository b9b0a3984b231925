"""The kinds of values that settings are made of: seconds, bytes, counts, names."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

from cifra_jobs.names import QUEUE_NAME_RULE, is_queue_name

__all__ = [
    "Bytes",
    "Count",
    "Name",
    "Port",
    "Positive",
    "QueueName",
    "Seconds",
    "ZoneName",
    "parse_bytes",
]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
#: Longer names could push ``<namespace>.dead.<queue>`` past AMQP's 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def parse_bytes(value: Any) -> Any:
    """A size in bytes from ``"512MB"``, ``"64 KiB"``, ``"1g"`` (powers of 1024) or a number."""
    if not isinstance(value, str):
        return _no_bool(value)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("it is not a size such as 512MB, 64KB or 1048576")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def _no_bool(value: Any) -> Any:
    # Python counts `true` as 1: `max_retries: true` would quietly mean one retry.
    if isinstance(value, bool):
        raise ValueError("it is a yes or no where a number belongs")  # noqa: TRY004 - pydantic's
    return value


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else _no_bool(value)


def _name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError("names are 1 to 100 letters, digits, '-' or '_' (no dots)")
    return value


def _queue_name(value: str) -> str:
    if not is_queue_name(value):
        raise ValueError(f"the name of a queue must be {QUEUE_NAME_RULE}")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        raise ValueError("no such time zone; give an IANA name such as Europe/Berlin") from None
    return value


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Name = Annotated[str, AfterValidator(_name)]
QueueName = Annotated[str, AfterValidator(_queue_name)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=65535)]
Positive = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
ZoneName = Annotated[str, AfterValidator(_zone)]
